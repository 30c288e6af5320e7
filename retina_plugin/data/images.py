"""Image files as arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from retina_plugin.data.errors import DatasetError

ORIENTATION = 0x0112  # EXIF tag
UPRIGHT = {  # its value -> what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: str) -> np.ndarray:
    """Read any image file that Pillow knows.

    Args:
        path: EXIF orientation is applied; grayscale and palette images get three channels, 16 bits are scaled to 8, alpha is dropped.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DatasetError: the file is missing, truncated or no image; it is named.
    """
    with _opened(path) as file:
        image = _upright(file)
        if image.mode.startswith("I"):  # more than 8 bits of gray, which Pillow would cut at 255
            gray = np.asarray(image).astype(np.int64) >> 8
            image = Image.fromarray(gray.clip(0, 255).astype(np.uint8))
        return np.asarray(image.convert("RGB"))


def image_size(path: str) -> tuple[int, int]:
    """(width, height) of an image file as :func:`read_image` reads it. Pixels are decoded only where EXIF turns them.

    Raises:
        DatasetError: the file is missing or no image; it is named.
    """
    with _opened(path) as file:
        return file.size if _orientation(file) not in UPRIGHT else _upright(file).size


def read_record(record: Mapping[str, Any]) -> np.ndarray:
    """The image of a record, as :func:`read_image` gives it.

    Args:
        record: "file_name"; "height" and "width", if it has them, are compared with the file.

    Raises:
        DatasetError: it cannot be read, or has another size than the annotations say.
    """
    image = read_image(record["file_name"])
    height, width = image.shape[:2]
    expected = record.get("height", height), record.get("width", width)
    if (height, width) != expected:
        raise DatasetError(
            f"image {record['file_name']} is {width}x{height} pixels, its annotations say {expected[1]}x{expected[0]}: "
            "its boxes cannot be placed. Correct width and height in the JSON (they count after EXIF rotation)."
        )
    return image


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as file:
            yield file
    except Exception as error:  # what Pillow's decoders raise on broken files has no common base
        reason = str(error) or type(error).__name__
        raise DatasetError(f"image {path} cannot be read: {reason}. Repair it, or leave it out.") from error


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # broken EXIF data is no reason to lose a picture
        return None


def _upright(file: Image.Image) -> Image.Image:
    """The picture, turned as its EXIF orientation says.

    Pillow's own ``exif_transpose`` also writes the EXIF data anew, which fails where cameras and editors wrote it wrongly.
    """
    file.load()  # a TIFF file is turned by this and its orientation is gone then
    turn = UPRIGHT.get(_orientation(file))
    return file if turn is None else file.transpose(turn)
