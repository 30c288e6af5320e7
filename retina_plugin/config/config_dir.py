"""``${configDir}`` in a config file stands for the folder of that file.

Paths that start with it stay valid if the folder is moved, and do not depend on the current folder.
TypeScript's config files use the same name.
"""

from __future__ import annotations

from typing import Any

CONFIG_DIR = "${configDir}"


def expand_config_dir(value: Any, folder: str) -> Any:
    """Replace ``${configDir}`` in a value of a config file.

    Args:
        value: text, or a list or dict with texts at any depth; other values are unchanged.
        folder: the folder of the file; "" for the current folder.
    """
    if isinstance(value, str):
        inside = f"{folder}/" if folder else ""
        return value.replace(f"{CONFIG_DIR}/", inside).replace(CONFIG_DIR, folder or ".")
    if isinstance(value, list):
        return [expand_config_dir(item, folder) for item in value]
    if isinstance(value, dict):
        return {name: expand_config_dir(item, folder) for name, item in value.items()}
    return value
