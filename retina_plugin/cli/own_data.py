"""Flags for training with a user's own data."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from retina_plugin.cli.parser import integer_between
from retina_plugin.cli.run_flags import request_of

if TYPE_CHECKING:
    from retina_plugin.cli.parser import Parser
    from retina_plugin.engine.plan_run import OwnData


def add_own_data(parser: Parser) -> None:
    """Add ``--data``, ``--val``, ``--group-by``, ``--minutes`` and ``--output``."""
    parser.add_argument("--data", metavar="DATA", help="training images; plans the run")
    add_validation(parser)
    parser.add_argument("--output", metavar="RUN", help="folder of the run: OUTPUT_DIR")


def add_validation(parser: Parser) -> None:
    """Add ``--val``, ``--group-by``, ``--split-seed`` and ``--minutes``."""
    parser.add_argument(
        "--val",
        metavar="VAL",
        help="validation images; without it the validation split of DATA, or a part of DATA",
    )
    parser.add_argument(
        "--group-by",
        metavar="PATTERN",
        help="regular expression for file names; images with the same match, such as frames of a "
        "video, are never split between training and validation",
    )
    parser.add_argument(
        "--split-seed",
        type=integer_between(0, 2**32 - 1),
        metavar="N",
        help="random seed of this split (1); SEED is that of training",
    )
    parser.add_argument(
        "--minutes", type=minutes, metavar="M", help="time budget of the whole command"
    )


def minutes(text: str) -> float:
    """Parse the value of ``--minutes``: above 0, at most 100 days."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 144_000:
        raise argparse.ArgumentTypeError(f"expected minutes above 0, found {text!r:.40}")
    return value


def check_own_data(parser: Parser, args: argparse.Namespace) -> None:
    """Check that the flags go together, and add ``--output`` to the overrides.

    Raises:
        SystemExit: they do not; exit code 2.
    """
    if args.config_file is None and args.data is None:
        parser.error("expected --data DATA or --config-file FILE")
    if args.config_file is not None:
        for flag in ("data", "val", "group_by", "split_seed"):
            if getattr(args, flag) is not None:
                parser.error(
                    f"argument --{flag.replace('_', '-')}: not allowed with --config-file, which "
                    "names the data sets"
                )
    if args.output is not None:
        if "OUTPUT_DIR" in args.opts[::2]:
            parser.error("argument --output: not allowed with OUTPUT_DIR")
        args.opts = ["OUTPUT_DIR", args.output, *args.opts]


def own_data_of(args: argparse.Namespace) -> OwnData:
    """Return the data and the time budget that the flags give."""
    from retina_plugin.engine.plan_run import OwnData

    group_by, minutes = args.group_by or "", args.minutes or 0.0
    return OwnData(args.data, args.val or "", group_by, minutes, args.split_seed)


def train_own_data(args: argparse.Namespace, **flags: Any) -> None:
    """Plan and start the run that the flags describe.

    Args:
        args, flags: see :func:`retina_plugin.cli.run_flags.request_of`.
    """
    from retina_plugin.engine.own_data import train_own_data as start

    start(own_data_of(args), args.opts, request_of(args, **flags), host=args.host)
