"""Format the result of a check as lines of at most 80 columns."""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from retina_plugin.data.checks.check import CheckResult
from retina_plugin.data.checks.finding import Finding
from retina_plugin.data.checks.repair import RepairedSet
from retina_plugin.data.checks.rules import RULES, SEVERITIES
from retina_plugin.data.dataset import Dataset
from retina_plugin.data.pixel_kinds import describe_kinds

WIDTH = 80
SHOWN = 3  # number of findings to show for each rule


def report_lines(result: CheckResult, *, shown: int = SHOWN) -> Iterator[str]:
    """Yield the lines: data sets, a table of rules with counts, and each rule's first findings.

    Args:
        result: the result of :func:`retina_plugin.data.checks.check_datasets`.
        shown: largest number of findings to show for each rule.
    """
    for checked in result.sets:
        line = describe(checked.dataset)
        line += f"; {describe_kinds(Counter(checked.pixels.values()))}" if checked.pixels else ""
        yield from textwrap.wrap(line, WIDTH, subsequent_indent="    ")
    counts = result.counts()
    for severity, meaning in SEVERITIES.items():
        rules = [rule for rule in RULES if counts[rule] and RULES[rule].severity == severity]
        if not rules:
            continue
        yield from ("", f"{severity.upper()}: {meaning}")
        yield from (f"  {counts[rule]:>8,}  {rule}" for rule in rules)
    for rule in (rule for rule in RULES if counts[rule]):
        yield from ("", f"{rule} ({RULES[rule].severity})")
        found = [finding for finding in result.findings if finding.rule == rule]
        for finding in found[:shown]:
            yield from _finding_lines(finding)
        if len(found) > shown:
            yield f"  and {len(found) - shown:,} more"
    yield from ("", _verdict(result))


def _finding_lines(finding: Finding) -> Iterator[str]:
    file = os.path.relpath(finding.file) if os.path.isabs(finding.file) else finding.file
    place = min(file, finding.file, key=len)
    name = finding.annotation
    if isinstance(name, str) and ", " in name:  # file and line
        place = name
    elif name is not None:
        place = f"{place}, annotation {name}"
    message = finding.message.removeprefix(f"{finding.file}: ").removeprefix(f"{name}: ")
    yield from textwrap.wrap(
        f"{place}: {message}",
        WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _verdict(result: CheckResult) -> str:
    number = sum(RULES[finding.rule].severity != "note" for finding in result.findings)
    if number:
        return f"{number:,} findings break or harm training; docs/data_checks.md explains the rules"
    noted = f" ({len(result.findings):,} notes)" if result.findings else ""
    return f"clean: nothing found that breaks or harms training{noted}"


def describe(dataset: Dataset) -> str:
    """Return a line with the size of a data set."""
    boxes = sum(len(record["annotations"]) for record in dataset.records)
    return (
        f"{dataset.name} ({dataset.format}): {len(dataset.records)} images, {boxes} boxes, "
        f"{dataset.num_classes} classes"
    )


def repair_lines(sets: Sequence[RepairedSet], names: Sequence[str], images: str) -> Iterator[str]:
    """Yield the lines about repaired copies.

    Args:
        sets: the repaired data sets.
        names: the names of their copies.
        images: a line about their images.
    """
    for one, name in zip(sets, names, strict=True):
        boxes = sum(len(record["annotations"]) for record in one.dataset.records)
        yield from ("", f"repaired copy {name}: {len(one.dataset.records)} images, {boxes} boxes")
        for title, counts in (("repaired", one.repaired), ("not repaired", one.remaining)):
            for rule in (rule for rule in RULES if counts[rule]):
                how = RULES[rule].repair or "no automatic repair"
                yield from textwrap.wrap(
                    f"{title}: {counts[rule]:,} {rule}: {how}",
                    WIDTH,
                    initial_indent="  ",
                    subsequent_indent="    ",
                )
    yield ""
    yield from textwrap.wrap(images, WIDTH)
