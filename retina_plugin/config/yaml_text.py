"""Write config values as YAML."""

from __future__ import annotations

from typing import Any

import yaml


def yaml_text(value: Any) -> str:
    """Return a value as one line of YAML.

    Args:
        value: a number, text, bool, None, or a list, tuple or dict of these.
    """
    plain = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump(
        plain, default_flow_style=True, width=float("inf"), allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")
