"""Train a base recipe and variants of it for the same CPU time, and say which ones raise AP.

    python tools/compare_recipes.py tools/comparisons/digits_screening.yaml \\
        --page docs/accuracy.md

The file names the base config, the length of a run, the seeds and the rows, each a list of config
keys and values. All rows are checked before the first run. A run is a call of
``tools/train_net.py`` on one CPU thread. The same command continues a comparison that was stopped;
finished runs are not repeated. The page gets a section with the table; its first part explains how
CPU time, intervals and verdicts are computed.
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
from command_line import Parser, integer_between  # first, to handle Ctrl-C during imports

# isort: split
import argparse
from pathlib import Path
from typing import Any

import torch
from recipes.checked_rows import CheckedRow, check_rows
from recipes.comparison_file import BASE, Comparison, read_comparison
from recipes.held_out import data_overrides
from recipes.lengths import MeasuredRow, measure_rows
from recipes.page import require_page, section_of, update_page
from recipes.runs import Run, all_runs, start_runs
from recipes.scores import Results, score_of

from retina_plugin import __version__
from retina_plugin.data import load_dataset
from retina_plugin.engine.folder_lock import FolderLock
from retina_plugin.engine.hosts import HOSTS
from retina_plugin.engine.launch import host_of
from retina_plugin.engine.process import run
from retina_plugin.engine.read_config import merge


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("file", metavar="FILE", help="YAML file of the comparison")
    parser.add_argument(
        "--output-dir", metavar="FOLDER", help="folder of all runs; default output/NAME of FILE"
    )
    parser.add_argument(
        "--page", metavar="PAGE", help="Markdown page for the table; default FOLDER/accuracy.md"
    )
    parser.add_argument("--host", choices=HOSTS, default="auto", help="what to run on")
    parser.add_argument(
        "--jobs",
        type=integer_between(1, 1024),
        default=os.cpu_count() or 1,
        help="number of runs at the same time, each on one thread",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    comparison = read_comparison(args.file)
    folder = Path(args.output_dir or Path("output") / Path(args.file).stem)
    page = args.page or str(folder / "accuracy.md")
    folder.mkdir(parents=True, exist_ok=True)
    require_page(page)
    with FolderLock(str(folder)):
        compare(comparison, folder, page=page, host=args.host, jobs=args.jobs)


def compare(comparison: Comparison, folder: Path, *, page: str, host: str, jobs: int) -> None:
    """Check and measure the rows, train them, and write the page after each seed.

    Raises:
        ConfigError, DatasetError, ImportError, WeightsError: a row or the data cannot be used.
        ChildProcessError: runs failed; the others have finished, and the page is written.
    """
    the_host = host_of(host)
    base = merge(the_host.get_cfg(), comparison.base, [])
    checked = check_rows(comparison, data_overrides(base, comparison.held_out, folder), the_host)
    rows = measure_rows(comparison, checked, folder, the_host.name)
    results = Results([row.row.name for row in checked], comparison.seeds, comparison.seed_noise)
    facts = facts_of(checked[0], the_host.name)

    def finished(done: Run, result: dict[str, Any] | ChildProcessError) -> None:
        name = done.row.checked.row.name
        if isinstance(result, ChildProcessError):
            results.failed[name] = result
        else:
            results.add(name, done.seed, score_of(done, result))
        if results.complete_seeds() and BASE not in results.failed:
            write(comparison, rows, results, page, facts)

    runs = all_runs(rows, comparison.seeds, folder)
    start_runs(runs, finished, base=comparison.base, host=the_host.name, jobs=jobs)
    if results.failed:
        raise ChildProcessError("\n".join(map(str, results.failed.values())))
    print(f"page: {page}")


def write(
    comparison: Comparison,
    rows: list[MeasuredRow],
    results: Results,
    page: str,
    facts: str,
) -> None:
    """Write the section of the comparison into the page."""
    section = section_of(
        comparison,
        rows,
        results.compare(),
        failed=list(results.failed),
        seeds=results.complete_seeds(),
        noise=results.noise(),
        facts=facts,
    )
    update_page(page, comparison.title, section)


def facts_of(base: CheckedRow, host: str) -> str:
    """Return the sizes of the data and the versions of the software, as text."""
    cfg = base.resolved
    train, test = (
        sum(len(load_dataset(name).records) for name in names)
        for names in (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
    )
    return (
        f"{train} training images, {test} for evaluation. {host}, retina_plugin {__version__}, "
        f"torch {torch.__version__}."
    )


if __name__ == "__main__":
    run(main)
