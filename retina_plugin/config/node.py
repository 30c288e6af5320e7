"""The config tree, and safe merging of YAML files and overrides into it."""

from __future__ import annotations

import difflib
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from fvcore.common.config import CfgNode as FvcoreCfgNode

from retina_plugin.config.config_dir import expand_config_dir
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.imports import IMPORTS, import_modules, part_keys, part_keys_of
from retina_plugin.config.keys import (
    DETECTRON2_KEYS,
    NODE,
    NOT_RETINANET,
    PLUGIN_KEYS,
    RENAMED,
)
from retina_plugin.config.packaged import find_config
from retina_plugin.config.registry import REGISTRIES
from retina_plugin.config.safe_yaml import Entry, read_yaml
from retina_plugin.config.tree import add_keys, leaves

logger = logging.getLogger("retina_plugin")


class SafeMerge:
    """Safe merging of YAML files and overrides; a mixin for either host's ``CfgNode``.

    YAML tags that construct Python objects are refused. An unknown key is an error that names the
    most similar known key.
    """

    UNKNOWN_KEY_NOTE = ""  # a host's addition to the message for an unknown key

    # of CfgNode
    MODEL: Any
    _decode_cfg_value: Callable[[Any], Any]

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = False) -> None:
        """Merge a YAML file after the files that it names in ``_BASE_``.

        ``${configDir}`` in a value is the folder of the file that has it.

        Args:
            cfg_filename: a path, or the name of a packaged config; see
                :func:`retina_plugin.config.packaged.find_config`.
            allow_unsafe: exists for Detectron2's signature; only False is supported.

        Raises:
            ConfigError: a key is unknown, a value has the wrong type, or a number is infinite, NaN
                or too large for 64 bits; see also
                :func:`retina_plugin.config.safe_yaml.read_yaml`.
        """
        if allow_unsafe:
            raise ConfigError(
                f"{cfg_filename}: unsafe YAML is not supported; write plain values instead of "
                "!!python tags"
            )
        files = read_files(os.fspath(cfg_filename))
        for path, entries in files:
            _require_once(path, entries)
            for key, value, line in entries:
                if key == IMPORTS:
                    self._import(value, f"{path}, line {line}")
        for path, entries in files:
            for key, value, line in entries:
                if key != IMPORTS:
                    self._merge_one(key, value, f"{path}, line {line}")

    def _import(self, names: Any, source: str) -> None:
        """Import modules, add them to ``IMPORTS``, and add the keys of their parts."""
        where, node = f"{source}: {IMPORTS}", self.MODEL.RETINA_PLUGIN
        names = _coerced(self._decoded(names, node.IMPORTS, where), [], where)
        import_modules(names, where=where)
        node.IMPORTS = list(dict.fromkeys([*node.IMPORTS, *names]))
        add_keys(self, part_keys_of(self))

    def merge_from_list(self, cfg_list: list[Any]) -> None:
        """Merge overrides ``[KEY, VALUE, KEY, VALUE, ...]`` from the command line. If a key is
        given twice, the last value is used, with a warning.

        Raises:
            ConfigError: the number of entries is odd; also as in :meth:`merge_from_file`.
        """
        if len(cfg_list) % 2:
            raise ConfigError(
                f"overrides come in pairs KEY VALUE, found an odd number of words: "
                f"{' '.join(map(str, cfg_list))}"
            )
        pairs = list(zip(map(str, cfg_list[0::2]), cfg_list[1::2], strict=True))
        for value in (value for key, value in pairs if key == IMPORTS):
            self._import(value, "command line")
        for key, value in pairs:
            if key != IMPORTS:
                self._merge_one(key, value, "command line")
        for key, times in Counter(RENAMED.get(key, key) for key, _ in pairs).items():
            if times > 1 and key != IMPORTS:  # lists of IMPORTS are joined
                logger.warning(
                    "command line: %s is given %d times; the last value is used", key, times
                )

    def _merge_one(self, key: str, value: Any, source: str) -> None:
        if key in RENAMED:
            logger.warning("%s: %s is now called %s", source, key, RENAMED[key])
            key = RENAMED[key]
        *parents, name = key.split(".")
        node: Any = self
        for parent in parents:
            node = node.get(parent) if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping) or name not in node:
            known = [k for k, _ in leaves(cast("Mapping[str, Any]", self))]
            note = "" if key.startswith(f"{NODE}.") else self.UNKNOWN_KEY_NOTE
            raise ConfigError(f"{source}: unknown key {key}. {_hint(key, known)}{note}")
        if isinstance(node[name], Mapping):
            raise ConfigError(
                f"{source}: {key} is a group of keys, found the value {_brief(value)}"
            )
        where = f"{source}: {key}"
        convert = MULTI_TYPE_KEYS.get(key)
        # a key that allows several types can change from text to numbers
        value = self._decoded(value, None if convert else node[name], where)
        _require_numbers(_without_groups(value), where)
        value = convert(value, where) if convert else _coerced(value, node[name], where)
        _require_plain(_without_groups(value) if key in LISTS_OF_GROUPS else value, where)
        setattr(node, name, value)

    def _decoded(self, value: Any, old: Any, where: str) -> Any:
        """Convert text to the Python literal that it contains, if any.

        If the present value ``old`` is text, text is not converted: a folder can be called 2024.
        """
        try:
            decoded = self._decode_cfg_value(value)
        # raised, for example, by {[]}, or by thousands of minus signs or brackets
        except (TypeError, RecursionError, MemoryError) as error:
            raise ConfigError(f"{where}: {value:.60} is not a value that can be read") from error
        return (
            value
            if isinstance(old, str) and isinstance(value, str) and not isinstance(decoded, str)
            else decoded
        )


