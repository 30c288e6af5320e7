"""Split a data set without a validation set into training and validation images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from retina_plugin.data.dataset import Dataset
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.image_units import connect, copy_keys, group_names, relative_names
from retina_plugin.data.stratify import choose_spared, stratify
from retina_plugin.data.thumbnails import read_thumbnails

SMALL = 20  # with fewer validation images, a note says that AP is noisy
REMEDY = "Give other images with --val, or add images."


@dataclass(frozen=True)
class Split:
    """The result of :func:`split_dataset`.

    Attributes:
        training, validation: indices of records, ascending; every record is in one of them.
        notes: lines to print.
    """

    training: tuple[int, ...]
    validation: tuple[int, ...]
    notes: tuple[str, ...]


def split_dataset(dataset: Dataset, *, fraction: float, seed: int, group_by: str = "") -> Split:
    """Split images at random, stratified by class.

    Images of one group stay on one side, and so do copies (equal bytes) and near-copies, see
    :mod:`retina_plugin.data.near_copies`. All image files are decoded for that; a file that cannot
    be decoded is compared by its bytes only. Images without boxes are treated as an additional
    class. The result depends on the names of the files, not on their order.

    Args:
        dataset: the data set. The training images get boxes of every class that has boxes, unless
            each image or group has the only boxes of some class; then a note counts the classes
            that they lack.
        fraction: fraction of images for validation, above 0 and below 1. Validation gets up to 1.5
            times as many images if groups or rare classes require it.
        seed: random seed, at least 0.
        group_by: regular expression on the file names, relative to their common folder; its first
            group or whole match is the group (video, patient, site). "" for none; see
            :func:`retina_plugin.data.image_units.group_names`.

    Raises:
        ValueError: ``fraction`` is not between 0 and 1, or ``seed`` is below 0.
        DatasetError: the pattern cannot be used, or fewer than two groups of images have boxes.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: expected a number between 0 and 1, found {fraction}")
    names = relative_names([record["file_name"] for record in dataset.records])
    groups = group_names(names, group_by) if group_by else []
    unit_of, copies = _units(dataset, names, groups)
    has = _classes_of_images(dataset)
    _require_two_units(dataset, unit_of, has, group_by)
    counts = np.zeros((int(unit_of.max()) + 1, has.shape[1]))
    np.add.at(counts, unit_of, has)
    sizes, rng = np.bincount(unit_of), np.random.default_rng(seed)
    second = stratify(counts, sizes, fraction=fraction, rng=rng)
    if not counts[second, :-1].any():  # each image has the only box of some class
        second |= choose_spared(counts[:, :-1] > 0, sizes, wanted=fraction * len(has), rng=rng)
    validation = second[unit_of]
    notes = [
        _summary(validation, seed, groups, group_by),
        _copies_note(copies),
        _groups_note(groups),
        _classes_note(dataset, has, validation),
        _unlearned_note(dataset, has, validation),
        _size_note(validation),
    ]
    return Split(
        tuple(np.flatnonzero(~validation).tolist()),
        tuple(np.flatnonzero(validation).tolist()),
        tuple(filter(None, notes)),
    )


def _units(
    dataset: Dataset, names: list[str], groups: list[str | None]
) -> tuple[np.ndarray, list[int]]:
    """Return for each image the number of its unit (N,) and of its set of copies. Numbers follow
    the order of the names; the list of copy sets is sorted by name too."""
    records = dataset.records
    order = sorted(range(len(names)), key=lambda i: (names[i], str(records[i]["image_id"])))
    keys = copy_keys(read_thumbnails([records[i]["file_name"] for i in order]))
    copies = connect(keys)
    if groups:
        for own, i in zip(keys, order, strict=True):
            own += [] if groups[i] is None else [("group", groups[i])]
    unit_of = np.empty(len(names), dtype=np.int64)
    unit_of[order] = connect(keys)
    return unit_of, copies


def _classes_of_images(dataset: Dataset) -> np.ndarray:
    """Return (N, K + 1) bool: the classes of each image, crowds left out; last: no boxes."""
    has = np.zeros((len(dataset.records), dataset.num_classes + 1), dtype=bool)
    for row, record in zip(has, dataset.records, strict=True):
        for annotation in record["annotations"]:
            row[annotation["category_id"]] |= not annotation["iscrowd"]
        row[-1] = not row[:-1].any()
    return has


def _require_two_units(
    dataset: Dataset, unit_of: np.ndarray, has: np.ndarray, group_by: str
) -> None:
    """Raise an error unless both sides can get boxes."""
    with_boxes = ~has[:, -1]
    units = len(np.unique(unit_of[with_boxes]))
    if units >= 2:
        return
    found = f"{dataset.name}: {int(with_boxes.sum())} of {len(has)} images have boxes"
    if with_boxes.sum() >= 2:
        groups = f"one group of {group_by!r}, or copies" if group_by else "copies of each other"
        found += f", and all of these are {groups}"
    raise DatasetError(
        f"{found}: no validation images can be split off, because training and validation each "
        f"need an image with boxes. {REMEDY}"
    )


def _summary(validation: np.ndarray, seed: int, groups: list[str | None], group_by: str) -> str:
    number = len({group for group in groups if group is not None})
    grouped = f", {number} groups by {group_by!r}" if group_by else ""
    return (
        f"split: {int((~validation).sum())} training and {int(validation.sum())} validation images "
        f"(seed {seed}, stratified by class{grouped})"
    )


def _copies_note(copies: list[int]) -> str:
    sizes = [size for size in Counter(copies).values() if size > 1]
    if not sizes:
        return ""
    return (
        f"{sum(sizes)} images are copies or near-copies of others ({len(sizes)} sets); each set "
        "stays on one side"
    )


def _groups_note(groups: list[str | None]) -> str:
    single = sum(group is None for group in groups)
    if single in (0, len(groups)):
        return ""
    return f"{single} file names have no group: each of these images is a separate group"


def _classes_note(dataset: Dataset, has: np.ndarray, validation: np.ndarray) -> str:
    names = _missing_classes(dataset, has, validation)
    if not names:
        return ""
    return (
        f"{len(names)} of {dataset.num_classes} classes have too few images or groups for the "
        f"validation images: {_first(names)}. Their AP is not measured"
    )


def _unlearned_note(dataset: Dataset, has: np.ndarray, validation: np.ndarray) -> str:
    names = _missing_classes(dataset, has, ~validation)
    if not names:
        return ""
    return (
        f"{len(names)} of {dataset.num_classes} classes have one image or group, which is used for "
        f"validation: {_first(names)}. They are not learned. Add images of them"
    )


def _missing_classes(dataset: Dataset, has: np.ndarray, side: np.ndarray) -> list[str]:
    """Return the classes that have boxes, but none in the images of a side, (N,) bool."""
    missing = has[:, :-1].any(0) & ~has[side, :-1].any(0)
    return [dataset.class_names[i] for i in np.flatnonzero(missing)]


def _first(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


def _size_note(validation: np.ndarray) -> str:
    number = int(validation.sum())
    if number >= SMALL:
        return ""
    return f"with {number} validation images, differences of a few AP are noise"
