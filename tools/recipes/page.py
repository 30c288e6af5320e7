"""Write the page of results: the method, and a section for each comparison."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from recipes.comparison_file import Comparison
from recipes.cost import PAIRS, TOLERANCE
from recipes.lengths import MeasuredRow
from recipes.scores import METRICS, RowResult
from recipes.verdict import GAIN, LOSS, NOT_DECIDED, SeedNoise
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import require_regular_file, write_atomically
from retina_plugin.evaluation.bootstrap import CONFIDENCE, RESAMPLES

TITLE = "# Which recipes raise AP"
METHOD = f"""{TITLE}

`tools/compare_recipes.py` trains a base recipe and variants of it for the same CPU time, and writes
this page:

```bash
python tools/compare_recipes.py tools/comparisons/digits_screening.yaml --page docs/accuracy.md
```

The file names the base, the length of a run, the seeds, the images and the rows:

```yaml
title: Screening on digits
base: digits/retinanet_paper.yaml  # a packaged config, or a path relative to this file
steps: 500  # training steps of the base; instead, minutes: CPU minutes of training for each run
seeds: [1]
held_out: 0.2  # evaluate on this fraction of the training images; 0: on the test set of the base
rows:  # name: [KEY, VALUE, KEY, VALUE, ...]
  EMA: [MODEL.RETINA_PLUGIN.SOLVER.EMA, True]
```

## Method

- **Same CPU time.** Each run is one process with one thread, which also loads the images. Before
  training, the CPU time of a training step is measured: {PAIRS} steps of the row, alternating with
  {PAIRS} steps of the base, including data loading. The median ratio determines the number of
  steps: if a step of a row takes twice as long, the row gets half the steps. A ratio within
  {100 * TOLERANCE:.0f}% of 1 is treated as 1. Other programs slow down the two steps of a pair
  equally, and the numbers of steps are fixed before training, so results do not depend on the load
  of the machine. Start, evaluation and averaging of weights are not included in this time. The
  column "CPU s" is the CPU time of a whole run.
- **Same schedule.** `SOLVER.STEPS` and `SOLVER.WARMUP_ITERS` of a row refer to `SOLVER.MAX_ITER` of
  the base, and are scaled to the number of steps of the run.
- **Images.** With `held_out`, a part of the training images is split off (stratified by class, with
  near-duplicates on one side), and the runs are evaluated on it. Use it to choose recipes. Use the
  test set only once, to compare the chosen recipes. Each run is evaluated after its last step.
- **Order.** All rows are trained with the first seed, then all rows with the next seed. The same
  command continues a comparison that was stopped.
- **Intervals** are {CONFIDENCE}% intervals. For AP, the images are drawn again with replacement,
  {RESAMPLES} times. The interval of a difference from the base includes two sources of noise: the
  images (the same draws for both rows), and the seeds. Their half-widths are added in quadrature.
  The noise between seeds is estimated from all rows together: it is the residual of a two-way
  analysis of variance of rows and seeds, with Student's distribution.
- **Verdict.** A row is a gain if the interval of its difference is above 0, a loss if the interval
  is below 0, and not decided otherwise. The noise between seeds cannot be measured with one seed.
  Then the interval includes the noise of the images only, and no row is decided, unless the key
  `seed_noise` gives the noise of another comparison. Each row is judged alone: of 40 rows without
  any effect, one is a gain by chance, and one a loss.
