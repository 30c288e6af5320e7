"""An entry of a registry, and the checks that run when it is registered."""

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

# The source of a constructor argument: a dotted key, or a function that gets the config.
Source = str | Callable[[Any], Any]

KEY_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True)
class Part:
    """An entry of a registry.

    Attributes:
        build: a class or a function with keyword-only arguments; it constructs the part.
        module: name of the module that defines it.
        keys: config keys of this part, {name in capitals: definition}.
        reads: {constructor argument: its source, another key or a function of the config}.
    """

    build: Any
    module: str
    keys: Mapping[str, Key] = field(default_factory=dict)
    reads: Mapping[str, Source] = field(default_factory=dict)


def module_of(entry: Any) -> str:
    """Return the name of the module that defines a class or function; "" if it is unknown. For a
    ``functools.partial`` without ``__module__``, this is its function's module."""
    if isinstance(entry, functools.partial) and "__module__" not in vars(entry):
        return module_of(entry.func)
    return getattr(entry, "__module__", None) or ""


def full_name_of(entry: Any) -> str:
    """Return "module.name" of a class or function, for messages."""
    return f"{module_of(entry) or '?'}.{getattr(entry, '__qualname__', repr(entry))}"


def same_definition(entry: Any, other: Any) -> bool:
    """Return whether two classes or functions are the same object, or have the same module and
    name. The latter happens if a notebook cell runs twice or a module is imported again."""
    named = hasattr(entry, "__qualname__") and hasattr(other, "__qualname__")
    return entry is other or (named and full_name_of(entry) == full_name_of(other))


def check_keys(keys: Any, where: str, *, runtime_arguments: Iterable[str]) -> None:
    """Check the config keys of a part.

    Args:
        keys: {name in capitals: :class:`Key`}.
        where: the part, for messages.
        runtime_arguments: constructor arguments that are not read from the config.

    Raises:
        ConfigError: ``keys`` is not such a mapping, or a definition or name is invalid.
    """
    if not isinstance(keys, Mapping):
        raise ConfigError(
            f"{where}: write keys={{'RADIUS': Key(2.0, 'what it means')}}, found "
            f"{type(keys).__name__}"
        )
    for key, definition in keys.items():
        if not (isinstance(key, str) and KEY_NAME.fullmatch(key)):
            raise ConfigError(f"{where}: key {key!r}: expected a name in capitals, such as RADIUS")
        if not isinstance(definition, Key):
            raise ConfigError(
                f"{where}: key {key} has no default: write {key}: Key(default, 'what it means')"
            )
        _check_definition(definition, f"{where}: key {key}")
        if key.lower() in runtime_arguments:
            raise ConfigError(
                f"{where}: key {key} needs another name, because the constructor argument "
                f"{key.lower()!r} is given by the builder of the model"
            )


def _check_definition(definition: Key, where: str) -> None:
    if not _is_plain(definition.default):
        raise ConfigError(
            f"{where}: expected a default that YAML can hold (text, a finite number, True, False, "
            f"None, or a list of them), found {type(definition.default).__name__} "
            f"{definition.default!r:.80}"
        )
    if not (isinstance(definition.meaning, str) and definition.meaning):
        raise ConfigError(
            f"{where}: expected a description after the default, found {definition.meaning!r:.80}: "
            f"write Key({definition.default!r}, 'what it means')"
        )
    if definition.rule is None:
        return
    if not isinstance(definition.rule, Rule):
        raise ConfigError(
            f"{where}: expected a rule of retina_plugin.config, such as at_least(0) or "
            f"Rule(lambda v: v % 2 == 1, 'an odd number'), found {definition.rule!r:.80}"
        )
    if not definition.rule.accepts(definition.default):
        raise ConfigError(
            f"{where}: its default does not follow its rule: expected {definition.rule.expected}, "
            f"found {definition.default!r}"
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
    """Check that every constructor argument without a default has a source, and that every key has
    a constructor argument.

    Args:
        part: a part whose keys were checked by :func:`check_keys`.
        where: the part, for messages.
        kind: what the part is, for messages.
        config_arguments: arguments that all parts of this kind can get from the config.
        runtime_arguments: arguments that are not read from the config.

    Raises:
        ConfigError: an argument has no source, a key has no argument, or ``reads`` has a runtime
            argument.
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
    unused = [key for key in part.keys if key.lower() not in known]
    if unused:
        raise ConfigError(
            f"{where}: key {unused[0]} needs the constructor argument "
            f"{unused[0].lower()!r}, found {', '.join(sorted(known)) or 'none'}"
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
            _missing_source(part, missing[0], where, kind, {*config_arguments, *runtime_arguments})
        )


def _missing_source(part: Part, name: str, where: str, kind: str, others: set[str]) -> str:
    also = f"; it can also have {', '.join(sorted(others))}" if others else ""
    hint = ""
    if inspect.isfunction(part.build):  # in version 0.1, a loss was registered as a function
        hint = (
            f". A registered function must return the {kind}; if the function is the {kind} "
            "itself, write a class instead, as docs/plugin.md shows"
        )
    return (
        f"{where}: the constructor argument {name!r} has no source: register the part with "
        f"keys={{{name.upper()!r}: Key(...)}}{also}{hint}"
    )
