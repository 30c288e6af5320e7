"""Registries: tables of parts by name, with the config keys that each part reads.

They work like Detectron2's registries (``register()`` as a decorator, ``get(name)``), but do not
need Detectron2, so both hosts use the same parts.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.key import Key
from retina_plugin.config.keys import DETECTRON2_KEYS, PLUGIN_KEYS
from retina_plugin.config.part import (
    Part,
    Source,
    check_arguments,
    check_keys,
    full_name_of,
    module_of,
    same_definition,
)
from retina_plugin.config.tree import is_same_value

T = TypeVar("T")

REGISTRIES: list[Registry] = []


class Registry:
    """A named table of parts of one kind.

    Example:
        >>> HEADS = Registry("head", node="MODEL.RETINA_PLUGIN.HEAD")
        >>> @HEADS.register(keys={"WIDTH": Key(64, "channels of the convolutions", at_least(1))})
        ... class MyHead:
        ...     def __init__(self, *, width): ...
        >>> HEADS.get("MyHead") is MyHead
        True
    """

    def __init__(
        self,
        kind: str,
        *,
        node: str = "",
        choice_key: str = "",
        config_arguments: Mapping[str, Source] | None = None,
        runtime_arguments: Iterable[str] = (),
    ) -> None:
        """
        Args:
            kind: name of this kind of part, for messages.
            node: the group with the keys of each part, ``<node>.<name of the part>.<KEY>``; "" if
                the parts get the whole config instead of arguments.
            choice_key: the key that names the chosen part or lists the chosen parts; "" for
                ``<node>.NAME``.
            config_arguments: {constructor argument: its source, a key or a function of the config},
                for all parts of this kind. A part gets those that its constructor names.
            runtime_arguments: constructor arguments that the caller passes to :meth:`build`.
        """
        self.kind, self.node, self.choice_key = kind, node, choice_key or f"{node}.NAME"
        self.config_arguments = dict(config_arguments or {})
        self.runtime_arguments = frozenset(runtime_arguments)
        self._parts: dict[str, Part] = {}
        REGISTRIES.append(self)

    @overload
    def register(
        self,
        name: str | None = None,
        *,
        keys: Mapping[str, Key] | None = None,
        reads: Mapping[str, Source] | None = None,
    ) -> Callable[[T], T]: ...

    @overload
    def register(
        self,
        name: T,
        *,
        keys: Mapping[str, Key] | None = None,
        reads: Mapping[str, Source] | None = None,
    ) -> T: ...

    def register(
        self,
        name: str | T | None = None,
        *,
        keys: Mapping[str, Key] | None = None,
        reads: Mapping[str, Source] | None = None,
    ) -> Any:
        """Register a part, as a decorator or by ``register(part)``.

        A subclass of a registered class also gets the arguments of its base class from the config.
        Registering the same module and name again replaces the part, for example when a notebook
        cell runs again.

        Args:
            name: name for the config; the part's ``__name__`` by default.
            keys: the part's config keys; key ``RADIUS`` gives the constructor argument ``radius``.
            reads: {further constructor argument: another key, or a function of the config}.

        Raises:
            KeyError: another part already has that name.
            ConfigError: a key is invalid, the constructor does not match the keys, or the parts of
                this registry cannot have keys.
        """

        def add(entry: T) -> T:
            key = name or getattr(entry, "__name__", None)
            if not (isinstance(key, str) and callable(entry)):
                raise ConfigError(
                    f"a {self.kind} is a class or a function with a name: expected "
                    f"register('name')(part), found {entry!r:.80} under {key!r:.80}"
                )
            if key in self._parts and not same_definition(self._parts[key].build, entry):
                raise KeyError(
                    f"{self.kind} {key!r} is registered already, by "
                    f"{full_name_of(self._parts[key].build)};"
                    f" use another name for {full_name_of(entry)}"
                )
            self._parts[key] = self._checked(key, entry, {} if keys is None else keys, reads or {})
            return entry

        if callable(name):  # register(part), or a decorator without parentheses
            return self.register(keys=keys, reads=reads)(name)
        return add

    def _checked(self, name: str, entry: Any, keys: Any, reads: Mapping[str, Source]) -> Part:
        where = f"{full_name_of(entry)}: {self.kind} {name!r}"
        if not self.node:
            if keys or reads:
                raise ConfigError(
                    f"{where}: a {self.kind} gets the whole config and cannot have keys: leave out "
                    "keys and reads, and read existing keys, or register a part of another kind, "
                    "such as a neck"
                )
            return Part(build=entry, module=module_of(entry))
        check_keys(keys, where, runtime_arguments=self.runtime_arguments)
        if keys and "." in name:
            raise ConfigError(f"{where}: a part with keys needs a name without dots")
        if keys and name in self._names_of_keys():
            raise ConfigError(
                f"{where}: a part with keys needs another name, because {self.node}.{name} is a key"
            )
        part = Part(
            build=entry,
            module=module_of(entry),
            keys=dict(keys),
            reads={**self._inherited(entry), **reads},
        )
        check_arguments(
            part,
            where,
            kind=self.kind,
            config_arguments=self.config_arguments,
            runtime_arguments=self.runtime_arguments,
        )
        return part

    def _names_of_keys(self) -> set[str]:
        """Return the names of this project's keys and groups in the node."""
        keys = [self.choice_key, *DETECTRON2_KEYS, *PLUGIN_KEYS]
        below = f"{self.node}."
        return {k.removeprefix(below).split(".")[0] for k in keys if k.startswith(below)}

    def _inherited(self, entry: Any) -> dict[str, Source]:
        """Return {argument: source} of the nearest registered base class, or {}."""
        for base in getattr(entry, "__mro__", ())[1:]:
            for name, part in self._parts.items():
                if same_definition(part.build, base):
                    return {**part.reads, **self._key_sources(name, part)}
        return {}

    def _key_sources(self, name: str, part: Part) -> dict[str, str]:
        """Return {constructor argument: dotted key} for the keys of a part."""
        return {key.lower(): self.key_of(name, key) for key in part.keys}

    def key_of(self, name: str, key: str) -> str:
        """Return the dotted config key for ``key`` of the part ``name``."""
        return f"{self.node}.{name}.{key}"

    def build(self, cfg: Any, **given: Any) -> Any:
        """Construct the part that ``cfg`` chooses.

        Args:
            cfg: either host's config.
            **given: the runtime arguments; the constructor gets those that it names.

        Raises:
            KeyError: no part has the chosen name.
            ConfigError: ``cfg`` lacks a key that the part reads.
        """
        self.require_known(value_of(cfg, self.choice_key))
        return self.construct(value_of(cfg, self.choice_key), cfg, **given)

    def build_all(self, cfg: Any, names: Iterable[str]) -> list[tuple[str, Any]]:
        """Construct the parts of the given names, as [(name, part)] in order.

        Raises:
            KeyError: a name is not registered.
            ConfigError: ``cfg`` lacks a key that a part reads.
        """
        names = list(names)
        self.require_known(*names)
        return [(name, self.construct(name, cfg)) for name in names]

    def require_known(self, *names: str) -> None:
        """Check that names are registered.

        Raises:
            KeyError: a name is not registered. The message has ``choice_key`` and the most similar
                names.
        """
        for name in names:
            if name not in self:
                raise KeyError(f"{self.choice_key}: {unknown_name_message(self.kind, name, self)}")

    def construct(self, name: str, cfg: Any, **given: Any) -> Any:
        """Construct the part ``name``; see :meth:`build`."""
        part = self.part(name)
        sources = {**self.config_arguments, **part.reads, **self._key_sources(name, part)}
        parameters = inspect.signature(part.build).parameters.values()
        wanted = {p.name for p in parameters}
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            wanted |= {*sources, *(name for name in given if _passes_on(part.build, name))}
        try:
            arguments = {a: _read_source(cfg, s) for a, s in sources.items() if a in wanted}
        except KeyError as error:
            source_keys = (source for source in sources.values() if isinstance(source, str))
            missing = next((key for key in source_keys if not _has_key(cfg, key)), error.args[0])
            raise ConfigError(
                f"the config has no key {missing}, which {self.kind} {name!r} reads. Add the "
                f"module that registers it, {part.module}, to MODEL.RETINA_PLUGIN.IMPORTS; in "
                "Detectron2's own tools, call add_retina_config(cfg) after importing the module"
            ) from error
        return part.build(**{a: v for a, v in given.items() if a in wanted}, **arguments)

    def get(self, name: str) -> Any:
        """Return the class or function that is registered as ``name``.

        Raises:
            KeyError: the name is not registered. The message lists the most similar names and says
                how to import a plugin.
        """
        return self.part(name).build

    def part(self, name: str) -> Part:
        """Return the entry ``name``; see :meth:`get` for the error."""
        if name not in self._parts:
            raise KeyError(unknown_name_message(self.kind, name, self._parts))
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def parts(self) -> list[tuple[str, Part]]:
        """Return all (name, entry) pairs in the order of registration."""
        return list(self._parts.items())

    def remove(self, name: str) -> None:
        """Remove a part."""
        del self._parts[name]

    def chosen(self, cfg: Any) -> list[str]:
        """Return the names of the parts that ``cfg`` chooses; [] if it has no ``choice_key``."""
        found = value_of(cfg, self.choice_key) if _has_key(cfg, self.choice_key) else []
        return list(found) if isinstance(found, (list, tuple)) else [found]

    def users(self, part: Part) -> list[str]:
        """Return the names of the parts that read the keys of ``part``: the part and its
        subclasses."""
        return [
            name
            for name, other in self._parts.items()
            if any(
                same_definition(part.build, base)
                for base in getattr(other.build, "__mro__", (other.build,))
            )
        ]

    def unused_keys(self, cfg: Any, names: Iterable[str]) -> list[str]:
        """Return the keys of parts that are not at their defaults and that none of the parts
        ``names`` reads."""
        used, keys = set(names), dict[str, Key]()
        for name, part in self._parts.items():
            if used.isdisjoint(self.users(part)):
                below = self.key_of(name, "")
                keys |= {key: found for key, found in PLUGIN_KEYS.items() if key.startswith(below)}
                keys |= {below + key: found for key, found in part.keys.items()}
        return [
            key
            for key, found in keys.items()
            if _has_key(cfg, key) and not is_same_value(value_of(cfg, key), found.default)
        ]

    def items(self) -> list[tuple[str, Any]]:
        """Return all (name, class or function) pairs in the order of registration."""
        return [(name, part.build) for name, part in self._parts.items()]


