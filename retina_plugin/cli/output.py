"""Text on standard output."""

from __future__ import annotations

import os
import sys


def write(text: str) -> None:
    """Print ``text``; end this process quietly if its reader, such as ``head``, has gone."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left, at exit
        sys.exit(141)  # as of a program that SIGPIPE ends


def make_streams_printable() -> None:
    """Let every text be printed: a closed stream takes all and gives nothing, and characters that
    the encoding lacks are written as escapes."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  open until the process ends
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
