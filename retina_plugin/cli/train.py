"""Train a detector, and evaluate it at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retina_plugin.cli.run_flags import add_distributed_flags, add_host, launch

if TYPE_CHECKING:
    import argparse

    from retina_plugin.cli.parser import Parser

EXAMPLES = """Train a detector from a YAML file, and evaluate it at the end.

    retina train --config-file digits/retinanet_compact.yaml
    retina train --config-file my.yaml OUTPUT_DIR out SOLVER.MAX_ITER 500
    retina train --config-file out/config.yaml --resume

A folder that has a run already is used only with --resume or --overwrite."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--config-file",
        required=True,
        metavar="FILE",
        help="YAML file, or a packaged config such as digits/retinanet_compact.yaml",
    )
    add_host(parser)
    used = parser.add_mutually_exclusive_group()
    used.add_argument(
        "--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR"
    )
    used.add_argument(
        "--overwrite", action="store_true", help="start again: a run in OUTPUT_DIR is renamed first"
    )
    add_distributed_flags(parser)
    parser.add_overrides()


def run(args: argparse.Namespace) -> None:
    launch(args.config_file, args.opts, args, resume=args.resume, overwrite=args.overwrite)
