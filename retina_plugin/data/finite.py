"""What counts as a number in files that other programs wrote."""

from __future__ import annotations

import sys
from typing import Any


def is_number(value: Any) -> bool:
    """A finite number; integers may have any length."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )
