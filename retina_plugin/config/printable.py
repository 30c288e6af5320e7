"""Escape characters that break a line of text."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape line breaks and other characters that cannot be printed, such as lone surrogates, as
    Python does. The result is one line, which YAML allows in a comment and UTF-8 can encode."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
