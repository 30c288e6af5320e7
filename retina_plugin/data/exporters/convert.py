"""Convert a data set to another annotation format."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping

from retina_plugin.config.disk import disk_errors
from retina_plugin.data.catalog import load_dataset, names_of_splits
from retina_plugin.data.dataset import Dataset
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.exporters.coco import write_coco
from retina_plugin.data.exporters.exporter import Exporter
from retina_plugin.data.exporters.image_copies import ImageCopies
from retina_plugin.data.exporters.splits import with_same_classes
from retina_plugin.data.exporters.voc import write_voc
from retina_plugin.data.exporters.yolo import write_yolo

EXPORTERS: dict[str, Exporter] = {"coco": write_coco, "yolo": write_yolo, "voc": write_voc}


def convert(name: str, format: str, folder: str, *, link: bool = False) -> list[str]:
    """Write a data set with all its splits in another format, with its images.

    Boxes are written as training uses them: clipped to their image, in pixels of the image after
    EXIF rotation.

    Args:
        name: as for :func:`retina_plugin.data.load_dataset`; ``PATH:SPLIT`` for one split only.
        format: a key of :data:`EXPORTERS`.
        folder: a new or empty folder. It is written completely or not at all.
        link: make hard links to the images instead of copies.

    Returns:
        Lines to print: the written data sets, and information that the format cannot store.

    Raises:
        DatasetError: the data set cannot be read, or the folder is not empty.
        DiskError: a file cannot be written.
    """
    datasets, notes = with_same_classes(_load_splits(name))
    with new_folder(folder) as draft:
        copies = ImageCopies(draft, link=link)
        notes += [*_without_annotations(datasets, format), *EXPORTERS[format](datasets, copies)]
    return [*_summary(datasets, folder), str(copies), *notes]


def _load_splits(name: str) -> dict[str, Dataset]:
    return {split: load_dataset(full) for split, full in names_of_splits(name).items()}


def _summary(datasets: Mapping[str, Dataset], folder: str) -> Iterator[str]:
    for split, dataset in datasets.items():
        boxes = sum(len(record["annotations"]) for record in dataset.records)
        yield (
            f"written: {folder}{f', {split}' if split else ''}: {len(dataset.records)} images, "
            f"{boxes} boxes, {dataset.num_classes} classes; read as {dataset.format}"
        )


def _without_annotations(datasets: Mapping[str, Dataset], format: str) -> Iterator[str]:
    """Yield a note for each data set without annotations, such as COCO's test-dev, in a format that
    cannot say so."""
    for dataset in datasets.values():
        if format != "coco" and not dataset.has_ground_truth:
            yield (
                f"{dataset.name} has no annotations: its images are read from {format} as images "
                "without objects"
            )


def require_new_folder(folder: str) -> None:
    """Check that a folder does not exist or is empty.

    Raises:
        DatasetError: the path is a file, or a folder that is not empty.
    """
    if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        raise DatasetError(f"{folder} exists: name a new or empty folder")


@contextlib.contextmanager
def new_folder(folder: str) -> Iterator[str]:
    """Yield a temporary folder; after the block rename it to ``folder``, or remove it on failure.

    Raises:
        DatasetError: ``folder`` is a file, or is not empty.
        DiskError: the folder cannot be created.
    """
    require_new_folder(folder)
    path = os.path.abspath(folder)
    with disk_errors(folder):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        draft = tempfile.mkdtemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
    try:
        os.chmod(draft, 0o777 & ~_umask())  # mkdtemp allows access only for the owner
        yield draft
        with disk_errors(folder):
            os.replace(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
