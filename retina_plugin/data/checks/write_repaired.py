"""Write repaired copies of data sets to a new folder."""

from __future__ import annotations

import os
from collections.abc import Sequence

from retina_plugin.data.checks.repair import RepairedSet
from retina_plugin.data.data_path import DataPath, parse_data_path
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.exporters.coco import write_coco
from retina_plugin.data.exporters.convert import new_folder
from retina_plugin.data.exporters.image_copies import ImageCopies
from retina_plugin.data.exporters.splits import with_same_classes
from retina_plugin.data.importers.annotation_files import split_of

USUAL = ("train", "val", "test")


def write_repaired(sets: Sequence[RepairedSet], folder: str) -> tuple[list[str], str]:
    """Write data sets with their images in COCO format. If an error occurs, nothing is written.

    Images are hard links if the file system supports them, else copies.

    Args:
        sets: if there are several, each becomes a split, and all get the same classes. More than
            three need different splits in their names.
        folder: a new or empty folder.

    Returns:
        The names of the written data sets, for :func:`retina_plugin.data.load_dataset`; and a line
        about the images.

    Raises:
        DatasetError: the folder has files, or there are more than three data sets without
            different splits.
        DiskError: a file cannot be written.
    """
    splits = _split_names([one.dataset.name for one in sets]) if len(sets) > 1 else [""]
    repaired = {split: one.dataset for split, one in zip(splits, sets, strict=True)}
    datasets, _ = with_same_classes(repaired)
    with new_folder(folder) as draft:
        copies = ImageCopies(draft, link=True)
        write_coco(datasets, copies)
    return [f"{folder}:{split}" if split else folder for split in splits], str(copies)


def _split_names(names: Sequence[str]) -> list[str]:
    """Return a split for each data set: that in its name ``PATH:SPLIT``, or train, val or test from
    the name of its file or folder. If splits are unknown or equal, return train, val and test in
    this order."""
    paths = [parse_data_path(name) or DataPath(name) for name in names]
    found = [
        split_of(where.split) or where.split or split_of(os.path.basename(where.path)) or ""
        for where in paths
    ]
    if all(found) and len(set(found)) == len(found):
        return found
    if len(names) > len(USUAL):
        raise DatasetError(
            f"--fix writes {', '.join(USUAL)}, but {len(names)} data sets are given: check fewer"
        )
    return list(USUAL[: len(names)])
