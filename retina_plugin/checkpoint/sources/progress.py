"""Show the progress of a download."""

from __future__ import annotations

import sys
import time

from retina_plugin.config.disk import format_size

PERIOD = 10.0  # seconds between two lines
PERIOD_IN_TERMINAL = 0.2


class Progress:
    """Prints to the standard error output: in a terminal one line that is updated, otherwise a new
    line every ten seconds."""

    def __init__(self, name: str) -> None:
        """
        Args:
            name: the name of the file.
        """
        self.name, self.terminal = name, sys.stderr.isatty()
        self.period = PERIOD_IN_TERMINAL if self.terminal else PERIOD
        self._next = time.monotonic() + self.period

    def update(self, done: int, size: int) -> None:
        """Print the progress if enough time has passed since the last time.

        Args:
            done: bytes received.
            size: bytes of the whole file.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self.period
        text = f"{self.name}: {done / max(size, 1):.0%} of {format_size(size)}"
        line = f"\r{text:<79.79}" if self.terminal else f"{text}\n"
        print(line, end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the line in a terminal."""
        if self.terminal:
            print("\r" + " " * 79 + "\r", end="", file=sys.stderr, flush=True)
