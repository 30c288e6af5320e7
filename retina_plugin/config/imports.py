"""Modules that ``MODEL.RETINA_PLUGIN.IMPORTS`` names, and which parts they bring."""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.key import Key
from retina_plugin.config.keys import NODE
from retina_plugin.config.moved import new_module_name
from retina_plugin.config.registry import REGISTRIES

logger = logging.getLogger("retina_plugin")

IMPORTS = f"{NODE}.IMPORTS"

# Module -> the modules whose parts came with its first import.
_BROUGHT: dict[str, set[str]] = {}

# Packages that import no part from outside.
_LIBRARIES = {*sys.stdlib_module_names, "retina_plugin", "detectron2", "lightning", "torch"}


def import_modules(names: Iterable[str], *, where: str = IMPORTS) -> None:
    """Import modules that register parts; each once. A module that fails leaves none of its parts
    behind, so that it can be corrected and imported again.

    Args:
        names: of Python modules.
        where: the key, and where it stands, for messages.

    Raises:
        ConfigError: a module that is not there, that fails while it is imported, or whose parts
            cannot be registered.
    """
    for name in [names] if isinstance(names, str) else names:
        if isinstance(names, str) or not _is_name(name):
            raise ConfigError(
                f"{where}: expected names of modules such as ['my_package.my_module'], "
                f"found {name!r}{_without_suffix(name)}"
            )
        before = _modules_of_parts()
        try:
            importlib.import_module(name)
        # a module of the user's may raise anything, and sys.exit is no error of this program
        except (Exception, SystemExit) as error:
            _forget_failed(before)
            raise ConfigError(f"{where} names {name!r}{_failure(name, error)}") from error
        _BROUGHT.setdefault(name, set()).update(_modules_of_parts() - before)


def _is_name(name: Any) -> bool:
    return (
        isinstance(name, str)
        and all(map(str.isidentifier, name.split(".")))
        and not name.endswith(".py")
    )


def _without_suffix(name: Any) -> str:
    if not (isinstance(name, str) and name.endswith(".py")):
        return ""
    module = name.removesuffix(".py").removeprefix("./").strip("/").replace("/", ".")
    return f": leave out .py, {module!r}" if _is_name(module) else ": leave out .py"


def _forget_failed(before: set[str]) -> None:
    """Take back the parts of modules that Python has dropped because they failed."""
    for registry in REGISTRIES:
        for name, part in registry.parts():
            if part.module not in before and part.module not in sys.modules:
                registry.remove(name)


def _failure(name: str, error: BaseException) -> str:
    """What went wrong, where in the user's code, and what to do."""
    at = _raised_at(error)
    if isinstance(error, ModuleNotFoundError):
        missing = error.name or ""
        inside = f" ({at})" if at else ""
        if new_module_name(missing):
            return (
                f": {error}{inside}, a name of version 0.1. It is called "
                f"{new_module_name(missing)} now; docs/plugin.md shows parts of each kind."
            )
        return f": {error}{inside}. Install it or put it on PYTHONPATH."
    words = f": {error.args[0]}" if error.args else ""
    return (
        f", which fails while it is imported: {type(error).__name__}{words}"
        f"{f' ({at})' if at else ''}. Correct it there; python -c 'import {name}' shows all that "
        "Python says, and docs/plugin.md shows parts of each kind."
    )


def _raised_at(error: BaseException) -> str:
    """The last line of code from outside that ran: FILE, line N; "" if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    lines = [
        f"{frame.f_code.co_filename}, line {number}"
        for frame, number in traceback.walk_tb(error.__traceback__)
        if _top(frame.f_globals.get("__name__") or "") not in _LIBRARIES
    ]
    return lines[-1] if lines else ""


def _top(module: str) -> str:
    return module.partition(".")[0]


def _modules_of_parts() -> set[str]:
    return {part.module for registry in REGISTRIES for _, part in registry.parts()}


def part_keys(imports: Iterable[str] | None, *, cfg: Any = None) -> dict[str, Key]:
    """Dotted key -> row, of the keys that parts have of their own.

    Args:
        imports: modules whose parts count besides those of this package; None for all parts.
        cfg: a config whose chosen parts count too.
    """
    modules = None if imports is None else modules_of(imports)
    rows: dict[str, Key] = {}
    for registry in REGISTRIES:
        chosen = [] if cfg is None else registry.chosen(cfg)
        for name, part in registry.parts():
            users = registry.users(part) if part.keys else []
            if any(
                modules is None or user in chosen or _belongs(registry.part(user).module, modules)
                for user in users
            ):
                rows.update({registry.key_of(name, key): row for key, row in part.keys.items()})
    return rows


def _belongs(module: str, modules: set[str]) -> bool:
    return _is_ours(module) or module in modules


def _is_ours(module: str) -> bool:
    return _top(module) == "retina_plugin"


def modules_of(imports: Iterable[str]) -> set[str]:
    """The modules of parts from outside that some modules bring: those themselves, what lies below
    them, and what they import, directly or not, whoever imported it first."""
    outside = {module for module in _modules_of_parts() if not _is_ours(module)}
    found: set[str] = set()
    for name in imports:
        below = {m for m in outside if m == name or m.startswith(f"{name}.")}
        found |= below | _BROUGHT.get(name, set())
        if outside - found:
            found |= outside & _reached_from(name)
    return found


def _reached_from(name: str) -> set[str]:
    """Modules that a module imports, directly or not, as far as the names in it tell: modules, and
    the modules of classes and functions."""
    reached, waiting = set(), [name]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in sys.modules or _top(name) in _LIBRARIES:
            continue
        reached.add(name)
        for value in list(vars(sys.modules[name]).values()):
            if isinstance(value, ModuleType):
                waiting.append(value.__name__)
            elif isinstance(value, (type, FunctionType)) and isinstance(value.__module__, str):
                waiting.append(value.__module__)
    return reached


def part_keys_of(cfg: Any) -> dict[str, Key]:
    """Dotted key -> row, of the keys of the parts that ``cfg`` imports or chooses."""
    return part_keys(cfg.MODEL.RETINA_PLUGIN.IMPORTS, cfg=cfg)


def require_imported(cfg: Any) -> None:
    """Make sure that another process can read ``cfg``: that its modules bring the parts that it
    chooses. A part of a notebook, or of the program itself, has no module that can be named, and
    gets a warning.

    Raises:
        ConfigError: a part of another module; the message names it.
    """
    modules = modules_of(cfg.MODEL.RETINA_PLUGIN.IMPORTS)
    chosen = [(registry, name) for registry in REGISTRIES for name in registry.chosen(cfg)]
    for registry, name in chosen:
        module = registry.part(name).module if name in registry else "retina_plugin"
        if module == "__main__":
            logger.warning(
                "%s: %s %r is defined in this program or notebook, so that config.yaml of this run "
                "can be read only where that code has run. To read it elsewhere too, put the code "
                "into a module and name the module in %s",
                registry.choice_key,
                registry.kind,
                name,
                IMPORTS,
            )
        elif not _belongs(module, modules):
            raise ConfigError(
                f"{registry.choice_key}: {registry.kind} {name!r} is of module {module}, which "
                f"{IMPORTS} does not bring: config.yaml of this run could not be read. Merge "
                f"{IMPORTS} ['{module}'] before"
            )
