"""Handle Ctrl-C while a command starts."""

from __future__ import annotations

import os
import signal
from typing import Any


def exit_quietly_on_signals() -> None:
    """End this process without a traceback on Ctrl-C or SIGTERM.

    Call this before the slow imports; later :func:`retina_plugin.engine.process.run` handles the
    signals.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def _end(number: int, frame: Any) -> None:
    os.write(2, b"interrupted before the start\n")
    os._exit(128 + number)
