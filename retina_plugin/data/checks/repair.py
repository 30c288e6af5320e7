"""Repair the findings of the checks in a copy of a data set."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retina_plugin.data.checks.checked_set import CheckedSet
from retina_plugin.data.checks.copies import same_boxes
from retina_plugin.data.checks.rules import RULES
from retina_plugin.data.dataset import Dataset, Record
from retina_plugin.data.errors import DatasetError

LEFT_OUT = ("unreadable-image", "leaked-image", "leaked-near-copy")
LOSES_BOXES = {"invalid-annotation", "wrong-coordinates", "exif-rotation"}


@dataclass(frozen=True)
class RepairedSet:
    """A repaired data set.

    Attributes:
        dataset: the repaired records.
        repaired, remaining: {rule: number of findings} that were repaired or not, without notes.
    """

    dataset: Dataset
    repaired: Counter[str]
    remaining: Counter[str]


def repair_set(checked: CheckedSet) -> RepairedSet:
    """Repair a data set as described in :data:`retina_plugin.data.checks.RULES`. Its files are
    unchanged.

    :func:`read_checked` has already dropped entries, corrected sizes, and converted and clipped
    boxes.

    Raises:
        DatasetError: no image remains, or no box although there were some.
    """
    left_out = {f.file for f in checked.findings if f.rule in LEFT_OUT} | checked.unclear
    records = [r for r in checked.dataset.records if r["file_name"] not in left_out]
    records = _without_copies(checked, _merge_same_file(records))
    records = [{**r, "annotations": _without_repeated(r["annotations"])} for r in records]
    if not records:
        raise DatasetError(f"{checked.dataset.name}: no image can be kept; nothing is written")
    rules = {finding.rule for finding in checked.findings}
    if rules & LOSES_BOXES and not any(record["annotations"] for record in records):
        raise DatasetError(f"{checked.dataset.name}: no box can be kept; nothing is written")
    repaired, remaining = _count(checked, {record["file_name"] for record in records})
    return RepairedSet(dataclasses.replace(checked.dataset, records=records), repaired, remaining)


def _merge_same_file(records: Sequence[Record]) -> list[Record]:
    """Merge images that have the same file, with all their boxes."""
    merged: dict[str, Record] = {}
    for record in records:
        first = merged.setdefault(os.path.normpath(record["file_name"]), {**record})
        if first["image_id"] != record["image_id"]:
            first["annotations"] = [*first["annotations"], *record["annotations"]]
    return list(merged.values())


def _without_copies(checked: CheckedSet, records: Sequence[Record]) -> list[Record]:
    """Drop copies of an image that have the same boxes."""
    by_path = {record["file_name"]: record for record in records}
    copies = {
        finding.file
        for finding in checked.findings
        if finding.rule == "copied-image"
        and finding.file in by_path
        and finding.other in by_path
        and same_boxes(by_path[finding.file], by_path[finding.other])
    }
    return [record for record in records if record["file_name"] not in copies]


def _without_repeated(annotations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    for a in annotations:
        kept.setdefault((a["category_id"], a["iscrowd"], *a["bbox"]), a)
    return list(kept.values())


def _count(checked: CheckedSet, kept: set[str]) -> tuple[Counter[str], Counter[str]]:
    """Return the counts of repaired and of remaining findings by rule."""
    repaired: Counter[str] = Counter()
    remaining: Counter[str] = Counter()
    gone = {record["file_name"] for record in checked.dataset.records} - kept
    for finding in checked.findings:
        rule = RULES[finding.rule]
        if rule.severity == "note":
            continue
        is_repaired = rule.repair and finding.rule != "copied-image"
        (repaired if is_repaired or finding.file in gone else remaining)[finding.rule] += 1
    return repaired, remaining
