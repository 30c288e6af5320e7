"""Image files as arrays.

8-bit images stay as they are. Values of more bits, signed values and floats have no fixed relation
to 0..255, so reading them needs a range: ``MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.finite import is_number
from retina_plugin.data.headers import (
    INPUT,
    MAX_PIXELS,
    ORIENTATION,
    ImageSource,
    exif_orientation,
    open_image,
    read_header,
    reraise_as_dataset_error,
)
from retina_plugin.data.opencv import import_opencv

__all__ = [
    "ORIENTATION",
    "image_options",
    "image_size",
    "read_header",
    "read_image",
    "read_record",
    "stored_values",
]

Range = tuple[float, float]  # low becomes 0, high becomes 255

UPRIGHT = {  # EXIF's orientation -> what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(
    path: str, *, pixel_range: Range | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Read any image file that Pillow knows; images of more than 8 bits also where only OpenCV
    keeps all of them.

    EXIF orientation is applied; grayscale and palette images get three channels; alpha, as a second
    or fourth channel, is dropped. Of several pages or frames the first is read.

    Args:
        path: of a regular file.
        pixel_range: (low, high) of images of more than 8 bits and of floats: low becomes 0, high
            becomes 255, values between are spread evenly and those outside are clipped. (0, 65535)
            takes the upper 8 of 16 bits. 8-bit images are not changed by it, but it is checked.
        max_pixels: width x height at most.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DatasetError: the file is missing, truncated or no image, has more than four channels or too
            many pixels, needs a range and has none, or has NaN or infinite values; it is named.
        ValueError: ``pixel_range`` is no range.
    """
    if pixel_range is not None:
        _require_range(pixel_range)
    with open_image(path) as source:
        _require_readable(source, max_pixels)
        if not source.pixels.needs_range:
            with reraise_as_dataset_error(path):
                return np.asarray(_upright(_by_pillow(source)).convert("RGB"))
        if pixel_range is None:
            raise DatasetError(missing_range_message(path, source.pixels))
        values = _stored_values(source)
    image = scale_to_uint8(values, pixel_range)
    image = 255 - image if source.pixels.inverted else image
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _require_range(pixel_range: Any) -> None:
    """Make sure that a range is two finite numbers, the lower first."""
    pair = isinstance(pixel_range, (tuple, list, np.ndarray)) and len(pixel_range) == 2
    plain = [v.item() if isinstance(v, np.number) else v for v in pixel_range] if pair else []
    if pair and all(map(is_number, plain)) and 0 < float(plain[1]) - float(plain[0]) < math.inf:
        return
    raise ValueError(
        f"pixel_range: expected (low, high), two finite numbers with low below high, or None; "
        f"found {pixel_range!r}"
    )


