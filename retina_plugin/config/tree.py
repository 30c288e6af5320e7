"""Config trees as dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from retina_plugin.config.key import Key


def leaves(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in a tree that is not a node."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        elif not isinstance(value, Mapping):
            yield f"{prefix}{name}", value


def add_keys(cfg: Any, keys: Mapping[str, Key]) -> None:
    """Add keys and their defaults to ``cfg``, with the nodes that they need; keys that it has
    stay."""
    for key, row in keys.items():
        *parents, name = key.split(".")
        node = cfg
        for parent in parents:
            node = node.setdefault(parent, type(cfg)())
        copy = (
            type(row.default)(row.default)
            if isinstance(row.default, (list, tuple))
            else row.default
        )
        node.setdefault(name, copy)
