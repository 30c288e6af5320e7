"""Average the weights of the last checkpoints of a run (SWA), and write them as a checkpoint.

    python tools/average_checkpoints.py output --last 5
    python tools/average_checkpoints.py output/model_0000999.pth output/model_final.pth \\
        --output averaged.pth

For a run folder, the result is model_swa.pth in it. Evaluate it with retina eval output --weights
output/model_swa.pth.
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
from command_line import Parser, integer_between  # first, to handle Ctrl-C during imports

# isort: split
import argparse

from retina_plugin.checkpoint.average import average_checkpoints
from retina_plugin.checkpoint.checksum import save_with_checksum, saved_size
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import atomic_file
from retina_plugin.engine.checkpoints import last_checkpoints
from retina_plugin.engine.process import run

NAME = "model_swa.pth"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="PATH",
        help="the folder of a run, or checkpoints, oldest first",
    )
    parser.add_argument(
        "--last",
        type=integer_between(2, 1000),
        default=5,
        metavar="NUMBER",
        help="for a folder: how many of its last checkpoints to average (5)",
    )
    parser.add_argument(
        "--output", metavar="FILE", help=f"default for a folder: {NAME} in the folder"
    )
    return parser.parse_args(argv)


def choose(args: argparse.Namespace) -> tuple[list[str], str]:
    """Return the checkpoints, oldest first, and the path of the result.

    Raises:
        ConfigError: a folder is given with other paths, files are given without ``--output``, or
            the result would replace one of them.
        WeightsError: the folder has fewer checkpoints than ``--last``.
    """
    paths: list[str] = args.inputs
    folders = [path for path in paths if os.path.isdir(path)]
    if folders and len(paths) > 1:
        raise ConfigError(f"expected one folder or only files, found {', '.join(paths)}")
    if folders:
        output = args.output or os.path.join(folders[0], NAME)
        paths = last_checkpoints(folders[0], args.last)
    elif args.output:
        output = args.output
    else:
        raise ConfigError("--output: expected a file, because checkpoints are given one by one")
    if os.path.realpath(output) in map(os.path.realpath, paths):
        raise ConfigError(f"--output {output} is one of the checkpoints: give another file")
    return paths, output


def main(argv: list[str] | None = None) -> None:
    paths, output = choose(parse(argv))
    content = average_checkpoints(paths)
    with atomic_file(output, size=lambda: saved_size(content)) as draft:
        save_with_checksum(content, draft)
    print(f"{output}: the mean of {', '.join(content['averaged'])}")


if __name__ == "__main__":
    run(main)