class CfgNode(SafeMerge, FvcoreCfgNode):  # type: ignore[misc]  # fvcore has no annotations
    """fvcore's config tree with safe merging, for use without Detectron2."""

    UNKNOWN_KEY_NOTE = " Keys that only Detectron2 reads are not supported without it."


def get_cfg() -> CfgNode:
    """Return a config with all keys and their defaults, for use without Detectron2. With
    Detectron2, use :func:`retina_plugin.d2.get_cfg`."""
    cfg = CfgNode()
    add_keys(cfg, DETECTRON2_KEYS)
    add_keys(cfg, PLUGIN_KEYS)
    add_keys(cfg, part_keys([]))
    return cfg


def read_files(name: str) -> list[tuple[str, list[Entry]]]:
    """Read a config file and the files that it names in ``_BASE_``.

    Returns:
        [(path, keys of the file)] in the order of merging; the file itself is last.

    Raises:
        ConfigError: see :meth:`SafeMerge.merge_from_file`.
    """
    path = find_config(name)
    files: list[tuple[str, list[Entry]]] = []
    seen: list[str] = []
    while True:
        seen.append(os.path.realpath(path))
        if seen[-1] in seen[:-1]:
            raise ConfigError(f"{path}: _BASE_ is circular: {' -> '.join(seen)}")
        entries = read_yaml(path)
        folder = os.path.dirname(path)
        expanded = [e._replace(value=expand_config_dir(e.value, folder)) for e in entries]
        files.insert(0, (path, [entry for entry in expanded if entry.key != "_BASE_"]))
        bases = [entry for entry in entries if entry.key == "_BASE_"]
        if not bases:
            return files
        _, base, line = bases[0]
        if not isinstance(base, str) or not base:
            raise ConfigError(
                f"{path}, line {line}: _BASE_: expected the name of one file, found {base!r}"
            )
        _require_plain(base, f"{path}, line {line}: _BASE_")
        path = find_config(base, relative_to=folder)


