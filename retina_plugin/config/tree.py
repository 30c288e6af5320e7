"""Access nested configs by dotted keys such as SOLVER.MAX_ITER."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from retina_plugin.config.key import Key


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every value in a tree that is not a group. Empty groups yield
    nothing."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        elif not isinstance(value, Mapping):
            yield f"{prefix}{name}", value


def is_same_value(one: Any, other: Any) -> bool:
    """Compare two values of a key; tuples are equal to lists."""
    one, other = (list(x) if isinstance(x, tuple) else x for x in (one, other))
    return bool(one == other)


def plain_leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return {dotted key: value} of a tree, with plain dicts instead of the groups inside lists, so
    that it can be pickled without this package."""
    return {key: _plain(value) for key, value in leaves(tree)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value


def add_keys(cfg: Any, keys: Mapping[str, Key]) -> None:
    """Add keys with their defaults to ``cfg``, and the groups around them. Existing keys keep their
    values."""
    for key, definition in keys.items():
        *parents, name = key.split(".")
        node = cfg
        for parent in parents:
            node = node.setdefault(parent, type(cfg)())
        default = definition.default
        copy = type(default)(default) if isinstance(default, (list, tuple)) else default
        node.setdefault(name, copy)
