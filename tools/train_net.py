"""Train or evaluate a RetinaNet from a YAML file, on Detectron2 or, if it is not installed, on
Lightning.

    python tools/train_net.py --config-file configs/digits/retinanet_compact.yaml
    python tools/train_net.py --config-file my.yaml OUTPUT_DIR out SOLVER.MAX_ITER 500
    python tools/train_net.py --config-file out/config.yaml --eval-only MODEL.WEIGHTS model.pth
    python tools/train_net.py --data DATA --minutes 20 --output out

The flags are those of Detectron2's tool, and those of `retina train`. A folder that contains a run
needs --resume or --overwrite. `retina train` and `retina eval` do the same.
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
from command_line import Parser  # first, to handle Ctrl-C during imports

# isort: split
import argparse

from retina_plugin.cli import train
from retina_plugin.cli.run_flags import launch


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    train.add_arguments(parser)
    parser.add_argument(
        "--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST"
    )
    args = parser.parse_args(argv)
    train.check(parser, args)
    if args.eval_only and args.data is not None:
        parser.error("argument --data: not allowed with --eval-only")
    if args.overwrite and args.eval_only:
        parser.error(
            "argument --overwrite: not allowed with --eval-only, which may write into the "
            "folder of any run"
        )
    if args.minutes and args.eval_only:
        parser.error("argument --minutes: not allowed with --eval-only, which does not train")
    return args


def main(argv: list[str] | None = None) -> None:
    run(parse(argv))


def run(args: argparse.Namespace) -> None:
    """Train or evaluate as the parsed command line says."""
    if args.eval_only:
        launch(args.config_file, args.opts, args, resume=args.resume, eval_only=True)
    else:
        train.run(args)


if __name__ == "__main__":
    arguments = parse()  # before torch is imported, because the time budget starts here
    from retina_plugin.engine import process

    process.run(lambda: run(arguments))
