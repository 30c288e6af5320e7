"""Parse the command line of ``retina`` and run its verbs."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from typing import Any

from retina_plugin.cli import (
    completion,
    config,
    data,
    doctor,
    eval,
    export,
    predict,
    report,
    train,
)
from retina_plugin.cli.interrupts import exit_quietly_on_signals
from retina_plugin.cli.output import make_streams_printable, write
from retina_plugin.cli.parser import Parser, add_verbs, suggestion, verb_parsers

VERBS: dict[str, Any] = {
    "train": train,
    "eval": eval,
    "predict": predict,
    "export": export,
    "report": report,
    "data": data,
    "config": config,
    "doctor": doctor,
    "completion": completion,
}

WITHOUT_TORCH = ("completion", "doctor")  # verbs that work if torch cannot be imported

EXAMPLES = """RetinaNet with focal loss, on Detectron2 or on Lightning.

    retina train --config-file digits/retinanet_compact.yaml
    retina VERB --help"""


class _Version(argparse.Action):
    """Prints the version and exits."""

    def __call__(self, parser: argparse.ArgumentParser, *args: object) -> None:
        from retina_plugin.cli.version import version

        write(f"{version()}\n")
        parser.exit()


def build_parser() -> Parser:
    """Build the parser with a subparser for each verb."""
    parser = Parser(EXAMPLES, prog="retina", allow_abbrev=False)
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="print version and folder of the package"
    )
    add_verbs(parser, VERBS, dest="verb")
    return parser


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the words after ``retina``; None for ``sys.argv``.

    Raises:
        SystemExit: an error in the command line, with exit code 2, or ``--help``.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    _require_verb(parser, words)
    args = parser.parse_args(words)
    if hasattr(VERBS[args.verb], "check"):
        VERBS[args.verb].check(args.parser, args)
    return args


def _require_verb(parser: Parser, words: list[str]) -> None:
    """Check that the words begin with flags of the parser and then one of its verbs; then check the
    verbs below that verb."""
    verbs = verb_parsers(parser)
    if not verbs:
        return
    parser.parse_args(list(itertools.takewhile(lambda word: word.startswith("-"), words)))
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is None:
        parser.error(f"expected a verb: {', '.join(verbs)}")
    if verb not in verbs:
        flags = [f"--{verb}"] if parser.has_flag(f"--{verb}") else []
        hint = suggestion(verb, flags or verbs) or f": expected one of {', '.join(verbs)}"
        parser.error(f"unknown verb {verb}{hint}")
    _require_verb(verbs[verb], words[words.index(verb) + 1 :])


def main(argv: Sequence[str] | None = None) -> None:
    """Run a verb in this process.

    Args:
        argv: the words after ``retina``; None for ``sys.argv``.

    Raises:
        SystemExit: an error in the command line, after a message of one line.
        Exception: an error of the verb; :func:`retina_plugin.engine.process.run` can turn it into a
            message of one line.
    """
    args = parse(argv)
    VERBS[args.verb].run(args)


def start() -> None:
    """Run the program ``retina``; this is its entry point."""
    exit_quietly_on_signals()
    make_streams_printable()
    args = parse()
    if args.verb in WITHOUT_TORCH:
        VERBS[args.verb].run(args)
        return
    from retina_plugin.engine.process import run  # imports torch

    run(lambda: VERBS[args.verb].run(args), program=True)
