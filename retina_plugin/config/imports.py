"""Modules that ``MODEL.RETINA_PLUGIN.IMPORTS`` names, and the keys of the parts that they bring."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.key import Key
from retina_plugin.config.keys import NODE
from retina_plugin.config.registry import REGISTRIES

IMPORTS = f"{NODE}.IMPORTS"

# Module -> the modules whose parts came with its first import.
_BROUGHT: dict[str, set[str]] = {}


def import_modules(names: Iterable[str], *, where: str = IMPORTS) -> None:
    """Import modules that register parts; each once.

    Args:
        names: of Python modules.
        where: the key, and where it stands, for messages.

    Raises:
        ConfigError: a module that is not there, that fails while it is imported, or whose parts
            cannot be registered.
    """
    for name in names:
        if not (isinstance(name, str) and all(map(str.isidentifier, name.split(".")))):
            raise ConfigError(
                f"{where}: expected names of modules such as my_package.my_module, found {name!r}"
            )
        before = _modules_of_parts()
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{where} names {name!r}: {error}. Install it or put it on PYTHONPATH."
            ) from error
        except Exception as error:  # a module of the user's may raise anything
            raise ConfigError(
                f"{where} names {name!r}, which fails while it is imported: "
                f"{type(error).__name__}: {error.args[0] if error.args else error}"
            ) from error
        _BROUGHT.setdefault(name, set()).update(_modules_of_parts() - before)


def _modules_of_parts() -> set[str]:
    return {part.module for registry in REGISTRIES for _, part in registry.parts()}


def keys_of_parts(imports: Iterable[str] | None) -> dict[str, Key]:
    """Dotted key -> row, of the keys that parts have of their own.

    Args:
        imports: modules whose parts count besides those of this package; None for all parts.
    """
    imports = None if imports is None else list(imports)
    return {
        registry.key_of(name, key): row
        for registry in REGISTRIES
        for name, part in registry.parts()
        if imports is None or any(_belongs(user, imports) for user in registry.users(part))
        for key, row in part.keys.items()
    }


def _belongs(module: str, imports: list[str]) -> bool:
    return module.startswith("retina_plugin.") or any(
        module == name or module.startswith(f"{name}.") or module in _BROUGHT.get(name, ())
        for name in imports
    )


def rows_of(cfg: Any) -> dict[str, Key]:
    """Dotted key -> row, of the keys of the parts that ``cfg`` imports."""
    return keys_of_parts(cfg.MODEL.RETINA_PLUGIN.IMPORTS)
