"""The registry of transforms, which ``MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS`` lists by name."""

from __future__ import annotations

from retina_plugin.config.registry import Registry

TRANSFORMS = Registry(
    "transform",
    node="MODEL.RETINA_PLUGIN.INPUT",
    choice_key="MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS",
)