def value_sources(config_file: str, overrides: Sequence[Any]) -> dict[str, str]:
    """Return {key: where its value is set}, such as "configs/a.yaml, line 7" or "command line".

    Args:
        config_file: see :meth:`SafeMerge.merge_from_file`.
        overrides: see :meth:`SafeMerge.merge_from_list`.
    """
    places = [
        (entry.key, f"{_brief_path(path)}, line {entry.line}")
        for path, entries in read_files(config_file)
        for entry in entries
    ]
    places += [(str(key), "command line") for key in overrides[0::2]]
    found: dict[str, str] = {}
    for key, place in places:
        key = RENAMED.get(key, key)
        adds = key == IMPORTS and key in found
        found[key] = f"{found[key]}; {place}" if adds else place
    return found


def _brief_path(path: str) -> str:
    """Normalise a path, and make it relative to the current folder if it is inside."""
    path, here = os.path.abspath(path), os.path.join(os.getcwd(), "")
    return path.removeprefix(here)


def _hint(key: str, known: list[str]) -> str:
    if key in NOT_RETINANET:
        return f"RetinaNet does not read it; set {NOT_RETINANET[key]}."
    node, _, name = key.rpartition(".")
    if node.startswith(f"{NODE}.") and not any(k.startswith(f"{node}.") for k in known):
        return _hint_of_part(key, known)
    # Prefer longer names in the same group: RETINANET.GAMMA probably means
    # RETINANET.FOCAL_LOSS_GAMMA, not SOLVER.GAMMA.
    longer = [k for k in known if k.startswith(f"{node}.") and k.endswith(f"_{name}")]
    same_name = [k for k in known if k.rpartition(".")[2] == name]
    near = [*longer, *same_name] or difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    return (
        f"Did you mean {' or '.join(near[:3])}?"
        if near
        else "See docs/config.md for the known keys."
    )


def _hint_of_part(key: str, known: list[str]) -> str:
    """Return advice for an unknown key of a part: which module defines the part, or how to import
    it."""
    for registry in REGISTRIES:
        for name, part in registry.parts():
            if registry.node and key.startswith(registry.key_of(name, "")):
                return (
                    f"{registry.kind} {name!r} is defined in module {part.module}: add the module "
                    f"to {IMPORTS} to get its keys."
                    if part.keys
                    else f"{registry.kind} {name!r} has no keys."
                )
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.9)
    return (
        f"{f'Did you mean {near[0]}? ' if near else ''}If it is a key of your own part, name the "
        f"module that registers the part in {IMPORTS}."
    )


def _require_once(path: str, entries: list[Entry]) -> None:
    """Check that no key of a file is given by its name of version 0.1 and its new name.

    Raises:
        ConfigError: a key has both names.
    """
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(RENAMED.get(entry.key, entry.key), entry)
        if first is not entry:
            raise ConfigError(
                f"{path}, line {entry.line}: {first.key} (line {first.line}) and {entry.key} are "
                f"the same key: keep {RENAMED.get(entry.key, entry.key)}"
            )


def _parse_alpha(value: Any, where: str) -> float | list[float] | str:
    """Check a weight, a list with a weight for each class, or "auto"."""
    weights = value if isinstance(value, (list, tuple)) else [value]
    numbers = all(
        isinstance(w, (int, float)) and not isinstance(w, bool) and w <= 1 for w in weights
    )
    # a single negative number turns weighting off; a list has no negative numbers
    numbers = numbers and (weights is not value or min(weights, default=0) >= 0)
    if value != "auto" and not (weights and numbers):
        raise ConfigError(
            f"{where}: expected a weight in [0, 1], a list of them with one for each class, or "
            f"auto, found {_brief(value)}"
        )
    return (
        "auto"
        if value == "auto"
        else float(value)
        if weights is not value
        else [float(w) for w in weights]
    )


