"""Resize an image and its boxes for display."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

LARGEST = 4096  # pixels; a strip of 3000 x 8 pixels would become 114000 x 304


def resize_for_display(
    image: np.ndarray,
    boxes: np.ndarray | Sequence[Sequence[float]],
    *,
    min_side: int,
    max_side: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Resize an image and its boxes so that labels are readable.

    Args:
        image: (H, W, 3) uint8.
        boxes: (M, 4) pixels; M may be 0.
        min_side: images with a shorter side below this number of pixels are enlarged by a whole
            factor, but to at most 4096 pixels of the longer side.
        max_side: the longer side has at most this number of pixels; None for no limit.

    Returns:
        Resized image (H', W', 3) uint8 and boxes (M, 4) float64.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    height, width = image.shape[:2]
    enlarged = min(-(-min_side // min(height, width)), LARGEST // max(height, width))
    factor = float(max(1, enlarged))
    if max_side is not None:
        factor = min(factor, max_side / max(height, width))
    if factor == 1:
        return image, boxes
    size = max(1, round(width * factor)), max(1, round(height * factor))
    scaled = Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(scaled), boxes * factor
