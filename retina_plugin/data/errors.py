"""The error that every mistake in data ends in."""

from __future__ import annotations


class DatasetError(ValueError):
    """Data that cannot be used; the message names the file, the annotation, what was expected and
    found, and what to do."""
