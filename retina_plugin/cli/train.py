"""Train a detector, and evaluate it at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retina_plugin.cli.own_data import add_own_data, check_own_data, train_own_data
from retina_plugin.cli.parser import file_name
from retina_plugin.cli.run_flags import add_distributed_flags, add_host, launch
from retina_plugin.config.keys import MINUTES

if TYPE_CHECKING:
    import argparse

    from retina_plugin.cli.parser import Parser

EXAMPLES = """Train a detector from your own data or from a YAML file, and evaluate it at the end.

    retina train --data DATA --minutes 20 --output out
    retina train --data DATA --val VAL --output out SEED 7
    retina train --config-file digits/retinanet_compact.yaml
    retina train --config-file my.yaml OUTPUT_DIR out SOLVER.MAX_ITER 500
    retina train --config-file my.yaml --minutes 20
    retina train --config-file out/config.yaml --resume

DATA is a folder or an annotation file of any known format, PATH:SPLIT or ANNOTATIONS@IMAGES. The
run is planned first: out/plan.yaml has each value with its reason, and repeats the run.

A folder that has a run already is used only with --resume or --overwrite."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--config-file",
        type=file_name,
        metavar="FILE",
        help="YAML file, or a packaged config such as digits/retinanet_compact.yaml",
    )
    add_own_data(parser)
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


def check(parser: Parser, args: argparse.Namespace) -> None:
    check_own_data(parser, args)


def overrides(args: argparse.Namespace) -> list[str]:
    """Return ``[KEY, VALUE, ...]`` of a command line with ``--config-file``, with the flags that
    set a key. If a flag and its key are given, the key is used."""
    minutes = [] if args.minutes is None else [MINUTES, repr(args.minutes)]
    return [*minutes, *args.opts]


def run(args: argparse.Namespace) -> None:
    flags = {"resume": args.resume, "overwrite": args.overwrite}
    if args.config_file is None:
        train_own_data(args, **flags)
    else:
        launch(args.config_file, overrides(args), args, **flags)
