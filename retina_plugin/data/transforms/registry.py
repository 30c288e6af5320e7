"""The registry of transforms; a config lists those of its run in ``INPUT.TRANSFORMS``."""

from __future__ import annotations

from retina_plugin.config.registry import Registry

TRANSFORMS = Registry(
    "transform",
    node="MODEL.RETINA_PLUGIN.INPUT",
    choice_key="MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS",
)
