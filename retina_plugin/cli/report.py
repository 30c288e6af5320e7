"""Write an HTML page about one or several runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from retina_plugin.cli.parser import file_name

if TYPE_CHECKING:
    import argparse

    from retina_plugin.cli.parser import Parser

EXAMPLES = """Write one HTML page about a run: AP by class and size, curves, confusions, kinds of
errors, calibration, learning curves, the worst images and likely label errors. The page needs no
network and no other file. It is made from the files of the last evaluation; the model runs on eight
images only. If several runs are given, the page compares them with the first.

    retina report out
    retina report out other_run --output comparison.html

Likely label errors are also written as CSV beside the page."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("folders", nargs="+", metavar="DIR", help="folder of a run")
    parser.add_argument(
        "--output",
        type=file_name,
        metavar="FILE",
        help="the page (default: report.html in the first folder)",
    )


def run(args: argparse.Namespace) -> None:
    """Write the page.

    Raises:
        ConfigError, DatasetError, WeightsError: a run cannot be read.
        DiskError: a file cannot be written.
    """
    from retina_plugin.report.page import write_report
    from retina_plugin.report.page.final_report import REPORT

    output = args.output or os.path.join(args.folders[0], REPORT)
    for path in write_report(args.folders, output):
        print(f"{path}: {os.path.getsize(path) / 1e6:.1f} MB", flush=True)
