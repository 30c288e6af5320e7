"""Rules about classes: unused, rare, similar names, different lists."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from retina_plugin.data.checks.box_table import BoxTable
from retina_plugin.data.checks.checked_set import CheckedSet
from retina_plugin.data.checks.finding import Finding
from retina_plugin.data.checks.rules import RARE


def check_counts(checked: CheckedSet, table: BoxTable) -> Iterator[Finding]:
    """Check the rules unused-class and rare-class."""
    dataset = checked.dataset
    counts = np.bincount(table.labels, minlength=dataset.num_classes)
    for name, count in zip(dataset.class_names, counts, strict=True):
        if not count:
            yield checked.finding("unused-class", dataset.json_file, f"class {name!r} has no box")
        elif count < RARE:
            boxes = f"{count} box{'es' if count > 1 else ''}"
            yield checked.finding("rare-class", dataset.json_file, f"class {name!r} has {boxes}")


def check_names(checked: CheckedSet) -> Iterator[Finding]:
    """Check the rule similar-class-names."""
    same: dict[str, list[str]] = defaultdict(list)
    for name in checked.dataset.class_names:
        same[" ".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    for names in same.values():
        if len(names) > 1:
            yield checked.finding(
                "similar-class-names",
                checked.dataset.json_file,
                f"classes {' and '.join(map(repr, names))}: merge them if they mean the same",
            )


def check_lists(sets: Sequence[CheckedSet]) -> Iterator[Finding]:
    """Check the rule different-classes: compare data sets with the first that has classes."""
    known = [checked for checked in sets if checked.dataset.class_names]
    for checked in known[1:]:
        names, expected = checked.dataset.class_names, known[0].dataset.class_names
        if names != expected:
            first = known[0].dataset.name
            yield checked.finding(
                "different-classes",
                checked.dataset.json_file,
                f"{_difference(names, expected, first)}: give both the same list of classes",
            )


def _difference(names: Sequence[str], expected: Sequence[str], other: str) -> str:
    missing = ", ".join(repr(name) for name in expected if name not in names)
    added = ", ".join(repr(name) for name in names if name not in expected)
    parts = [f"lacks {missing} of {other}"] if missing else []
    parts += [f"has {added}, which {other} lacks"] if added else []
    return " and ".join(parts) or f"has the classes of {other} in another order"