"""
SECTION = re.compile(r"^## ", re.MULTILINE)


def update_page(path: str, title: str, section: str) -> None:
    """Write a section into the page. It replaces an earlier section with the same title.

    Args:
        path: the page; it need not exist.
        title: the title of the section.
        section: the text of the section, without the title.

    Raises:
        ConfigError: ``path`` exists and is not a page of this tool.
        DiskError: it cannot be written.
    """
    sections = _sections(path)
    sections[title] = f"## {title}\n\n{section.strip()}\n"
    write_atomically(path, "\n".join([METHOD, *sections.values()]))


def require_page(path: str) -> None:
    """Check that the page can be written.

    Raises:
        ConfigError: its folder does not exist, or the file exists and is not a page of this tool.
    """
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise ConfigError(f"--page {path}: there is no folder {os.path.dirname(path)}")
    _sections(path)


def _sections(path: str) -> dict[str, str]:
    """Return the sections of the page by title, without the method."""
    if not os.path.lexists(path):
        return {}
    require_regular_file(path)
    with open(path, encoding="utf-8") as file:
        head, *sections = SECTION.split(file.read())
    if not head.startswith(TITLE):
        raise ConfigError(f"--page {path}: expected a page of this tool, or a new file")
    found = {text.partition("\n")[0]: f"## {text.rstrip()}\n" for text in sections}
    return {title: text for title, text in found.items() if title != "Method"}


def section_of(
    comparison: Comparison,
    measured: Sequence[MeasuredRow],
    results: Sequence[RowResult],
    *,
    failed: Sequence[str],
    seeds: Sequence[int],
    noise: SeedNoise | None,
    facts: str,
) -> str:
    """Return the section of a comparison.

    Args:
        comparison: the comparison.
        measured: all rows.
        results: the rows whose runs have finished, the base first.
        failed: names of the rows with a failed run.
        seeds: the seeds with which these rows have finished.
        noise: the noise between seeds.
        facts: data and software, as text.
    """
    by_name = {row.checked.row.name: row for row in measured}
    table = [_row(result, by_name[result.name], len(seeds)) for result in results]
    heads = ["row", "steps", "CPU s", *METRICS, "difference of AP", "verdict"]
    heads += ["AP of each seed"] * (len(seeds) > 1)
    lines = [" | ".join(cells) for cells in (heads, ["---"] * len(heads), *table)]
    keys = [f"- {row.checked.row.name}: {_overrides(row)}" for row in measured[1:]]
    parts = [
        _summary(comparison, seeds, noise, facts),
        "\n".join(f"| {line} |" for line in lines),
        _verdicts(results, failed),
        comparison.note,
        "\n".join(keys),
    ]
    return "\n\n".join(filter(None, parts))


def _summary(
    comparison: Comparison, seeds: Sequence[int], noise: SeedNoise | None, facts: str
) -> str:
    data = (
        f"{comparison.held_out:.0%} of the training images" if comparison.held_out else "test set"
    )
    planned = len(comparison.seeds)
    found = f"{len(seeds)} of {planned} seeds" if len(seeds) < planned else f"{planned} seeds"
    found = "**One seed**" if len(seeds) == planned == 1 else found
    source = "measured here" if len(seeds) > 1 else "from another comparison"
    noisy = (
        f"Noise between seeds: {noise.deviation:.2f} AP (standard deviation of one run, {source})."
        if noise
        else "The noise between seeds is not known, so nothing is decided."
    )
    return (
        f"Base: `{'/'.join(comparison.base.split(os.sep)[-2:])}`. {found}. Length: "
        f"{comparison.length}. Evaluated on: {data}. {facts} {noisy}"
    )


def _row(result: RowResult, measured: MeasuredRow, seeds: int) -> list[str]:
    ap, *others = (f"{result.metrics[key]:.1f}" for key in METRICS)
    if result.interval:
        ap += f" ({result.interval.low:.1f} to {result.interval.high:.1f})"
    seconds = "-" if result.cpu_seconds is None else f"{result.cpu_seconds:.0f}"
    difference = verdict = ""
    if result.difference:
        value, low, high, verdict = result.difference
        # adding 0 turns -0.0 into 0.0
        value, low, high = (round(number, 1) + 0.0 for number in (value, low, high))
        difference = f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
    name = result.name.replace("|", r"\|")  # a bar would end the cell
    cells = [name, str(measured.steps), seconds, ap, *others, difference, verdict]
    if seeds > 1:
        cells.append(", ".join(f"{value:.1f}" for value in result.of_seeds))
    return cells


def _verdicts(results: Sequence[RowResult], failed: Sequence[str]) -> str:
    """Return a line for each verdict with the names of its rows."""
    names = {GAIN: "Gain", LOSS: "Loss", NOT_DECIDED: "Not decided"}
    lines = []
    for verdict, text in names.items():
        rows = [r.name for r in results if r.difference and r.difference.verdict == verdict]
        lines.append(f"{text}: {'; '.join(rows) if rows else 'none'}.")
    if failed:
        lines.append(f"Failed: {'; '.join(failed)}.")
    return " ".join(lines)


def _overrides(row: MeasuredRow) -> str:
    """Return the keys of a row with their values."""
    words = row.checked.row.overrides
    pairs = zip(words[::2], words[1::2], strict=True)
    return ", ".join(f"`{key} {value}`" for key, value in pairs)
