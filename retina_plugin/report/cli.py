"""How every tool ends: a mistake of the user is told in one message, not by a traceback alone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

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
