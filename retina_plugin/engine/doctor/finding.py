"""The result of a check."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

OK, NOTE, WARNING, BROKEN = "ok", "note", "warning", "broken"


class Finding(NamedTuple):
    """What a check has found.

    Attributes:
        status: "ok"; "note" (something optional is missing); "warning" (training works, but
            something else may not); or "broken".
        found: a phrase, one line.
        cure: what to do, such as a command; "" if there is nothing to do.
    """

    status: str
    found: str
    cure: str = ""

    def line(self, name: str) -> str:
        """Return the line that is printed for the check ``name``."""
        cure = f". Cure: {self.cure}" if self.cure else ""
        return f"{self.status:<7} {name}: {self.found}{cure}"


Check = Callable[[], Finding]


def run_check(check: Check) -> Finding:
    """Call a check. If it raises an error, the finding is "broken" and names the error."""
    try:
        return check()
    # libraries that do not fit together may raise anything
    except Exception as error:
        return Finding(BROKEN, describe_error(error))


def describe_error(error: BaseException) -> str:
    """Return the type and the first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
