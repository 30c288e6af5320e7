"""What the tools share: the parser of the ``retina`` command, and Ctrl-C while a tool starts."""

from __future__ import annotations

import os
import sys

from retina_plugin.cli.interrupts import quiet_start
from retina_plugin.cli.parser import COUNT, Parser, share, share_below_1, whole

__all__ = ["COUNT", "Parser", "share", "share_below_1", "whole"]


def _is_program() -> bool:
    """Whether a tool was started as a program, and is not imported by another one."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    here = os.path.dirname(os.path.abspath(__file__))
    return path is not None and os.path.dirname(os.path.abspath(path)) == here


if _is_program():
    quiet_start()
