"""What the command lines of all tools share: one line for a mistake, numbers with bounds, and
Ctrl-C while a tool starts.

Only the standard library is imported here, so that this comes before everything that takes seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line ``error: ...`` like those of the tools themselves, with
    exit code 2."""

    def __init__(self, description: str | None) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (--help lists all arguments)\n")


def whole(least: int, most: int) -> Callable[[str], int]:
    """For ``type=`` of an argument: an integer from ``least`` to ``most``."""

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


COUNT = whole(0, 10**9)  # of --max-images and the like, where 0 is for all


def share(text: str) -> float:
    """For ``type=`` of an argument: a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r:.40}")
    return value


def share_below_1(text: str) -> float:
    """The same without 1, which no detection's score is above."""
    value = share(text)
    if value == 1:
        raise argparse.ArgumentTypeError(f"expected a number below 1, found {text!r:.40}")
    return value


def _end(number: int, frame: Any) -> None:
    """End without a traceback while a tool starts; :func:`retina_plugin.engine.process.run` takes
    over."""
    os.write(2, b"interrupted; nothing was begun\n")
    os._exit(128 + number)


def _is_program() -> bool:
    """Whether a tool was started as a program, and is not imported by another one."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    here = os.path.dirname(os.path.abspath(__file__))
    return path is not None and os.path.dirname(os.path.abspath(path)) == here


if _is_program():
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, _end)
