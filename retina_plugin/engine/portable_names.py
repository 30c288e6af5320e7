"""Write the names of data sets into config files so that the folder of the file can be moved."""

from __future__ import annotations

import os
from typing import Any

from retina_plugin.config.config_dir import CONFIG_DIR
from retina_plugin.config.registry import value_of
from retina_plugin.data.data_path import parse_data_path
from retina_plugin.data.evaluation_sets import DATASET_KEYS


def portable_name(name: str, folder: str) -> str:
    """Return the name of a data set for a config file in ``folder``.

    A path in ``folder`` gets the prefix ``${configDir}``. Other names do not change: paths in other
    folders, names that already have the prefix, and words without a separator, which can be
    registered names.
    """
    where = parse_data_path(name)
    if where is None or name.startswith(CONFIG_DIR) or not {os.sep, "@"} & set(name):
        return name
    path = _portable_path(where.path, folder)
    if path is None:
        return name
    split = f":{where.split}" if where.split else ""
    images = where.image_folder and (
        _portable_path(where.image_folder, folder) or where.image_folder
    )
    at = "@" if images or name.endswith("@") else ""
    return f"{path}{split}{at}{images}"


def _portable_path(path: str, folder: str) -> str | None:
    """Return the path with ``${configDir}``; None if it is not in ``folder``."""
    inside = os.path.relpath(path, folder or os.curdir)
    if inside.split(os.sep)[0] == os.pardir:
        return None
    return CONFIG_DIR if inside == os.curdir else f"{CONFIG_DIR}/{inside.replace(os.sep, '/')}"


def portable_config(cfg: Any, folder: str) -> Any:
    """Return a copy of a config for a file in ``folder``; see :func:`portable_name`."""
    found = cfg.clone()
    found.defrost()
    for key in DATASET_KEYS:
        *_, name = key.split(".")
        node = value_of(found, key.removesuffix(f".{name}"))
        names = node[name]
        node[name] = type(names)(portable_name(each, folder) for each in names)
    found.freeze()
    return found
