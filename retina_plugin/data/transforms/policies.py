"""Policies of augmentation: lists of transforms for ``MODEL.RETINA_PLUGIN.INPUT.AUGMENTATION``."""

from __future__ import annotations

from typing import Any

# Transforms keep the order of the list. Those that cut images come before those that change
# colours, and the colours of images that are combined are changed together.
POLICIES = {
    "light": ["RandomCrop", "ResizeShortestEdge", "RandomFlip", "RandomPhotometricDistort"],
    "medium": [  # that of SSD, arXiv 1512.02325
        "RandomCrop",
        "RandomIoUCrop",
        "ResizeShortestEdge",
        "RandomZoomOut",
        "RandomFlip",
        "RandomPhotometricDistort",
    ],
    "strong": [
        "RandomCrop",
        "ScaleJitter",
        "Mosaic",
        "MixUp",
        "RandomFlip",
        "RandomPhotometricDistort",
        "GaussianBlur",
        "JPEG",
        "RandomErasing",
    ],
}


def transform_names(cfg: Any) -> list[str]:
    """Return the names of a config's transforms in order: those of its policy, or of
    ``MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS`` if the policy is none.

    Raises:
        KeyError: the policy is unknown.
    """
    node = cfg.MODEL.RETINA_PLUGIN.INPUT
    return list(node.TRANSFORMS if node.AUGMENTATION == "none" else POLICIES[node.AUGMENTATION])
