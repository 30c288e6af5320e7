"""Name -> part, for the parts that a config chooses, with the config keys that each part reads.

Works like Detectron2's registries (``register()`` as a decorator, ``get(name)``) without importing
anything, so that the same part is found on either host.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.key import Key
from retina_plugin.config.keys import DETECTRON2_KEYS, PLUGIN_KEYS
from retina_plugin.config.part import (
    Part,
    Source,
    check_arguments,
    check_keys,
    module_of,
    place_of,
    same_definition,
)

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
            kind: what the parts are, for messages.
            node: where the keys of each part lie, ``<node>.<name of the part>.<KEY>``; "" for
                parts that read the config themselves, which get no arguments from here.
            choice_key: the key that names the part, or lists the parts; ``<node>.NAME`` when "".
            config_arguments: {constructor argument: key or function of the config that gives it},
                for all parts of this kind. A part gets those that its constructor names.
            runtime_arguments: constructor arguments that the caller passes to :meth:`build`.
        """
        self.kind, self.node, self.choice_key = kind, node, choice_key or f"{node}.NAME"
        self.config_arguments = dict(config_arguments or {})
        self.runtime_arguments = frozenset(runtime_arguments)
        self._parts: dict[str, Part] = {}
        REGISTRIES.append(self)

    def register(
        self,
        name: str | T | None = None,
        *,
        keys: Mapping[str, Key] | None = None,
        reads: Mapping[str, Source] | None = None,
    ) -> Any:
        """Decorator that files a part under ``name``, or under its own ``__name__``; as in
        Detectron2, also ``register(part)``.

        A class that derives from a registered one inherits what that one reads. A part of the same
        name from the same place of the same module is replaced: a cell of a notebook that runs
        again, or a module that is imported again.

        Args:
            name: for the config.
            keys: the part's own keys; ``RADIUS`` is the constructor argument ``radius``.
            reads: further arguments and the keys or functions of the config that give them.

        Raises:
            KeyError: another object already has that name.
            ConfigError: a key that cannot be used, such as one without a default; a key or an
                argument that does not fit the constructor; keys for a part that reads the config
                itself.
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
                    f"{place_of(self._parts[key].build)};"
                    f" {place_of(entry)} has to choose another name"
                )
            self._parts[key] = self._checked(key, entry, {} if keys is None else keys, reads or {})
            return entry

        if callable(name):  # register(part), or a decorator without parentheses
            return self.register(keys=keys, reads=reads)(name)
        return add

    def _checked(self, name: str, entry: Any, keys: Any, reads: Mapping[str, Source]) -> Part:
        where = f"{place_of(entry)}: {self.kind} {name!r}"
        if not self.node:
            if keys or reads:
                raise ConfigError(
                    f"{where}: a {self.kind} is called with the whole config and has no keys of "
                    "its own: leave out keys and reads, and read keys that are there, or register "
                    "what needs them as a part of another kind, such as a neck"
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
        """Names that this project's keys have in the node."""
        keys = [self.choice_key, *DETECTRON2_KEYS, *PLUGIN_KEYS]
        below = f"{self.node}."
        return {k.removeprefix(below).split(".")[0] for k in keys if k.startswith(below)}

    def _inherited(self, entry: Any) -> dict[str, Source]:
        """What the nearest registered base class reads, its own keys included."""
        for base in getattr(entry, "__mro__", ())[1:]:
            for name, part in self._parts.items():
                if same_definition(part.build, base):
                    own = {key.lower(): self.key_of(name, key) for key in part.keys}
                    return {**part.reads, **own}
        return {}

    def key_of(self, name: str, key: str) -> str:
        """The dotted key of a part's own key."""
        return f"{self.node}.{name}.{key}"

    def build(self, cfg: Any, **given: Any) -> Any:
        """The part that ``cfg`` chooses, constructed.

        Args:
            cfg: either host's config tree.
            given: what the parts of this kind can have besides keys; each takes what its
                constructor names.

        Raises:
            KeyError: no such part.
        """
        self.require_known(value_of(cfg, self.choice_key))
        return self.construct(value_of(cfg, self.choice_key), cfg, **given)

    def build_all(self, cfg: Any) -> list[tuple[str, Any]]:
        """The parts that ``cfg`` lists, constructed: (name, part), in order.

        Raises:
            KeyError: no such part.
        """
        self.require_known(*value_of(cfg, self.choice_key))
        return [(name, self.construct(name, cfg)) for name in value_of(cfg, self.choice_key)]

    def require_known(self, *names: str) -> None:
        """
        Args:
            names: that a config has at ``choice_key``.

        Raises:
            KeyError: no such part; the message has the key and the nearest names.
        """
        for name in names:
            if name not in self:
                raise KeyError(f"{self.choice_key}: {unknown_name_message(self.kind, name, self)}")

    def construct(self, name: str, cfg: Any, **given: Any) -> Any:
        """The part called ``name``, constructed; see :meth:`build`."""
        part = self.part(name)
        own = {key.lower(): self.key_of(name, key) for key in part.keys}
        sources = {**self.config_arguments, **part.reads, **own}
        parameters = inspect.signature(part.build).parameters.values()
        wanted = {p.name for p in parameters}
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            wanted |= {*sources, *given}
        try:
            arguments = {a: _taken(cfg, s) for a, s in sources.items() if a in wanted}
        except KeyError as error:
            wanted_keys = (source for source in sources.values() if isinstance(source, str))
            lacks = next((key for key in wanted_keys if not _has(cfg, key)), error.args[0])
            raise ConfigError(
                f"the config has no key {lacks}, which {self.kind} {name!r} reads. Merge "
                f"MODEL.RETINA_PLUGIN.IMPORTS with the module that registers it, {part.module}; in "
                "Detectron2's own tools, call add_retina_config(cfg) after importing it"
            ) from error
        return part.build(**{a: v for a, v in given.items() if a in wanted}, **arguments)

    def get(self, name: str) -> Any:
        """The object called ``name``.

        Raises:
            KeyError: no such name; the message lists the nearest known ones and how to import a
                plugin.
        """
        return self.part(name).build

    def part(self, name: str) -> Part:
        """The entry called ``name``; see :meth:`get`."""
        if name not in self._parts:
            raise KeyError(unknown_name_message(self.kind, name, self._parts))
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def parts(self) -> list[tuple[str, Part]]:
        """All (name, entry) pairs, in order of registration."""
        return list(self._parts.items())

    def remove(self, name: str) -> None:
        """Take back a registration, such as one of a module that failed afterwards."""
        del self._parts[name]

    def chosen(self, cfg: Any) -> list[str]:
        """The names of parts that ``cfg`` has at ``choice_key``; none where it has no such key."""
        found = value_of(cfg, self.choice_key) if _has(cfg, self.choice_key) else []
        return list(found) if isinstance(found, (list, tuple)) else [found]

    def users(self, part: Part) -> list[str]:
        """Names of the parts that read the keys of ``part``: itself, and its subclasses."""
        return [
            name
            for name, other in self._parts.items()
            if any(
                same_definition(part.build, base)
                for base in getattr(other.build, "__mro__", (other.build,))
            )
        ]

    def items(self) -> list[tuple[str, Any]]:
        """All (name, object) pairs, in order of registration."""
        return [(name, part.build) for name, part in self._parts.items()]


def value_of(cfg: Any, key: str) -> Any:
    """The value of a dotted key."""
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _taken(cfg: Any, source: Source) -> Any:
    return value_of(cfg, source) if isinstance(source, str) else source(cfg)


def _has(cfg: Any, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(cfg, Mapping) or name not in cfg:
            return False
        cfg = cfg[name]
    return True


def unknown_name_message(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that no registry holds: nearest names first, then the way to bring a
    plugin in."""
    return (
        f"no {kind} is called {name!r}. {nearest_names(str(name), known)} If it is your own, name "
        "the module that registers it in MODEL.RETINA_PLUGIN.IMPORTS, for example "
        "IMPORTS: ['my_package.my_module']."
    )


def nearest_names(name: str, known: Iterable[str], limit: int = 20) -> str:
    """The names that were probably meant, or where none is near all of them, up to ``limit``."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    rest = f", ... ({len(known)})" if len(known) > limit else ""
    return f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(known[:limit])}{rest}."
