"""The registry of transforms, which ``MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS`` lists by name."""

from __future__ import annotations

from retina_plugin.config.keys import NODE, PLUGIN_KEYS
from retina_plugin.config.registry import Registry

TRANSFORMS = Registry(
    "transform",
    node="MODEL.RETINA_PLUGIN.INPUT",
    choice_key="MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS",
)


def own_keys(name: str) -> dict[str, str]:
    """Return {constructor argument: key} for the keys of a transform in
    :mod:`retina_plugin.config.keys_augmentation`."""
    below = f"{NODE}.INPUT.{name}."
    return {k.removeprefix(below).lower(): k for k in PLUGIN_KEYS if k.startswith(below)}
