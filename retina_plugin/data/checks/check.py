"""Check data sets with all rules."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from retina_plugin.data.catalog import names_of_splits
from retina_plugin.data.checks.box_table import BoxTable
from retina_plugin.data.checks.boxes import check_edges, check_repeated, check_two_classes
from retina_plugin.data.checks.checked_set import CheckedSet
from retina_plugin.data.checks.classes import check_counts, check_lists, check_names
from retina_plugin.data.checks.copies import check_copies, check_leaks, check_same_file
from retina_plugin.data.checks.finding import Finding
from retina_plugin.data.checks.images import (
    check_brightness,
    check_decoding,
    check_outliers,
    check_pixels,
)
from retina_plugin.data.checks.network_view import NetworkView
from retina_plugin.data.checks.objects import check_number, check_small
from retina_plugin.data.checks.read import read_checked
from retina_plugin.data.checks.rules import RULES
from retina_plugin.data.dataset import Dataset
from retina_plugin.data.entry_errors import collecting_entry_errors
from retina_plugin.data.thumbnails import read_thumbnails


@dataclass(frozen=True)
class CheckResult:
    """The result of :func:`check_datasets`.

    Attributes:
        sets: the data sets, each with its findings.
    """

    sets: tuple[CheckedSet, ...]

    @property
    def findings(self) -> list[Finding]:
        """All findings, in the order of the rules."""
        place = {rule: number for number, rule in enumerate(RULES)}
        found = itertools.chain.from_iterable(checked.findings for checked in self.sets)
        return sorted(found, key=lambda finding: place[finding.rule])

    @property
    def is_clean(self) -> bool:
        """Whether no finding breaks or harms training."""
        return all(RULES[finding.rule].severity == "note" for finding in self.findings)

    def counts(self) -> Counter[str]:
        """Return {rule: number of findings}."""
        return Counter(finding.rule for finding in self.findings)


def check_datasets(
    names: Sequence[str],
    view_of: Callable[[Dataset], NetworkView] | None = None,
    *,
    show: bool = True,
) -> CheckResult:
    """Check each data set, and compare the data sets: their classes, and images that are in
    several.

    Args:
        names: as for :func:`retina_plugin.data.load_dataset`, with training sets first. A name
            without a split stands for all splits.
        view_of: returns the network's view, given the first data set with boxes; None to skip the
            rules small-box and too-many-objects.
        show: whether to show progress on standard error.

    Raises:
        DatasetError: a data set does not exist, or its format is not recognised.
    """
    with collecting_entry_errors():  # read_checked finds them again
        with_splits = [full for name in names for full in names_of_splits(name).values()]
    sets = [read_checked(name) for name in dict.fromkeys(with_splits)]
    with_boxes = [c.dataset for c in sets if len(BoxTable.of(c.dataset).boxes)]
    view = view_of(with_boxes[0]) if view_of is not None and with_boxes else None
    for checked in sets:
        paths = list(dict.fromkeys(r["file_name"] for r in checked.dataset.records))
        thumbnails = read_thumbnails(paths, show=show)
        checked.thumbnails = dict(zip(paths, thumbnails, strict=True))
        checked.findings += _check(checked, view)
    for finding in (*check_lists(sets), *check_leaks(sets)):
        next(c for c in sets if c.dataset.name == finding.dataset).findings.append(finding)
    return CheckResult(tuple(sets))


def _check(checked: CheckedSet, view: NetworkView | None) -> Iterator[Finding]:
    yield from check_decoding(checked)
    yield from check_edges(checked)
    yield from check_repeated(checked)
    table = BoxTable.of(checked.dataset)
    yield from check_two_classes(checked, table)
    yield from check_names(checked)
    yield from check_same_file(checked)
    yield from check_copies(checked)
    if view is not None:
        yield from check_small(checked, table, view)
        yield from check_number(checked, table, view)
    yield from check_counts(checked, table)
    yield from check_outliers(checked)
    yield from check_pixels(checked)
    yield from check_brightness(checked)
