"""Read the YAML file of a comparison: a base config, its length, seeds and rows of overrides."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.packaged import find_config
from retina_plugin.config.safe_yaml import Entry, read_yaml

BASE = "base"  # name of the row without overrides
ROWS = "rows."
HOW_TO_WRITE = "a list [KEY, VALUE, KEY, VALUE, ...]"


class Row(NamedTuple):
    """A row of a comparison.

    Attributes:
        name: its name in the table.
        overrides: ``(KEY, VALUE, KEY, VALUE, ...)`` as texts.
        place: file and line, for messages.
    """

    name: str
    overrides: tuple[str, ...]
    place: str

    @property
    def folder(self) -> str:
        """The name as a part of a path."""
        return re.sub(r"[^\w.-]+", "_", self.name)


@dataclass(frozen=True)
class Comparison:
    """The content of a comparison file.

    Attributes:
        title: heading of its section of the page.
        base: path of the base config.
        steps: number of training steps of the base; 0 if ``minutes`` is given.
        minutes: CPU minutes of training of each run; 0 if ``steps`` is given.
        seeds: a run of each row for each seed.
        held_out: fraction of the training images on which the runs are evaluated; 0: they are
            evaluated on the test set of the base.
        seed_noise: standard deviation of AP between seeds, known from another comparison; 0 if it
            is not known.
        note: a remark for the section of the page; may be empty.
        rows: the base and the other rows.
    """

    title: str
    base: str
    steps: int
    minutes: float
    seeds: tuple[int, ...]
    held_out: float
    seed_noise: float
    note: str
    rows: tuple[Row, ...]

    @property
    def length(self) -> str:
        """The length of a run, as text."""
        return f"{self.steps} steps of the base" if self.steps else f"{self.minutes:g} CPU minutes"


class _Setting(NamedTuple):
    default: Any
    is_valid: Callable[[Any], bool]
    expected: str


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _is_integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and _is_number(value, low, high)


def _is_title(value: Any) -> bool:
    # Method is the title of another section of the page
    return _is_line(value) and value.strip() not in ("", "Method")


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and "\n" not in value


def _are_seeds(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= 1000
        and all(_is_integer(seed, 0, 2**32 - 1) for seed in value)
        and len(set(value)) == len(value)
    )


# the keys of a comparison file besides rows
SETTINGS = {
    "title": _Setting(None, _is_title, "a line of text other than Method"),
    "base": _Setting(None, lambda v: isinstance(v, str) and v != "", "a config file"),
    "steps": _Setting(0, lambda v: _is_integer(v, 1, 10**9), "a whole number from 1 on"),
    "minutes": _Setting(0.0, lambda v: _is_number(v, 0.01, 144_000), "minutes, at least 0.01"),
    "seeds": _Setting(None, _are_seeds, "a list of different whole numbers from 0 on"),
    "held_out": _Setting(None, lambda v: _is_number(v, 0, 0.9), "a fraction from 0 to 0.9"),
    "seed_noise": _Setting(0.0, lambda v: _is_number(v, 0.001, 100), "AP from 0.001 to 100"),
    "note": _Setting("", _is_line, "a line of text"),
}


def read_comparison(path: str) -> Comparison:
    """Read a comparison file. Configs are not read here.

    Args:
        path: the YAML file. ``base`` is a packaged config, or a path relative to this file.

    Raises:
        ConfigError: the file cannot be read, or a key or row is missing, unknown or wrong.
    """
    entries = read_yaml(path)
    values = _settings(path, entries)
    rows = [_row(path, entry) for entry in entries if entry.key.startswith(ROWS)]
    if not rows:
        raise ConfigError(f"{path}: expected rows, each {HOW_TO_WRITE}, found none")
    _require_different(rows)
    folder = os.path.dirname(path)
    values["base"] = os.path.abspath(find_config(values["base"], relative_to=folder))
    return Comparison(**values, rows=(Row(BASE, (), path), *rows))


def _settings(path: str, entries: list[Entry]) -> dict[str, Any]:
    values = {name: setting.default for name, setting in SETTINGS.items()}
    for key, value, line in entries:
        if key.startswith(ROWS):
            continue
        if key not in SETTINGS:
            known = ", ".join([*SETTINGS, "rows"])
            hint = f"expected {HOW_TO_WRITE} for each name" if key == "rows" else f"known: {known}"
            raise ConfigError(f"{path}, line {line}: {key} cannot be read: {hint}")
        if not SETTINGS[key].is_valid(value):
            raise ConfigError(
                f"{path}, line {line}: {key}: expected {SETTINGS[key].expected}, found {value!r}"
            )
        values[key] = tuple(value) if isinstance(value, list) else value
    for key, value in values.items():
        if value is None:
            raise ConfigError(f"{path}: {key} is missing: give {SETTINGS[key].expected}")
    _require_consistent(path, values)
    return values


def _require_consistent(path: str, values: Mapping[str, Any]) -> None:
    if bool(values["steps"]) == bool(values["minutes"]):
        raise ConfigError(
            f"{path}: expected either steps (of the base) or minutes (of CPU time), found "
            f"{'both' if values['steps'] else 'neither'}"
        )
    if values["seed_noise"] and len(values["seeds"]) > 1:
        raise ConfigError(
            f"{path}: seed_noise is for a comparison with one seed, and {len(values['seeds'])} "
            "seeds measure the noise: remove it"
        )


def _row(path: str, entry: Entry) -> Row:
    name, place = entry.key.removeprefix(ROWS), f"{path}, line {entry.line}"
    words = entry.value
    if not isinstance(words, list) or len(words) % 2 or not words:
        raise ConfigError(f"{place}: row {name}: expected {HOW_TO_WRITE}, found {words!r:.80}")
    if not all(isinstance(key, str) for key in words[::2]):
        raise ConfigError(f"{place}: row {name}: expected {HOW_TO_WRITE}, found {words!r:.80}")
    return Row(name, tuple(map(str, words)), place)


def _require_different(rows: list[Row]) -> None:
    """Check that no two rows, or a row and the base, have one folder."""
    names = {BASE: BASE}
    for row in rows:
        if row.folder in names:
            raise ConfigError(
                f"{row.place}: row {row.name} has the same folder as row {names[row.folder]}: "
                "choose another name"
            )
        names[row.folder] = row.name
