"""Policies of augmentation: lists of transforms for ``MODEL.RETINA_PLUGIN.INPUT.AUGMENTATION``."""

from __future__ import annotations

from typing import Any

# Transforms are applied in the order of the list. Transforms that crop come first, because later
# ones then process fewer pixels. Colours are changed after Mosaic and MixUp, for all combined
# images together.
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
    """Return the names of a config's transforms, in order.

    They are those of the policy ``AUGMENTATION``, or ``TRANSFORMS`` if the policy is none.

    Raises:
        KeyError: the policy is unknown.
    """
    node = cfg.MODEL.RETINA_PLUGIN.INPUT
    return list(node.TRANSFORMS if node.AUGMENTATION == "none" else POLICIES[node.AUGMENTATION])
