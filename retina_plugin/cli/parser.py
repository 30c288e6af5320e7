"""An argument parser with errors of one line, suggestions for unknown flags and checked numbers."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

FLAG = re.compile(r"--[A-Za-z]|-[A-Za-z]$")


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that reports an error in one line, with exit code 2.

    The message for an unknown flag suggests the most similar known flag.

    Args:
        description: paragraphs; those indented by four spaces are printed unchanged.
        options: more arguments of :class:`argparse.ArgumentParser`.
    """

    def __init__(self, description: str | None = None, **options: Any) -> None:
        super().__init__(description=description, formatter_class=HelpFormatter, **options)
        self._words: list[str] = []
        self._overrides: str | None = None

    def add_overrides(
        self,
        name: str = "opts",
        *,
        metavar: str = "KEY VALUE",
        help: str = "overrides of config keys",
    ) -> None:
        """Add positional arguments that may stand anywhere between the flags.

        The namespace gets them as the list ``name``.
        """
        self._overrides = name
        self.add_argument(name, nargs="*", default=[], metavar=metavar, help=help)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, but report unknown arguments as errors."""
        self._words = list(sys.argv[1:] if args is None else args)
        found, rest = super().parse_known_args(self._words, namespace)
        if self._unknown_flag(rest) or (rest and self._overrides is None):
            self.error(f"unexpected argument {rest[0]}")
        if self._overrides is not None:
            setattr(found, self._overrides, [*getattr(found, self._overrides), *rest])
        return found, []

    def error(self, message: str) -> NoReturn:
        flag = self._unknown_flag(self._words)
        if flag is not None:
            message = f"unknown flag {flag}{self._hint(flag)}"
        self.exit(2, f"error: {message} (--help lists all arguments)\n")

    def _unknown_flag(self, words: Iterable[str]) -> str | None:
        """Return the first flag that this parser does not have, or None."""
        flags = [word.split("=")[0] for word in words if FLAG.match(word)]
        return next((flag for flag in flags if not self.has_flag(flag)), None)

    def _hint(self, flag: str) -> str:
        if any(parser.has_flag(flag) for parser in verb_parsers(self).values()):
            return ": it stands after the verb"
        return suggestion(flag, [f for f in self._option_string_actions if f.startswith("--")])

    def has_flag(self, flag: str) -> bool:
        known = self._option_string_actions
        return flag in known or (self.allow_abbrev and any(k.startswith(flag) for k in known))


def add_verbs(parser: Parser, verbs: Mapping[str, Any], *, dest: str) -> None:
    """Add a subparser for each verb.

    Args:
        parser: a parser without positional arguments.
        verbs: name -> module. The first line of its docstring is the help, and ``EXAMPLES`` is the
            description. It has the functions ``add_arguments(parser)`` and ``run(args)``.
        dest: attribute of the namespace for the name of the verb. The subparser is in "parser".
    """
    subparsers = parser.add_subparsers(dest=dest, metavar="VERB", parser_class=Parser)
    for name, module in verbs.items():
        verb = subparsers.add_parser(
            name,
            help=(module.__doc__ or "").splitlines()[0],
            description=module.EXAMPLES,
            prog=f"{parser.prog} {name}",
            allow_abbrev=False,
        )
        module.add_arguments(verb)
        verb.set_defaults(parser=verb)


def verb_parsers(parser: argparse.ArgumentParser) -> Mapping[str, Any]:
    """Return the subparsers of :func:`add_verbs` by verb; empty without verbs."""
    found = (a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return next(found, {})


class HelpFormatter(argparse.HelpFormatter):
    """Wraps paragraphs to the width of the terminal, without dividing words.

    Indented paragraphs, the examples, are unchanged.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            textwrap.indent(part.rstrip(), indent)
            if part.startswith("    ")
            else "\n".join(self._split_lines(part, width))
            for part in text.strip().split("\n\n")
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        words = " ".join(text.split())
        return textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``": did you mean train?"``, or the empty string if no known word is similar."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else ""


def file_name(text: str) -> str:
    """Check the name of a file; for ``type=`` of an argument."""
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a file, found an empty text")
    return text


def integer_between(least: int, most: int) -> Callable[[str], int]:
    """Return a function for ``type=`` of an argument: an integer from ``least`` to ``most``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"expected a whole number, found {text!r:.40}"
            ) from None
        if not least <= value <= most:
            bound = f"least {least}" if value < least else f"most {most}"
            raise argparse.ArgumentTypeError(f"expected at {bound}, found {text:.40}")
        return value

    return parse


COUNT = integer_between(0, 10**9)  # for --max-images and similar flags, where 0 means all


def fraction(text: str) -> float:
    """Parse a number from 0 to 1; for ``type=`` of an argument."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r:.40}")
    return value


def fraction_below_1(text: str) -> float:
    """Parse a number from 0 to below 1; for score thresholds, because no score is above 1."""
    value = fraction(text)
    if value == 1:
        raise argparse.ArgumentTypeError(f"expected a number below 1, found {text!r:.40}")
    return value
