"""A progress bar for importers that read a file for each image."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from tqdm import tqdm

DELAY = 2  # seconds after which the bar appears

T = TypeVar("T")


def with_progress(entries: Collection[T], what: str) -> tqdm[T]:
    """Return an iterable of the entries that shows a bar with the title ``what``."""
    return tqdm(entries, desc=what, unit="file", leave=False, delay=DELAY)
