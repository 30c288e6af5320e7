"""Image files as arrays."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from retina_plugin.data.coco import DatasetError


def read_image(path: str) -> np.ndarray:
    """Read any image file that Pillow knows.

    Args:
        path: EXIF orientation is applied; grayscale and palette images get three channels, 16 bits are scaled to 8, alpha is dropped.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DatasetError: the file is missing, truncated or no image; it is named.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16 or 32 bits of gray, which Pillow would cut at 255
                gray = np.asarray(image).astype(np.int64) >> 8 if image.mode != "I" else _scaled(np.asarray(image))
                image = Image.fromarray(gray.clip(0, 255).astype(np.uint8))
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"image {path} cannot be read: {error}. Repair it, or take it out of the data set."
        ) from error


def _scaled(gray: np.ndarray) -> np.ndarray:
    """32-bit gray as old Pillow reads 16-bit files: scaled by 256 when it needs more than 8 bits."""
    return gray >> 8 if gray.max(initial=0) > 255 else gray
