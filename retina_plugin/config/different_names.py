"""Different names for files, folders and metrics whose characters had to be changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable


def different_names(texts: Iterable[str], *, plain: Callable[[str], str]) -> list[str]:
    """Return ``plain(text)`` of each text, made different by :func:`free_name`."""
    found: list[str] = []
    taken: set[str] = set()
    for text in texts:
        found.append(free_name(plain(text), taken))
        taken.add(found[-1].casefold())
    return found


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the first of ``name``, "name.2", "name.3" and so on that is not taken.

    Args:
        name: the name.
        taken: names after ``casefold()``, because some file systems do not distinguish case.
    """
    numbered = (f"{name}.{n}" if n > 1 else name for n in itertools.count(1))
    return next(found for found in numbered if found.casefold() not in taken)
