"""An entry of a registry, and what is checked when it is registered."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.key import Key
from retina_plugin.config.rules import Rule

# Where a constructor argument comes from: a dotted key, or a function of the config.
Source = str | Callable[[Any], Any]

KEY_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True)
class Part:
    """An entry of a registry.

    Attributes:
        build: a class or a function with keyword-only arguments.
        module: where it is defined.
        keys: the part's own keys, below the node of its name.
        reads: constructor argument -> other keys that it is taken from.
    """

    build: Any
    module: str
    keys: Mapping[str, Key] = field(default_factory=dict)
    reads: Mapping[str, Source] = field(default_factory=dict)


def module_of(entry: Any) -> str:
    """Where a class or function is defined; of a ``functools.partial``, where its function is,
    unless ``__module__`` is set."""
    if isinstance(entry, functools.partial) and "__module__" not in vars(entry):
        return module_of(entry.func)
    return getattr(entry, "__module__", None) or ""


def place_of(entry: Any) -> str:
    """Where a part is defined, for messages."""
    return f"{module_of(entry) or '?'}.{getattr(entry, '__qualname__', repr(entry))}"


def same_definition(entry: Any, other: Any) -> bool:
    """Whether two classes or functions are one, or come from one place of one module: a cell of a
    notebook that ran twice, or a module that was imported again."""
    named = hasattr(entry, "__qualname__") and hasattr(other, "__qualname__")
    return entry is other or (named and place_of(entry) == place_of(other))


def check_keys(keys: Any, where: str, *, runtime_arguments: Iterable[str]) -> None:
    """
    Args:
        keys: of a part.
        where: names the part, for messages.
        runtime_arguments: constructor arguments that the builder of the model passes.

    Raises:
        ConfigError: they are not rows by name, or a row cannot be used.
    """
    if not isinstance(keys, Mapping):
        raise ConfigError(
            f"{where}: write keys={{'RADIUS': Key(2.0, 'what it means')}}, found "
            f"{type(keys).__name__}"
        )
    for key, row in keys.items():
        if not (isinstance(key, str) and KEY_NAME.fullmatch(key)):
            raise ConfigError(f"{where}: key {key!r}: expected a name in capitals, such as RADIUS")
        if not isinstance(row, Key):
            raise ConfigError(
                f"{where}: key {key} has no default: write {key}: Key(default, 'what it means')"
            )
        _check_row(row, f"{where}: key {key}")
        if key.lower() in runtime_arguments:
            raise ConfigError(
                f"{where}: key {key} needs another name, because the constructor argument "
                f"{key.lower()!r} is given by the builder of the model"
            )


def _check_row(row: Key, where: str) -> None:
    if not _is_plain(row.default):
        raise ConfigError(
            f"{where}: expected a default that YAML can hold (text, a finite number, True, False, "
            f"None, or a list of them), found {type(row.default).__name__} {row.default!r:.80}"
        )
    if not (isinstance(row.meaning, str) and row.meaning):
        raise ConfigError(
            f"{where}: expected its meaning in words after the default, found {row.meaning!r:.80}: "
            f"write Key({row.default!r}, 'what it means')"
        )
    if row.rule is None:
        return
    if not isinstance(row.rule, Rule):
        raise ConfigError(
            f"{where}: expected a rule of retina_plugin.config, such as at_least(0) or "
            f"Rule(lambda v: v % 2 == 1, 'an odd number'), found {row.rule!r:.80}"
        )
    if not row.rule.accepts(row.default):
        raise ConfigError(
            f"{where}: its rule refuses its default: expected {row.rule.expected}, found "
            f"{row.default!r}"
        )


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (str, int, bool)


def check_arguments(
    part: Part,
    where: str,
    *,
    kind: str,
    config_arguments: Iterable[str],
    runtime_arguments: Iterable[str],
) -> None:
    """Make sure that every argument of the constructor comes from somewhere, and that every key has
    an argument.

    Args:
        part: with keys that are right.
        where: names the part, for messages.
        kind: what the part is, for messages.
        config_arguments: what the parts of this kind can take from the config.
        runtime_arguments: what the builder of the model passes.

    Raises:
        ConfigError: one of them does not.
    """
    both = sorted({*part.reads} & {*runtime_arguments})
    if both:
        raise ConfigError(
            f"{where}: the constructor argument {both[0]!r} is given by the builder of the model: "
            "leave it out of reads"
        )
    arguments = inspect.signature(part.build).parameters.values()
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments):
        return
    known = {argument.name for argument in arguments}
    surplus = [key for key in part.keys if key.lower() not in known]
    if surplus:
        raise ConfigError(
            f"{where}: key {surplus[0]} needs the constructor argument "
            f"{surplus[0].lower()!r}, found {', '.join(sorted(known)) or 'none'}"
        )
    sources = {
        *config_arguments,
        *runtime_arguments,
        *part.reads,
        *(key.lower() for key in part.keys),
    }
    missing = [
        a.name
        for a in arguments
        if a.default is a.empty and a.kind is not a.VAR_POSITIONAL and a.name not in sources
    ]
    if missing:
        raise ConfigError(
            _nothing_gives(part, missing[0], where, kind, {*config_arguments, *runtime_arguments})
        )


def _nothing_gives(part: Part, name: str, where: str, kind: str, others: set[str]) -> str:
    also = f"; it can also have {', '.join(sorted(others))}" if others else ""
    called = ""
    if inspect.isfunction(part.build):  # in version 0.1, losses were registered so
        called = (
            f". A function is called once and returns the {kind}; if it is the {kind} itself, make "
            "it a class, as docs/plugin.md shows"
        )
    return (
        f"{where}: nothing gives the constructor argument {name!r}: register the part with "
        f"keys={{{name.upper()!r}: Key(...)}}{also}{called}"
    )
