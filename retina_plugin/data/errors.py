"""The error for all problems with data."""

from __future__ import annotations


class DatasetError(ValueError):
    """Data that cannot be used.

    The message names the file and the annotation, what was expected and found, and the remedy.
    """