def _parse_prior(value: Any, where: str) -> float | list[float] | str:
    """Check a score, a list with a score for each class, or "auto"."""
    scores = value if isinstance(value, (list, tuple)) else [value]
    numbers = all(isinstance(p, float) and 0 < p < 1 for p in scores)
    if value != "auto" and not (scores and numbers):
        raise ConfigError(
            f"{where}: expected a score between 0 and 1, a list of them with one for each class, "
            f"or auto, found {_brief(value)}"
        )
    return list(value) if isinstance(value, tuple) else value


def _parse_pixel_range(value: Any, where: str) -> list[float] | str:
    """Check two rising numbers, or "auto"."""
    pair = list(value) if isinstance(value, (list, tuple)) else []
    numbers = all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in pair
    )
    if value != "auto" and not (len(pair) == 2 and numbers and pair[0] < pair[1]):
        raise ConfigError(
            f"{where}: expected [low, high], two rising numbers that become 0 and 255, or auto, "
            f"found {value!r}"
        )
    return "auto" if value == "auto" else [float(v) for v in pair]


# Keys that allow several types -> function of a value and its source, such as "a.yaml, line 7". It
# returns the checked value or raises ConfigError.
MULTI_TYPE_KEYS: dict[str, Callable[[Any, str], Any]] = {
    "MODEL.RETINANET.FOCAL_LOSS_ALPHA": _parse_alpha,
    "MODEL.RETINANET.PRIOR_PROB": _parse_prior,
    f"{NODE}.INPUT.PIXEL_RANGE": _parse_pixel_range,
}

# Keys whose values are lists of groups of keys.
LISTS_OF_GROUPS = (f"{NODE}.LIGHTNING.CALLBACKS", f"{NODE}.LIGHTNING.LOGGERS")


def _without_groups(value: Any) -> Any:
    """Replace every dict in a value by the list of its keys and values."""
    if isinstance(value, dict):
        return [_without_groups(entry) for pair in value.items() for entry in pair]
    return [_without_groups(v) for v in value] if isinstance(value, (list, tuple)) else value


def _require_numbers(value: Any, where: str) -> None:
    """Check that every number in a value is finite and fits into 64 bits."""
    if isinstance(value, (list, tuple)):
        for entry in value:
            _require_numbers(entry, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: expected a finite number, found {value}")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ConfigError(
            f"{where}: expected a number of at most 64 bits, found one of {value.bit_length()} bits"
        )


def _require_plain(value: Any, where: str) -> None:
    """Check that a value consists of text, numbers and lists. A Python literal can be something
    else, such as a set."""
    if isinstance(value, (list, tuple)):
        for entry in value:
            _require_plain(entry, where)
    elif value is not None and not isinstance(value, (str, int, float)):
        raise ConfigError(
            f"{where}: expected text, a number or a list of them, found {type(value).__name__} "
            f"{_brief(value)}"
        )
    elif isinstance(value, str) and not _is_text(value):
        raise ConfigError(
            f"{where}: {_brief(value)} has characters that are not allowed in file names"
        )


def _is_text(value: str) -> bool:
    try:
        # non-UTF-8 bytes of a file name are allowed; Python represents them as surrogates
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]} ... ({len(text)} characters)"


def _coerced(value: Any, old: Any, where: str) -> Any:
    """Convert ``value`` to the type of ``old``: an integer to a float, a list to a tuple, or a
    tuple to a list. If ``old`` is None, every type is allowed.

    Raises:
        ConfigError: ``value`` has another type.
    """
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(old, (list, tuple)) and isinstance(value, (list, tuple)):
        return type(old)(value)
    if old is None or type(old) is type(value):
        return value
    hint = ""
    if (
        isinstance(old, (list, tuple))
        and isinstance(value, str)
        and "(" not in value
        and "[" not in value
    ):
        hint = f". Write one entry as ('{value:.60}',)"
    raise ConfigError(
        f"{where}: expected {type(old).__name__} like {old!r}, found {type(value).__name__} "
        f"{_brief(value)}{hint}"
    )
