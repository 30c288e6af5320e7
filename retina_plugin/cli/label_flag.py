"""The flag of every command that draws boxes on images."""

from __future__ import annotations

import argparse

LABEL_MODES = ("auto", "all", "none")  # those of retina_plugin.report, without importing it


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add ``--labels`` to a parser."""
    parser.add_argument(
        "--labels",
        choices=LABEL_MODES,
        default="auto",
        help="auto leaves out labels that would hide objects or each other and explains their "
        "colours below the image; all; none",
    )
