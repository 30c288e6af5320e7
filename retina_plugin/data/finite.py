"""Check numbers that were read from files."""

from __future__ import annotations

import sys
from typing import Any


def is_number(value: Any) -> bool:
    """Return whether a value is a finite int or float, not a bool, that fits into a float."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )
