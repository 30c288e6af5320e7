"""Name -> object, for the parts that a YAML file chooses.

Works like Detectron2's registries (``register()`` as a decorator, ``get(name)``) without importing
anything, so that the same part is found on either host.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Registry:
    """A named table of builders or classes.

    Example:
        >>> HEADS = Registry("head")
        >>> @HEADS.register()
        ... class MyHead: ...
        >>> HEADS.get("MyHead") is MyHead
        True
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Any] = {}

    def register(self, name: str | None = None) -> Callable[[T], T]:
        """Decorator that files an object under ``name``, or under its own ``__name__``.

        Raises:
            KeyError: another object already has that name.
        """

        def add(entry: T) -> T:
            key = name or entry.__name__  # type: ignore[attr-defined]
            if self._entries.get(key, entry) is not entry:
                raise KeyError(
                    f"{self.kind} {key!r} is registered already: {self._entries[key]}. "
                    "Choose another name."
                )
            self._entries[key] = entry
            return entry

        return add

    def get(self, name: str) -> Any:
        """The object called ``name``.

        Raises:
            KeyError: no such name; the message lists the nearest known ones and how to import a
                plugin.
        """
        if name not in self._entries:
            raise KeyError(unknown_name(self.kind, name, self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def items(self) -> list[tuple[str, Any]]:
        """All (name, object) pairs, in order of registration."""
        return list(self._entries.items())


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that no registry holds: nearest names first, then the way to bring a
    plugin in."""
    return (
        f"no {kind} is called {name!r}. {nearest(name, known)} If it is your own, name the module "
        "that registers it in "
        "MODEL.RETINA_PLUGIN.IMPORTS, for example IMPORTS: ['my_package.my_module']."
    )


def nearest(name: str, known: Iterable[str], limit: int = 20) -> str:
    """The names that were probably meant, or where none is near all of them, up to ``limit``."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    rest = f", ... ({len(known)})" if len(known) > limit else ""
    return f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(known[:limit])}{rest}."
