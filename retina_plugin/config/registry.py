"""Name -> part, for the parts that a config chooses, with the config keys that each part reads.

Works like Detectron2's registries (``register()`` as a decorator, ``get(name)``) without importing
anything, so that the same part is found on either host.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.key import Key

T = TypeVar("T")

# Every registry whose parts have keys of their own.
REGISTRIES: list[Registry] = []

# Where a constructor argument comes from: a dotted key, or a function of the config.
Source = str | Callable[[Any], Any]


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
        choice: str = "",
        offers: Mapping[str, Source] | None = None,
        given: Iterable[str] = (),
    ) -> None:
        """
        Args:
            kind: what the parts are, for messages.
            node: where the keys of each part lie, ``<node>.<name of the part>.<KEY>``; "" for
                parts that read the config themselves, which get no arguments from here.
            choice: the key that names the part, or lists the parts; ``<node>.NAME`` when "".
            offers: argument -> where every part of this kind can take it from.
            given: arguments that the builder of the model passes to :meth:`build`.
        """
        self.kind, self.node, self.choice = kind, node, choice or f"{node}.NAME"
        self.offers, self.given = dict(offers or {}), frozenset(given)
        self._parts: dict[str, Part] = {}
        if node:
            REGISTRIES.append(self)

    def register(
        self,
        name: str | None = None,
        *,
        keys: Mapping[str, Key] | None = None,
        reads: Mapping[str, Source] | None = None,
    ) -> Callable[[T], T]:
        """Decorator that files a part under ``name``, or under its own ``__name__``.

        A class that derives from a registered one inherits what that one reads.

        Args:
            name: for the config.
            keys: the part's own keys; ``RADIUS`` is the constructor argument ``radius``.
            reads: further arguments and the keys or functions of the config that give them.

        Raises:
            KeyError: another object already has that name.
            ConfigError: a key without a default, or one that the constructor has no argument for;
                an argument that nothing gives.
        """

        def add(entry: T) -> T:
            key = name or entry.__name__  # type: ignore[attr-defined]
            if key in self._parts and self._parts[key].build is not entry:
                raise KeyError(
                    f"{self.kind} {key!r} is registered already, by "
                    f"{_place(self._parts[key].build)};"
                    f" {_place(entry)} has to choose another name"
                )
            part = Part(
                build=entry,
                module=getattr(entry, "__module__", ""),
                keys=dict(keys or {}),
                reads={**self._inherited(entry), **(reads or {})},
            )
            if self.node:
                self._check(key, part)
            self._parts[key] = part
            return entry

        return add

    def _inherited(self, entry: Any) -> dict[str, Source]:
        """What the nearest registered base class reads, its own keys included."""
        for base in getattr(entry, "__mro__", ())[1:]:
            for name, part in self._parts.items():
                if part.build is base:
                    own = {key.lower(): self.key_of(name, key) for key in part.keys}
                    return {**part.reads, **own}
        return {}

    def _check(self, name: str, part: Part) -> None:
        where = f"{_place(part.build)}: {self.kind} {name!r}"
        for key, row in part.keys.items():
            if not isinstance(row, Key):
                raise ConfigError(
                    f"{where}: key {key} has no default: write {key}: Key(default, 'what it means')"
                )
        if part.keys and "." in name:
            raise ConfigError(f"{where}: a part with keys needs a name without dots")
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
        sources = {*self.offers, *self.given, *part.reads, *(key.lower() for key in part.keys)}
        missing = [a.name for a in arguments if a.default is a.empty and a.name not in sources]
        if missing:
            raise ConfigError(
                f"{where}: nothing gives the constructor argument {missing[0]!r}: register the "
                f"part with keys={{{missing[0].upper()!r}: Key(...)}}; it can also have "
                f"{', '.join(sorted({*self.offers, *self.given}))}"
            )

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
        self.require_known(value_of(cfg, self.choice))
        return self.construct(value_of(cfg, self.choice), cfg, **given)

    def build_all(self, cfg: Any) -> list[tuple[str, Any]]:
        """The parts that ``cfg`` lists, constructed: (name, part), in order.

        Raises:
            KeyError: no such part.
        """
        self.require_known(*value_of(cfg, self.choice))
        return [(name, self.construct(name, cfg)) for name in value_of(cfg, self.choice)]

    def require_known(self, *names: str) -> None:
        """
        Args:
            names: that a config has at ``choice``.

        Raises:
            KeyError: no such part; the message has the key and the nearest names.
        """
        for name in names:
            if name not in self:
                raise KeyError(f"{self.choice}: {unknown_name(self.kind, name, self)}")

    def construct(self, name: str, cfg: Any, **given: Any) -> Any:
        """The part called ``name``, constructed; see :meth:`build`."""
        part = self.part(name)
        own = {key.lower(): self.key_of(name, key) for key in part.keys}
        sources = {**self.offers, **part.reads, **own}
        parameters = inspect.signature(part.build).parameters.values()
        wanted = {p.name for p in parameters}
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            wanted |= {*sources, *given}
        try:
            arguments = {a: _taken(cfg, s) for a, s in sources.items() if a in wanted}
        except KeyError as error:
            raise ConfigError(
                f"the config has no key {error.args[0]!r} of {self.kind} {name!r}: name "
                f"{part.module} in MODEL.RETINA_PLUGIN.IMPORTS, or in Detectron2's own tools call "
                "add_retina_config(cfg) after importing it"
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
            raise KeyError(unknown_name(self.kind, name, self._parts))
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def parts(self) -> list[tuple[str, Part]]:
        """All (name, entry) pairs, in order of registration."""
        return list(self._parts.items())

    def users(self, part: Part) -> list[str]:
        """Modules of the parts that read the keys of ``part``: its own, and those of subclasses."""
        return [
            other.module
            for other in self._parts.values()
            if part.build is other.build or part.build in getattr(other.build, "__mro__", ())
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


def _place(entry: Any) -> str:
    """Where a part is defined, for messages."""
    module = getattr(entry, "__module__", "?")
    return f"{module}.{getattr(entry, '__qualname__', repr(entry))}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that no registry holds: nearest names first, then the way to bring a
    plugin in."""
    return (
        f"no {kind} is called {name!r}. {nearest(name, known)} If it is your own, name the module "
        "that registers it in MODEL.RETINA_PLUGIN.IMPORTS, for example "
        "IMPORTS: ['my_package.my_module']."
    )


def nearest(name: str, known: Iterable[str], limit: int = 20) -> str:
    """The names that were probably meant, or where none is near all of them, up to ``limit``."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    rest = f", ... ({len(known)})" if len(known) > limit else ""
    return f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(known[:limit])}{rest}."
