"""The parser of the ``retina`` command and the handling of Ctrl-C during imports, for all tools."""

from __future__ import annotations

import os
import sys

from retina_plugin.cli.interrupts import exit_quietly_on_signals
from retina_plugin.cli.label_flag import add_labels
from retina_plugin.cli.parser import COUNT, Parser, fraction, fraction_below_1, integer_between

__all__ = ["COUNT", "Parser", "add_labels", "fraction", "fraction_below_1", "integer_between"]


def _is_program() -> bool:
    """Return whether a tool was started as a program, not imported by another module."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    here = os.path.dirname(os.path.abspath(__file__))
    return path is not None and os.path.dirname(os.path.abspath(path)) == here


if _is_program():
    exit_quietly_on_signals()
