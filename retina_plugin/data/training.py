"""What a training run reads: the records of all its sets, and samples to look at."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from retina_plugin.data.catalog import load_dataset
from retina_plugin.data.coco import Dataset, logger
from retina_plugin.data.errors import DatasetError

Record = dict[str, Any]


def training_records(cfg: Any) -> list[Record]:
    """The records of ``DATASETS.TRAIN`` that can be trained on; see :func:`filter_empty_records`.

    Raises:
        DatasetError: a set cannot be read, or none has a box to learn from.
    """
    datasets = [load_dataset(name) for name in cfg.DATASETS.TRAIN]
    require_boxes(*datasets)  # one of several may be of background only
    return filter_empty_records(cfg, [record for dataset in datasets for record in dataset.records])


def filter_empty_records(cfg: Any, records: list[Record]) -> list[Record]:
    """Without those that hold no box, crowds not counted, if
    ``DATALOADER.FILTER_EMPTY_ANNOTATIONS`` says so.

    Args:
        cfg: either host's config tree.
        records: of all of ``DATASETS.TRAIN``; "annotations" and "iscrowd" may be missing.

    Raises:
        DatasetError: none holds a box.
    """
    learnt = [record for record in records if _has_boxes(record)]
    if not learnt:
        raise _no_box(f"{len(records)} images of {', '.join(cfg.DATASETS.TRAIN)}")
    return learnt if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS else records


def _has_boxes(record: Record) -> bool:
    return any(not a.get("iscrowd") for a in record.get("annotations", ()))


def require_boxes(*datasets: Dataset) -> None:
    """Make sure that training sets have something to learn between them; one of them may hold
    background only.

    Classes without a box are named in a warning.

    Raises:
        DatasetError: no image has a box, crowds not counted.
    """
    learnt = {
        dataset.class_names[a["category_id"]]
        for dataset in datasets
        for record in dataset.records
        for a in record["annotations"]
        if not a["iscrowd"]
    }
    if not learnt:
        found = (f"{len(d.records)} images of {d.name} ({d.json_file})" for d in datasets)
        raise _no_box(", ".join(found))
    known = dict.fromkeys(name for dataset in datasets for name in dataset.class_names)
    unlearnt = [name for name in known if name not in learnt]
    if unlearnt:
        shown = ", ".join(unlearnt[:8] + ["..."] * (len(unlearnt) > 8))
        _warn_once(
            f"no box in {', '.join(d.name for d in datasets)} of these classes, which cannot "
            f"be learnt: {shown}"
        )


def _no_box(found: str) -> DatasetError:
    return DatasetError(
        f"no box to learn from in {found}. Annotate objects there, or name another data set in "
        "DATASETS.TRAIN."
    )


@functools.cache
def _warn_once(text: str) -> None:
    """A run asks for its training sets several times."""
    logger.warning(text)


def samples_in_rgb(cfg: Any, samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Samples of a training loader with "image" in RGB, to look at."""
    for sample in samples:
        yield {**sample, "image": to_rgb(sample["image"], cfg.INPUT.FORMAT)}


def to_rgb(image: Tensor, input_format: str) -> Tensor:
    """(3, H, W) in the config's order of channels, BGR or RGB -> the same in RGB."""
    return image.flip(0) if input_format == "BGR" else image
