"""Prepare the splits of a data set for export: equal classes, and names for images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping

from tqdm import tqdm

from retina_plugin.data.dataset import Dataset, Record
from retina_plugin.data.image_units import relative_names
from retina_plugin.data.read_headers import PROGRESS_DELAY

FLAGS = ("iscrowd", "difficult", "group_of")


def with_same_classes(datasets: Mapping[str, Dataset]) -> tuple[dict[str, Dataset], list[str]]:
    """Give all splits the same classes.

    Args:
        datasets: {split: data set}; at least one.

    Returns:
        {split: data set}, and a list of notes. If the classes differ, all data sets get the classes
        of the first, then the additional classes of the others, with category ids 1..K; a note
        reports that.
    """
    first, *others = datasets.values()
    if all(_classes(other) == _classes(first) for other in others):
        return dict(datasets), []
    names = tuple(dict.fromkeys(n for dataset in datasets.values() for n in dataset.class_names))
    note = f"the splits list different classes: all splits get {', '.join(names)}"
    return {split: _with_classes(dataset, names) for split, dataset in datasets.items()}, [note]


def _classes(dataset: Dataset) -> tuple[object, ...]:
    return dataset.class_names, dataset.category_ids


def _with_classes(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    index = [names.index(name) for name in dataset.class_names]
    records: list[Record] = [
        {
            **record,
            "annotations": [
                {**annotation, "category_id": index[annotation["category_id"]]}
                for annotation in record["annotations"]
            ],
        }
        for record in dataset.records
    ]
    ids = tuple(range(1, len(names) + 1))
    return dataclasses.replace(dataset, class_names=names, category_ids=ids, records=records)


def named_records(
    split: str, dataset: Dataset, rename: Callable[[str, str], str] | None = None
) -> Iterator[tuple[Record, str]]:
    """Yield each record with a name for its image, and show progress.

    The name is the path of the image relative to the deepest common folder, with ``/``. Names
    differ even without suffix, so that label files have different names too: if there are a.jpg and
    a.png, the second gets the name a_2.png.

    Args:
        split: shown beside the progress.
        dataset: the data set.
        rename: returns another name, given the path of the image and its name; None to keep it.
    """
    used: set[str] = set()
    names = relative_names([record["file_name"] for record in dataset.records])
    pairs = list(zip(dataset.records, names, strict=True))
    for record, name in tqdm(pairs, desc=split or "images", leave=False, delay=PROGRESS_DELAY):
        new = name if rename is None else rename(record["file_name"], name)
        yield record, different_name(new, used)


def different_name(name: str, used: set[str]) -> str:
    """Return ``name``, with a number before the suffix if its stem is in ``used``; add the stem of
    the result to ``used``."""
    stem, suffix = os.path.splitext(name)
    candidate, number = stem, 1
    while candidate.casefold() in used:
        number += 1
        candidate = f"{stem}_{number}"
    used.add(candidate.casefold())
    return candidate + suffix


def count_flags(dataset: Dataset, *flags: str) -> int:
    """Return the number of annotations with at least one of the flags."""
    return sum(
        any(annotation.get(flag) for flag in flags)
        for record in dataset.records
        for annotation in record["annotations"]
    )
