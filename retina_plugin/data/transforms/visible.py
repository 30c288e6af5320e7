"""Drop boxes of which too little is visible after a transform.

Axes: M boxes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from retina_plugin.data.transforms.sample import Sample

MIN_VISIBLE = "MODEL.RETINA_PLUGIN.INPUT.MIN_VISIBLE"


def areas(boxes: np.ndarray) -> np.ndarray:
    """Return the areas (M,) of boxes (M, 4) XYXY; 0 for boxes without width or height."""
    found: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    return found


def keep_visible(sample: Sample, visible: np.ndarray, *, min_visible: float) -> Sample:
    """Keep the boxes of which enough is visible, with their labels.

    Args:
        sample: a sample whose boxes are not clipped yet.
        visible: (M,) the visible area of each box.
        min_visible: the smallest visible share of the area. A box without visible area is always
            dropped.
    """
    boxes = sample["boxes"]
    kept = (visible > 0) & (visible >= min_visible * areas(boxes))
    return {**sample, "boxes": boxes[kept], "labels": sample["labels"][kept]}


def clip_visible(sample: Sample, *, min_visible: float) -> Sample:
    """Clip boxes to the image, and drop those of which too little is inside; see
    :func:`keep_visible`."""
    height, width = sample["image"].shape[:2]
    limits = [width, height, width, height]
    inside = areas(sample["boxes"].clip(0, limits))
    kept = keep_visible(sample, inside, min_visible=min_visible)
    return {**kept, "boxes": kept["boxes"].clip(0, limits)}


def mean_colour(cfg: Any) -> tuple[int, int, int]:
    """Return the colour (R, G, B) for empty parts of an image: ``MODEL.PIXEL_MEAN``.

    After normalization it is about 0.
    """
    mean = [round(value) for value in cfg.MODEL.PIXEL_MEAN]
    red, green, blue = mean[:: -1 if cfg.INPUT.FORMAT == "BGR" else 1]
    return red, green, blue