def stored_values(path: str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The values of an image that needs a range, as its file has them.

    Returns:
        (H, W) or (H, W, 3) RGB, upright, integers or floats.

    Raises:
        DatasetError: as :func:`read_image`.
    """
    with open_image(path) as source:
        _require_readable(source, max_pixels)
        return _stored_values(source)


def image_size(path: str) -> tuple[int, int]:
    """(width, height) of an image file as :func:`read_image` reads it; see :func:`read_header`."""
    header = read_header(path)
    return header.width, header.height


def read_record(
    record: Mapping[str, Any], *, pixel_range: Range | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """The image of a record, as :func:`read_image` gives it.

    Args:
        record: "file_name"; "height" and "width", if it has them, are compared with the file.
        pixel_range, max_pixels: see :func:`read_image`.

    Raises:
        DatasetError: it cannot be read, or has another size than the annotations say.
    """
    image = read_image(record["file_name"], pixel_range=pixel_range, max_pixels=max_pixels)
    require_size(record, width=image.shape[1], height=image.shape[0])
    return image


def require_size(record: Mapping[str, Any], *, width: int, height: int) -> None:
    """Compare the size of a record's file with its annotations.

    Raises:
        DatasetError: they differ.
    """
    expected = record.get("height", height), record.get("width", width)
    if (height, width) != expected:
        raise DatasetError(
            f"image {record['file_name']} is {width}x{height} pixels, its annotations say "
            f"{expected[1]}x{expected[0]}: "
            "its boxes cannot be placed. Correct width and height in the JSON (they count after "
            "EXIF rotation)."
        )


def image_options(cfg: Any) -> dict[str, Any]:
    """The arguments of :func:`read_image` and :func:`read_record` that a config sets."""
    node = cfg.MODEL.RETINA_PLUGIN.INPUT
    pixel_range = None if node.PIXEL_RANGE == "auto" else tuple(node.PIXEL_RANGE)
    return {"pixel_range": pixel_range, "max_pixels": node.MAX_PIXELS}


def missing_range_message(path: str, pixels: Any) -> str:
    """What to say of an image that needs a range and has none."""
    return (
        f"image {path} is a {pixels}: which of its values are black and white is not known. Set "
        f"{INPUT}.PIXEL_RANGE to [low, high] "
        "(auto measures them in the training set), or call read_image(path, pixel_range=(low, "
        "high))."
    )


def require_channels_and_size(
    path: str, pixels: Any, width: int, height: int, max_pixels: int
) -> None:
    """Compare a header with what can be read.

    Raises:
        DatasetError: too many channels or pixels, or numbers of a kind that is no image.
    """
    if width * height > max_pixels:
        raise DatasetError(
            f"image {path} has {width}x{height} = {width * height} pixels, {INPUT}.MAX_PIXELS "
            f"allows {max_pixels}: "
            "raise it, or make the image smaller."
        )
    strange = pixels.needs_range and pixels.colour not in ("gray", "RGB")
    if pixels.channels > 4 or strange or pixels.number == "complex":
        raise DatasetError(
            f"image {path} is a {pixels}: expected gray or RGB, each with or without alpha (at "
            "most 4 channels). "
            "Write the channels that the model shall see as an RGB image."
        )


def _require_readable(source: ImageSource, max_pixels: int) -> None:
    require_channels_and_size(source.path, source.pixels, *source.stored_size, max_pixels)


def _by_pillow(source: ImageSource) -> Image.Image:
    if source.image is None:
        raise OSError(f"Pillow does not know this kind of TIFF, a {source.pixels}")
    return source.image


def _upright(file: Image.Image) -> Image.Image:
    """The picture, turned as its EXIF orientation says.

    Pillow's own ``exif_transpose`` also writes the EXIF data anew, which fails where cameras and
    editors wrote it wrongly.
    """
    file.load()  # a TIFF file is turned by this and its orientation is gone then
    turn = UPRIGHT.get(exif_orientation(file))
    return file if turn is None else file.transpose(turn)


def _stored_values(source: ImageSource) -> np.ndarray:
    """(H, W) or (H, W, 3), upright."""
    pixels = source.pixels
    with reraise_as_dataset_error(source.path):
        values = _decoded(source)
    if pixels.number == "float":
        bad = values.size - int(np.isfinite(values).sum())
        if bad:
            raise DatasetError(
                f"image {source.path} has {bad} of {values.size} values that are NaN or infinite: "
                "replace them, or leave it out."
            )
    return values


def _decoded(source: ImageSource) -> np.ndarray:
    image, pixels = source.image, source.pixels
    # Pillow cuts colour to 8 bits and scales values of PPM files.
    if image is None or pixels.channels > 1 or (image.format == "PPM" and image.mode != "F"):
        values = _by_opencv(source)
    else:
        values = np.asarray(_upright(image))
        if (
            values.dtype.itemsize * 8 == pixels.bits and pixels.number != "float"
        ):  # signed and unsigned look alike to Pillow
            values = values.view(
                f"{'i' if pixels.number == 'signed' else 'u'}{values.dtype.itemsize}"
            )
    return values


def _by_opencv(source: ImageSource) -> np.ndarray:
    cv2 = import_opencv(f"a {source.pixels}")
    source.raw.seek(0)
    found = cv2.imdecode(np.frombuffer(source.raw.read(), dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype.itemsize * 8 < source.pixels.bits:
        raise OSError(f"neither Pillow nor OpenCV decodes all bits of a {source.pixels}")
    if found.ndim == 3:
        found = found[:, :, 2::-1]  # BGR, and alpha last
    if source.pixels.format == "TIFF":  # OpenCV has turned it
        return found
    turn = UPRIGHT.get(source.orientation())
    return found if turn is None else _turned(found, turn)


def _turned(values: np.ndarray, turn: Image.Transpose) -> np.ndarray:
    """Pillow's ``transpose`` for any array (H, W, ...)."""
    turned = {
        Image.Transpose.FLIP_LEFT_RIGHT: lambda a: a[:, ::-1],
        Image.Transpose.ROTATE_180: lambda a: a[::-1, ::-1],
        Image.Transpose.FLIP_TOP_BOTTOM: lambda a: a[::-1],
        Image.Transpose.TRANSPOSE: lambda a: a.swapaxes(0, 1),
        Image.Transpose.ROTATE_270: lambda a: np.rot90(a, -1),
        Image.Transpose.TRANSVERSE: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        Image.Transpose.ROTATE_90: np.rot90,
    }
    return turned[turn](values)


def scale_to_uint8(values: np.ndarray, pixel_range: Range) -> np.ndarray:
    """Spread a range over 0..255."""
    low, high = pixel_range
    if values.dtype == np.uint16:
        return _table(float(low), float(high))[values]
    return _spread(values, low, high)


@lru_cache(maxsize=4)
def _table(low: float, high: float) -> np.ndarray:
    return _spread(np.arange(1 << 16), low, high)


def _spread(values: np.ndarray, low: float, high: float) -> np.ndarray:
    # 256 equal steps, so that a range of 0..65535 takes the upper 8 of 16 bits exactly.
    steps = np.floor((values.astype(np.float64) - low) * 256 / (high - low))
    return steps.clip(0, 255).astype(np.uint8)