def value_of(cfg: Any, key: str) -> Any:
    """Return the value of a dotted key.

    Raises:
        KeyError: ``cfg`` has no such key.
    """
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _read_source(cfg: Any, source: Source) -> Any:
    return value_of(cfg, source) if isinstance(source, str) else source(cfg)


def _has_key(cfg: Any, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(cfg, Mapping) or name not in cfg:
            return False
        cfg = cfg[name]
    return True


def unknown_name_message(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the error message for an unknown name, with the most similar names and advice."""
    return (
        f"no {kind} is called {name!r}. {nearest_names(str(name), known)} If it is your own, name "
        "the module that registers it in MODEL.RETINA_PLUGIN.IMPORTS, for example "
        "IMPORTS: ['my_package.my_module']."
    )


def nearest_names(name: str, known: Iterable[str], limit: int = 20) -> str:
    """Return "Nearest: ..." with up to three similar names. If there are none, return "Known: ..."
    with the first ``limit`` known names."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    rest = f", ... ({len(known)})" if len(known) > limit else ""
    return f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(known[:limit])}{rest}."


def _passes_on(build: Callable[..., Any], argument: str) -> bool:
    """Return whether a class with ``**arguments`` passes an argument to a base class that takes it.

    The answer is also True for a function, and for a class whose base classes have no fixed list of
    arguments.
    """
    for base in getattr(build, "__mro__", ()):
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        if argument in parameters:
            return True
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return False
    return True
