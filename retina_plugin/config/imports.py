"""Import the modules in ``MODEL.RETINA_PLUGIN.IMPORTS``, and find the parts that they register."""

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

# Module in IMPORTS -> the modules whose parts were registered when it was imported.
_REGISTERED: dict[str, set[str]] = {}

# Packages that import no modules with parts of users.
_LIBRARIES = {*sys.stdlib_module_names, "retina_plugin", "detectron2", "lightning", "torch"}


def import_modules(names: Iterable[str], *, where: str = IMPORTS) -> None:
    """Import modules that register parts. If a module raises an error, its parts are removed, and
    it can be imported again after a correction.

    Args:
        names: names of Python modules.
        where: the key, and the file and line if known, for messages.

    Raises:
        ConfigError: a module is not found or raises an error, or its parts cannot be registered.
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
        # a user's module can raise anything, and its sys.exit must not end this program
        except (Exception, SystemExit) as error:
            _remove_failed(before)
            raise ConfigError(f"{where} names {name!r}{_failure_message(name, error)}") from error
        _REGISTERED.setdefault(name, set()).update(_modules_of_parts() - before)


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


def _remove_failed(before: set[str]) -> None:
    """Remove the parts of modules that are no longer in ``sys.modules``, because they failed.

    Args:
        before: the modules that had parts before the import.
    """
    for registry in REGISTRIES:
        for name, part in registry.parts():
            if part.module not in before and part.module not in sys.modules:
                registry.remove(name)


def _failure_message(name: str, error: BaseException) -> str:
    """Return the end of an error message: the problem, the line in the user's code, and advice."""
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
        f"{f' ({at})' if at else ''}. Correct the module; python -c 'import {name}' shows the full "
        "traceback, and docs/plugin.md shows parts of each kind."
    )


def _raised_at(error: BaseException) -> str:
    """Return "FILE, line N" of the last traceback entry outside this project and its libraries; ""
    if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    lines = [
        f"{frame.f_code.co_filename}, line {number}"
        for frame, number in traceback.walk_tb(error.__traceback__)
        if _top_package(frame.f_globals.get("__name__") or "") not in _LIBRARIES
    ]
    return lines[-1] if lines else ""


def _top_package(module: str) -> str:
    return module.partition(".")[0]


def _modules_of_parts() -> set[str]:
    return {part.module for registry in REGISTRIES for _, part in registry.parts()}


def part_keys(imports: Iterable[str] | None, *, cfg: Any = None) -> dict[str, Key]:
    """Return {dotted key: definition} for the keys that parts define.

    The parts of this package are always included.

    Args:
        imports: modules whose parts are included; None for all registered parts.
        cfg: a config whose chosen parts are included; None for no further parts.
    """
    modules = None if imports is None else modules_with_parts(imports)
    definitions: dict[str, Key] = {}
    for registry in REGISTRIES:
        chosen = [] if cfg is None else registry.chosen(cfg)
        for name, part in registry.parts():
            users = registry.users(part) if part.keys else []
            if any(
                modules is None
                or user in chosen
                or _is_available(registry.part(user).module, modules)
                for user in users
            ):
                keys = {registry.key_of(name, key): value for key, value in part.keys.items()}
                definitions.update(keys)
    return definitions


def _is_available(module: str, modules: set[str]) -> bool:
    return _in_this_package(module) or module in modules


def _in_this_package(module: str) -> bool:
    return _top_package(module) == "retina_plugin"


def modules_with_parts(imports: Iterable[str]) -> set[str]:
    """Return the modules outside this package whose parts ``imports`` makes available.

    These are the given modules, their submodules, and what they import directly or indirectly.
    """
    outside = {module for module in _modules_of_parts() if not _in_this_package(module)}
    found: set[str] = set()
    for name in imports:
        below = {m for m in outside if m == name or m.startswith(f"{name}.")}
        found |= below | _REGISTERED.get(name, set())
        if outside - found:
            found |= outside & _imported_modules(name)
    return found


def _imported_modules(name: str) -> set[str]:
    """Return a module and the modules that it imports, directly or indirectly. They are found from
    the modules, classes and functions in its namespace."""
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in sys.modules or _top_package(name) in _LIBRARIES:
            continue
        reached.add(name)
        for value in list(vars(sys.modules[name]).values()):
            if isinstance(value, ModuleType):
                waiting.append(value.__name__)
            elif isinstance(value, (type, FunctionType)) and isinstance(value.__module__, str):
                waiting.append(value.__module__)
    return reached


def part_keys_of(cfg: Any) -> dict[str, Key]:
    """Return {dotted key: definition} for the parts that ``cfg`` imports or chooses."""
    return part_keys(cfg.MODEL.RETINA_PLUGIN.IMPORTS, cfg=cfg)


def require_imported(cfg: Any) -> None:
    """Check that another process can read ``cfg``: ``IMPORTS`` must name the modules of all chosen
    parts. A part that is defined in a notebook or in the main program only causes a warning.

    Raises:
        ConfigError: ``IMPORTS`` does not import the module of a chosen part.
    """
    modules = modules_with_parts(cfg.MODEL.RETINA_PLUGIN.IMPORTS)
    chosen = [(registry, name) for registry in REGISTRIES for name in registry.chosen(cfg)]
    for registry, name in chosen:
        module = registry.part(name).module if name in registry else "retina_plugin"
        if module == "__main__":
            logger.warning(
                "%s: %s %r is defined in this program or notebook, so the config.yaml of this run "
                "can be read only after that code has run. To read it elsewhere, move the code to "
                "a module and name the module in %s",
                registry.choice_key,
                registry.kind,
                name,
                IMPORTS,
            )
        elif not _is_available(module, modules):
            raise ConfigError(
                f"{registry.choice_key}: {registry.kind} {name!r} is defined in module {module}, "
                f"which {IMPORTS} does not import, so the config.yaml of this run could not be "
                f"read. Merge {IMPORTS} ['{module}'] first"
            )
