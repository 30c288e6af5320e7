"""Read a YAML config as plain data: one value for each key, with its line; whatever is ambiguous or
hostile is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import require_regular_file

MAX_BYTES = 2**20
MAX_DEPTH = 40  # of groups and lists in each other
MAX_VALUES = 100_000  # after every alias is replaced by what it stands for

MERGE, GROUP = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:map"


class _Extent(NamedTuple):
    values: int
    height: int  # of groups and lists in each other


class Entry(NamedTuple):
    """One key of a file."""

    key: str  # dotted: SOLVER.MAX_ITER
    value: Any
    line: int  # from 1 on


def read_yaml(path: str) -> list[Entry]:
    """The keys of a YAML file in their order. An empty file has none.

    A merge (``<<``) adds the keys that its group lacks. Groups that are empty have no entry.

    Raises:
        ConfigError: the file cannot be read or is not YAML; tags, a key that is no text, a key
            given twice, aliases that lead back to themselves, or more nesting or values than a
            config has. The message names the file and, where there is one, the line.
    """
    text = _text(path)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return list(_entries(loader, path, node)) if node is not None else []
        finally:
            loader.dispose()
    except _Problem as error:
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
    """The file, and the line if it is known."""
    return f"{path}, line {mark.line + 1}" if mark is not None else path


def _text(path: str) -> str:
    """The file as text."""
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
            "Is it a config? A checkpoint belongs to MODEL.WEIGHTS."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8. Save the config "
            "as UTF-8 text."
        ) from error


class _Problem(yaml.MarkedYAMLError):
    """What is YAML and no config, with the place where it stands."""

    def __init__(self, problem: str, mark: yaml.Mark) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with bounds on nesting and on the number of values, aliases counted with
    all that they stand for."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        # of the nodes around the present one, as far as they are read
        self._open: list[_Extent] = []
        self._known: dict[int, _Extent] = {}  # of whole nodes that have an anchor, by their id

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        event = self.peek_event()
        self._open.append(_Extent(values=1, height=1))
        self._check_extent(event)
        node = super().compose_node(parent, index)
        extent = self._open.pop()
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._known:
                raise _Problem(
                    f"alias *{event.anchor} stands within the value that it names", event.start_mark
                )
            extent = self._known[id(node)]
        elif event.anchor is not None:
            self._known[id(node)] = extent
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
            raise _Problem(
                f"more than {MAX_DEPTH} groups and lists in each other", event.start_mark
            )
        if values > MAX_VALUES:
            raise _Problem(
                f"more than {MAX_VALUES} values when aliases are written out", event.start_mark
            )

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        if ":" in text or re.match(r"[-+]?0[0-9_]", text):
            raise _Problem(
                f"{text} is an octal or sexagesimal number in YAML; write it in decimal",
                node.start_mark,
            )
        return self._number(super().construct_yaml_int, node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        if ":" in (text := self.construct_scalar(node)):
            raise _Problem(
                f"{text} is a sexagesimal number in YAML; write it in decimal", node.start_mark
            )
        return self._number(super().construct_yaml_float, node)

    def construct_yaml_bool(self, node: yaml.ScalarNode) -> bool:
        return self._number(super().construct_yaml_bool, node)

    def _number(self, construct: Any, node: yaml.ScalarNode) -> Any:
        """What ``construct`` makes of a scalar. It fails where a tag is wrong (``!!int x``) or a
        number has thousands of digits."""
        try:
            return construct(node)
        except (KeyError, ValueError, OverflowError, IndexError) as error:
            raise _Problem(
                f"{node.value:.40} cannot be read as {node.tag.rpartition(':')[2]}", node.start_mark
            ) from error

    def construct_group(self, node: yaml.Node) -> dict[str, Any]:
        """A group that is an entry of a list."""
        if not isinstance(node, yaml.MappingNode):
            raise _Problem(f"!!map is for groups of keys, found {_kind_of(node)}", node.start_mark)
        members = _members(self, node).items()
        return {name: self.construct_object(value, deep=True) for name, (_, value) in members}

    def refuse(self, node: yaml.Node) -> None:
        name = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise _Problem(f"tag {name}. Only plain YAML is read; write the value out", node.start_mark)


for _kind in ("int", "float", "bool"):
    _Loader.add_constructor(
        f"tag:yaml.org,2002:{_kind}", getattr(_Loader, f"construct_yaml_{_kind}")
    )
# A folder may be called 2024-05-01; no key takes a date.
_Loader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)
for _kind in ("binary", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.refuse)
_Loader.add_constructor(GROUP, _Loader.construct_group)
_Loader.add_constructor(None, _Loader.refuse)


def _entries(loader: _Loader, path: str, tree: yaml.Node) -> Iterator[Entry]:
    """Walk the groups; a dotted key (``SOLVER.MAX_ITER: 7``) and its nested spelling are one
    key."""
    if isinstance(tree, yaml.ScalarNode) and loader.construct_object(tree) is None:
        return  # comments and document markers only
    if not isinstance(tree, yaml.MappingNode):
        raise ConfigError(
            f"{_place(path, tree.start_mark)}: expected keys and values, found {_kind_of(tree)}"
        )
    seen: dict[str, yaml.Mark] = {}
    for key, node, mark in _leaves(loader, tree, ""):
        if key in seen:
            raise _twice(key, seen[key], mark)
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
    """Name -> (place of the key, value), the group's own keys and those that it merges."""
    if group.tag != GROUP:
        loader.refuse(group)
    own: dict[str, tuple[yaml.Mark, yaml.Node]] = {}
    merged: dict[str, tuple[yaml.Mark, yaml.Node]] = {}
    for key, node in group.value:
        if key.tag == MERGE:
            sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
            for source in sources:
                if not isinstance(source, yaml.MappingNode):
                    raise _Problem(
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
            raise _twice(name, to[name][0], mark)
        to[name] = mark, node


def _name(loader: _Loader, key: yaml.Node) -> str:
    name = loader.construct_object(key, deep=True) if isinstance(key, yaml.ScalarNode) else None
    if not isinstance(name, str):
        found = f"{key.value!r:.40}" if isinstance(key, yaml.ScalarNode) else _kind_of(key)
        raise _Problem(f"expected the name of a key, such as SOLVER, found {found}", key.start_mark)
    return name


def _twice(key: str, first: yaml.Mark, second: yaml.Mark) -> _Problem:
    return _Problem(
        f"key {key} is given twice, in line {first.line + 1} and in line {second.line + 1}; keep "
        "one",
        second,
    )


def _kind_of(node: yaml.Node) -> str:
    kinds = {yaml.MappingNode: "a group of keys", yaml.SequenceNode: "a list"}
    return kinds.get(type(node)) or f"{node.value!r:.40}"
