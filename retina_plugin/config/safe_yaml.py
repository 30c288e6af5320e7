"""Read YAML configs as plain data with line numbers; ambiguous or malicious files are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import yaml

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import require_regular_file

MAX_BYTES = 2**20
MAX_DEPTH = 40  # nesting depth of groups and lists
MAX_VALUES = 100_000  # number of values after every alias is replaced by its value

MERGE, GROUP = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:map"


class _Extent(NamedTuple):
    """Size of a YAML node: the number of its values and the depth of its nesting."""

    values: int
    height: int


class Entry(NamedTuple):
    """A key of a config file.

    Attributes:
        key: dotted, such as SOLVER.MAX_ITER.
        value: its value.
        line: line number, starting with 1.
    """

    key: str
    value: Any
    line: int


def read_yaml(path: str) -> list[Entry]:
    """Return the keys of a YAML file in order; [] for an empty file.

    A merge key (``<<``) adds the keys that its group lacks. Empty groups have no entry.

    Raises:
        ConfigError: the file cannot be read or is not YAML, or it has a tag, a key that is not
            text, a duplicate key, a recursive alias, or too many or too deeply nested values. The
            message names the file and, if known, the line.
    """
    text = _read_text(path)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return list(_entries(loader, path, node)) if node is not None else []
        finally:
            loader.dispose()
    except _InvalidConfig as error:
        raise ConfigError(f"{_place(path, error.problem_mark)}: {error.problem}") from error
    except yaml.MarkedYAMLError as error:
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"{_place(path, error.problem_mark)} is not YAML: {problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{path}, line {line}: character #x{error.character:04x} is not text. Is this a config "
            "file?"
        ) from error


def _place(path: str, mark: yaml.Mark | None) -> str:
    """Return "FILE, line N", or only the file if the line is unknown."""
    return f"{path}, line {mark.line + 1}" if mark is not None else path


def _read_text(path: str) -> str:
    """Read a UTF-8 file of at most ``MAX_BYTES`` bytes."""
    try:
        require_regular_file(path)
        size = os.path.getsize(path)
        if size <= MAX_BYTES:
            with open(path, "rb") as file:
                content = file.read()
    except OSError as error:
        raise ConfigError(
            f"config file {path} cannot be read: {error.strerror or error}. Name a YAML file, such "
            "as those in configs/."
        ) from error
    if size > MAX_BYTES:
        raise ConfigError(
            f"config file {path} has {size} bytes, expected at most {MAX_BYTES}. "
            "Is it a config? For a checkpoint use MODEL.WEIGHTS."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8. Save the config "
            "as UTF-8 text."
        ) from error


class _InvalidConfig(yaml.MarkedYAMLError):
    """The file is valid YAML but not a valid config; ``problem_mark`` is the position."""

    def __init__(self, problem: str, mark: Any) -> None:  # a Mark of PyYAML or of its C part
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with limits on the nesting and the number of values. An alias counts as
    all values that it stands for."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        # sizes so far of the current node and the nodes around it, outermost first
        self._open: list[_Extent] = []
        self._anchored: dict[int, _Extent] = {}  # id of a complete node with an anchor -> its size

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # types-PyYAML
        self._open.append(_Extent(values=1, height=1))
        self._check_extent(event)
        node = super().compose_node(parent, index)
        extent = self._open.pop()
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._anchored:
                raise _InvalidConfig(
                    f"alias *{event.anchor} is inside the value that it names", event.start_mark
                )
            extent = self._anchored[id(node)]
        elif getattr(event, "anchor", None) is not None:
            self._anchored[id(node)] = extent
        if self._open:
            around = self._open[-1]
            self._open[-1] = _Extent(
                around.values + extent.values, max(around.height, 1 + extent.height)
            )
            self._check_extent(event)
        return node

    def _check_extent(self, event: yaml.Event) -> None:
        values, height = self._open[-1]
        if len(self._open) + height - 1 > MAX_DEPTH:
            raise _InvalidConfig(
                f"groups and lists are nested more than {MAX_DEPTH} deep", event.start_mark
            )
        if values > MAX_VALUES:
            raise _InvalidConfig(
                f"more than {MAX_VALUES} values after aliases are replaced", event.start_mark
            )

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        if ":" in text or re.match(r"[-+]?0[0-9_]", text):
            raise _InvalidConfig(
                f"{text} is an octal or sexagesimal number in YAML; write it in decimal",
                node.start_mark,
            )
        number: int = self._construct(super().construct_yaml_int, node)
        return number

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        if ":" in (text := str(self.construct_scalar(node))):
            raise _InvalidConfig(
                f"{text} is a sexagesimal number in YAML; write it in decimal", node.start_mark
            )
        number: float = self._construct(super().construct_yaml_float, node)
        return number

    def construct_yaml_bool(self, node: yaml.ScalarNode) -> bool:
        value: bool = self._construct(super().construct_yaml_bool, node)
        return value

    def _construct(self, construct: Callable[[yaml.ScalarNode], Any], node: yaml.ScalarNode) -> Any:
        """Call ``construct`` and convert its errors, for example for a wrong tag (``!!int x``) or a
        number with thousands of digits."""
        try:
            return construct(node)
        except (KeyError, ValueError, OverflowError, IndexError) as error:
            raise _InvalidConfig(
                f"{node.value:.40} cannot be read as {node.tag.rpartition(':')[2]}", node.start_mark
            ) from error

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """Read a date as text: a folder can be called 2024-05-01, and no key has a date."""
        return str(self.construct_scalar(node))

    def construct_group(self, node: yaml.Node) -> dict[str, Any]:
        """Convert a group that is an entry of a list into a dict."""
        if not isinstance(node, yaml.MappingNode):
            raise _InvalidConfig(
                f"!!map is for groups of keys, found {_kind_of(node)}", node.start_mark
            )
        members = _members(self, node).items()
        return {name: self.construct_object(value, deep=True) for name, (_, value) in members}

    def refuse(self, node: yaml.Node) -> None:
        name = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise _InvalidConfig(f"tag {name} is not allowed; write a plain value", node.start_mark)


for _kind in ("int", "float", "bool"):
    _Loader.add_constructor(
        f"tag:yaml.org,2002:{_kind}", getattr(_Loader, f"construct_yaml_{_kind}")
    )
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_text)
for _kind in ("binary", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.refuse)
_Loader.add_constructor(GROUP, _Loader.construct_group)
_Loader.add_constructor(None, _Loader.refuse)


def _entries(loader: _Loader, path: str, tree: yaml.Node) -> Iterator[Entry]:
    """Yield the entries of all groups. A dotted key (``SOLVER.MAX_ITER: 7``) is the same as a key
    in nested groups."""
    if isinstance(tree, yaml.ScalarNode) and loader.construct_object(tree) is None:
        return  # comments and document markers only
    if not isinstance(tree, yaml.MappingNode):
        raise ConfigError(
            f"{_place(path, tree.start_mark)}: expected keys and values, found {_kind_of(tree)}"
        )
    seen: dict[str, yaml.Mark] = {}
    for key, node, mark in _leaves(loader, tree, ""):
        if key in seen:
            raise _duplicate_key(key, seen[key], mark)
        seen[key] = mark
        yield Entry(key, loader.construct_object(node, deep=True), mark.line + 1)


def _leaves(
    loader: _Loader, group: yaml.MappingNode, prefix: str
) -> Iterator[tuple[str, yaml.Node, yaml.Mark]]:
    for name, (mark, node) in _members(loader, group).items():
        if isinstance(node, yaml.MappingNode):
            yield from _leaves(loader, node, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", node, mark


def _members(loader: _Loader, group: yaml.MappingNode) -> dict[str, tuple[yaml.Mark, yaml.Node]]:
    """Return {name: (position of the key, value)} of a group, including the keys from ``<<``."""
    if group.tag != GROUP:
        loader.refuse(group)
    own: dict[str, tuple[yaml.Mark, yaml.Node]] = {}
    merged: dict[str, tuple[yaml.Mark, yaml.Node]] = {}
    for key, node in group.value:
        if key.tag == MERGE:
            sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
            for source in sources:
                if not isinstance(source, yaml.MappingNode):
                    raise _InvalidConfig(
                        f"<< merges groups of keys, found {_kind_of(source)}", node.start_mark
                    )
                _add(merged, _members(loader, source))
        else:
            _add(own, {_name(loader, key): (key.start_mark, node)})
    return merged | own


def _add(
    to: dict[str, tuple[yaml.Mark, yaml.Node]], more: dict[str, tuple[yaml.Mark, yaml.Node]]
) -> None:
    for name, (mark, node) in more.items():
        if name in to:
            raise _duplicate_key(name, to[name][0], mark)
        to[name] = mark, node


def _name(loader: _Loader, key: yaml.Node) -> str:
    name = loader.construct_object(key, deep=True) if isinstance(key, yaml.ScalarNode) else None
    if not isinstance(name, str):
        found = f"{key.value!r:.40}" if isinstance(key, yaml.ScalarNode) else _kind_of(key)
        raise _InvalidConfig(
            f"expected the name of a key, such as SOLVER, found {found}", key.start_mark
        )
    return name


def _duplicate_key(key: str, first: yaml.Mark, second: yaml.Mark) -> _InvalidConfig:
    return _InvalidConfig(
        f"key {key} is given twice, in line {first.line + 1} and in line {second.line + 1}; keep "
        "one",
        second,
    )


def _kind_of(node: yaml.Node) -> str:
    kinds: dict[type[yaml.Node], str] = {
        yaml.MappingNode: "a group of keys",
        yaml.SequenceNode: "a list",
    }
    return kinds.get(type(node)) or f"{node.value!r:.40}"
