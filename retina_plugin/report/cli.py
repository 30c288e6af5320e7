"""How every tool behaves: a mistake of the user is told in one message, a file that cannot be used is counted and left out."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from retina_plugin.data import DatasetError

# What a user can put right: bad values and names, missing files and packages, a loss that became NaN.
USER_ERRORS = (ValueError, KeyError, OSError, ImportError, FloatingPointError)


def run(main: Callable[[], Any]) -> None:
    """Call ``main`` and exit: 0, or 2 after ``error: ...`` on standard error, or 130 after Ctrl-C or SIGTERM.

    The environment variable ``RETINA_PLUGIN_TRACEBACK=1`` shows where an error comes from.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; what was written before is whole", file=sys.stderr)
        sys.exit(130)
    except USER_ERRORS as error:
        if os.environ.get("RETINA_PLUGIN_TRACEBACK") == "1":
            raise
        print(f"error: {message_of(error)}", file=sys.stderr)
        sys.exit(2)


def message_of(error: BaseException) -> str:
    """What an error says: the words of a KeyError without quotes, of a loader's worker process without its traceback."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if "Original Traceback" in text:
        text = text.strip().splitlines()[-1].split(": ", 1)[-1]
    return text or type(error).__name__


def share(text: str) -> float:
    """A number of the command line from 0 to 1, for ``argparse``."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
    return value


class LeftOut:
    """Counts files that cannot be used, so that one of them does not end a tool.

    Example:
        >>> left_out = LeftOut()
        >>> for path in ["a.jpg", "broken.jpg"]:
        ...     with left_out:
        ...         read_image(path)
        >>> left_out.tell(2)
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __enter__(self) -> None:
        """Begin with the next file."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, DatasetError):
            self.reasons.append(str(error))
        return isinstance(error, DatasetError)

    def tell(self, total: int) -> None:
        """Print how many of ``total`` files were left out, if any.

        Raises:
            DatasetError: all of them.
        """
        if not self.reasons:
            return
        if len(self.reasons) == total:
            raise DatasetError(self.reasons[0])
        print(f"warning: {len(self.reasons)} of {total} files were left out (first: {self.reasons[0]})")
