"""A plan: config values, each with its reason, and the YAML file that holds them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retina_plugin.config.printable import printable
from retina_plugin.config.yaml_text import yaml_text

WIDTH = 100


@dataclass(frozen=True)
class Entry:
    """One value of a plan.

    Attributes:
        key: key of the config.
        value: a number, text, bool or list.
        reason: a sentence, or "" if the value belongs to the entry before it.
        printed: whether the value is printed when the run is planned; the file has every value
            and reason.
    """

    key: str
    value: Any
    reason: str = ""
    printed: bool = False


@dataclass(frozen=True)
class Plan:
    """The values of a run.

    Attributes:
        entries: entries in the order of the file; the last entry of a key is used.
        head: lines above the entries, such as a table.
    """

    entries: tuple[Entry, ...]
    head: tuple[str, ...] = field(default=(), repr=False)

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key.

        Raises:
            KeyError: the plan does not have it.
        """
        return {entry.key: entry.value for entry in self.entries}[key]

    def with_entries(self, entries: Sequence[Entry]) -> Plan:
        """Return a plan in which these entries replace the entries of the same keys."""
        new = {entry.key: entry for entry in entries}
        kept = [new.pop(entry.key, entry) for entry in self.entries]
        return Plan((*kept, *new.values()), self.head)

    def overrides(self) -> list[Any]:
        """Return ``[KEY, VALUE, ...]``, as configs merge it."""
        return [item for entry in self.entries for item in (entry.key, entry.value)]

    def summary(self) -> list[str]:
        """Return a line for each value that is printed."""
        return [
            f"{entry.key} {yaml_text(entry.value)}: {entry.reason}"
            for entry in self.entries
            if entry.printed
        ]

    def text(self) -> str:
        """Return the YAML file, with reasons as comments.

        Characters of comments that cannot be printed are escaped: names of classes and files can
        have any.
        """
        head = [f"# {printable(line)}".rstrip() for line in self.head]
        return "\n".join([*head, *_lines(_tree(self.entries), 0), "VERSION: 2", ""])


def _tree(entries: Sequence[Entry]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for entry in entries:
        *nodes, name = entry.key.split(".")
        node = root
        for part in nodes:
            node = node.setdefault(part, {})
        node[name] = entry
    return root


def _lines(node: Mapping[str, Any], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, child in node.items():
        if isinstance(child, Entry):
            comment = textwrap.wrap(printable(child.reason), WIDTH - len(indent) - 2)
            yield from (f"{indent}# {line}" for line in comment)
            yield f"{indent}{name}: {yaml_text(child.value)}"
        else:
            yield f"{indent}{name}:"
            yield from _lines(child, depth + 1)
