"""Load the records of all training sets, and convert training samples for display."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from retina_plugin.data.catalog import load_dataset
from retina_plugin.data.coco import logger
from retina_plugin.data.dataset import Dataset
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.samples import TrainingDataset
from retina_plugin.data.transforms import TRANSFORMS
from retina_plugin.data.transforms.policies import transform_names

Record = dict[str, Any]


def training_records(cfg: Any) -> list[Record]:
    """Return the records of ``DATASETS.TRAIN``, see :func:`filter_empty_records`.

    Raises:
        DatasetError: a data set cannot be read, or none has a box.
    """
    datasets = [load_dataset(name) for name in cfg.DATASETS.TRAIN]
    require_boxes(*datasets)
    return filter_empty_records(cfg, [record for dataset in datasets for record in dataset.records])


def filter_empty_records(cfg: Any, records: list[Record]) -> list[Record]:
    """Remove records without boxes if ``DATALOADER.FILTER_EMPTY_ANNOTATIONS`` is True.

    Crowds do not count as boxes.

    Args:
        cfg: the config of either host.
        records: the records of all of ``DATASETS.TRAIN``; "annotations" and "iscrowd" may be
            missing.

    Raises:
        DatasetError: no record has a box.
    """
    with_boxes = [record for record in records if _has_boxes(record)]
    if not with_boxes:
        raise _no_box(f"{len(records)} images of {', '.join(cfg.DATASETS.TRAIN)}")
    return with_boxes if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS else records


def check_transforms(cfg: Any, records: Iterable[Mapping[str, Any]]) -> None:
    """Check before a run that the transforms can be built and have enough images.

    Keys of transforms that are not used give a warning.

    Args:
        cfg: the config of either host.
        records: the records of all of ``DATASETS.TRAIN``.

    Raises:
        DatasetError: no record has a box, or a transform needs more images.
        KeyError, ValueError: see :meth:`TrainingDataset.from_config`.
    """
    used = filter_empty_records(cfg, [dict(record) for record in records])
    TrainingDataset.from_config(cfg, used, seed=0)
    for key in _unused_keys(cfg):
        logger.warning(
            "%s has no effect, because its transform is not used. The transforms are %s. Add it to "
            "%s, or choose an AUGMENTATION that has it",
            key,
            ", ".join(transform_names(cfg)) or "none",
            TRANSFORMS.choice_key,
        )


def _unused_keys(cfg: Any) -> list[str]:
    names, crop = transform_names(cfg), "INPUT.CROP.ENABLED"
    reads_crop = any(crop in TRANSFORMS.part(name).reads.values() for name in names)
    unused = [crop] if cfg.INPUT.CROP.ENABLED and not reads_crop else []
    return unused + TRANSFORMS.unused_keys(cfg, names)


def _has_boxes(record: Record) -> bool:
    return any(not a.get("iscrowd") for a in record.get("annotations", ()))


def require_boxes(*datasets: Dataset) -> None:
    """Check that at least one training set has a box; crowds do not count.

    A warning names the classes without boxes.

    Raises:
        DatasetError: no image has a box.
    """
    with_boxes = {
        dataset.class_names[a["category_id"]]
        for dataset in datasets
        for record in dataset.records
        for a in record["annotations"]
        if not a["iscrowd"]
    }
    if not with_boxes:
        found = (f"{len(d.records)} images of {d.name} ({d.json_file})" for d in datasets)
        raise _no_box(", ".join(found))
    known = dict.fromkeys(name for dataset in datasets for name in dataset.class_names)
    without_boxes = [name for name in known if name not in with_boxes]
    if without_boxes:
        shown = ", ".join(without_boxes[:8] + ["..."] * (len(without_boxes) > 8))
        _warn_once(
            f"no box in {', '.join(d.name for d in datasets)} of these classes, which cannot "
            f"be learnt: {shown}"
        )


def _no_box(found: str) -> DatasetError:
    return DatasetError(
        f"no box to learn from in {found}. Annotate objects there, or use another data set in "
        "DATASETS.TRAIN."
    )


@functools.cache
def _warn_once(text: str) -> None:
    """Warn once per process: a run loads its training sets several times."""
    logger.warning(text)


def samples_in_rgb(cfg: Any, samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield samples of a training loader with "image" converted to RGB, for display."""
    for sample in samples:
        yield {**sample, "image": to_rgb(sample["image"], cfg.INPUT.FORMAT)}


def to_rgb(image: Tensor, input_format: str) -> Tensor:
    """Convert an image (3, H, W) from the config's order of channels, BGR or RGB, to RGB."""
    return image.flip(0) if input_format == "BGR" else image
