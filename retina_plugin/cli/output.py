"""Print text on standard output."""

from __future__ import annotations

import io
import os
import sys


def write(text: str) -> None:
    """Print ``text``; end this process quietly if its reader, such as ``head``, has exited.

    If the text cannot be written, for example because the disk is full, the process ends with a
    message and exit code 2.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        if isinstance(error, BrokenPipeError):
            sys.exit(141)  # the exit code of a program that SIGPIPE ends
        print(f"error: standard output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def make_streams_printable() -> None:
    """Make printing work in every environment.

    Closed standard streams are replaced by the null device. Characters that the encoding of the
    output lacks are printed as escapes.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  open until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
