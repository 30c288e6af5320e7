"""Read image files as arrays.

8-bit values are kept. Values of more bits, signed values and floats have no fixed relation to
0..255, so the config must give their range: ``MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from retina_plugin.data.decode import decode_jpeg
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

Range = tuple[float, float]  # (low, high), mapped to (0, 255)

TRANSPOSE_OF_ORIENTATION = {  # EXIF orientation -> operation that makes the stored image upright
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
    """Read an image file.

    Pillow decodes the file, or OpenCV if Pillow would lose bits; JPEG files are decoded by
    :func:`retina_plugin.data.decode.decode_jpeg`, with the same pixels. The EXIF orientation is
    applied. Grayscale and palette images get three channels; an alpha channel is dropped. Only the
    first page or frame is read.

    Args:
        path: a regular file.
        pixel_range: (low, high) of images with more than 8 bits, signed values or floats. Values
            are mapped linearly, low to 0 and high to 255, and clipped. (0, 65535) keeps the upper 8
            of 16 bits. It is not used for 8-bit images.
        max_pixels: largest number of pixels, width x height.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DatasetError: the file is missing, truncated or not an image, has more than four channels or
            too many pixels, needs a range and ``pixel_range`` is None, has NaN or infinite values,
            or needs OpenCV, which is not installed.
        ValueError: ``pixel_range`` is not two finite numbers, the lower first.
    """
    if pixel_range is not None:
        _require_range(pixel_range)
    with open_image(path) as source:
        _require_readable(source, max_pixels)
        if not source.pixels.needs_range:
            with reraise_as_dataset_error(path):
                return _decode_8_bits(source)
        if pixel_range is None:
            raise MissingRangeError(path, source.pixels)
        values = _stored_values(source)
    image = scale_to_uint8(values, pixel_range)
    image = 255 - image if source.pixels.inverted else image
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _decode_8_bits(source: ImageSource) -> np.ndarray:
    """Return the upright image (H, W, 3) uint8 RGB of a file with 8 bits per channel."""
    image = _pillow_image(source)
    if image.format == "JPEG" and image.mode in ("RGB", "L"):
        source.raw.seek(0)
        found = decode_jpeg(source.raw.read())
        if found is not None:
            transpose = TRANSPOSE_OF_ORIENTATION.get(exif_orientation(image))
            return found if transpose is None else _transpose(found, transpose)
    return np.asarray(rotate_upright(image).convert("RGB"))


def _require_range(pixel_range: Any) -> None:
    """Raise a ValueError unless the range is two finite numbers, the lower first."""
    pair = isinstance(pixel_range, (tuple, list, np.ndarray)) and len(pixel_range) == 2
    plain = [v.item() if isinstance(v, np.number) else v for v in pixel_range] if pair else []
    if pair and all(map(is_number, plain)) and 0 < float(plain[1]) - float(plain[0]) < math.inf:
        return
    raise ValueError(
        f"pixel_range: expected (low, high), two finite numbers with low below high, or None; "
        f"found {pixel_range!r}"
    )


def stored_values(path: str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return the unscaled values of an image that needs a range.

    Returns:
        (H, W) or (H, W, 3) RGB, upright, integers or floats.

    Raises:
        DatasetError: as :func:`read_image`.
    """
    with open_image(path) as source:
        _require_readable(source, max_pixels)
        return _stored_values(source)


def image_size(path: str) -> tuple[int, int]:
    """Return the (width, height) that :func:`read_image` gives; errors as :func:`read_header`."""
    header = read_header(path)
    return header.width, header.height


def read_record(
    record: Mapping[str, Any], *, pixel_range: Range | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Read the image of a record, see :func:`read_image`.

    Args:
        record: a record with "file_name"; "height" and "width", if present, are compared with the
            file.
        pixel_range, max_pixels: see :func:`read_image`.

    Raises:
        DatasetError: the image cannot be read, or its size differs from that of the record.
    """
    image = read_image(record["file_name"], pixel_range=pixel_range, max_pixels=max_pixels)
    require_size(record, width=image.shape[1], height=image.shape[0])
    return image


def require_size(record: Mapping[str, Any], *, width: int, height: int) -> None:
    """Compare the size of an image with that in its record.

    Raises:
        DatasetError: the sizes differ.
    """
    expected = record.get("height", height), record.get("width", width)
    if (height, width) != expected:
        raise DatasetError(
            f"image {record['file_name']} is {width}x{height} pixels, its annotations say "
            f"{expected[1]}x{expected[0]}. Correct width and height in the JSON file (they are "
            "those after EXIF rotation)."
        )


def image_options(cfg: Any) -> dict[str, Any]:
    """Return the arguments of :func:`read_image` and :func:`read_record` from a config."""
    node = cfg.MODEL.RETINA_PLUGIN.INPUT
    pixel_range = None if node.PIXEL_RANGE == "auto" else tuple(node.PIXEL_RANGE)
    return {"pixel_range": pixel_range, "max_pixels": node.MAX_PIXELS}


class MissingRangeError(DatasetError):
    """An image needs a range of pixel values, and there is none.

    Attributes:
        path: the image.
        pixels: see :class:`retina_plugin.data.headers.PixelFormat`.
    """

    def __init__(self, path: str, pixels: Any) -> None:
        super().__init__(missing_range_message(path, pixels))
        self.path, self.pixels = path, pixels


def missing_range_message(path: str, pixels: Any) -> str:
    """Return the message for an image that needs a range and has none."""
    return (
        f"image {path} is a {pixels}: its values for black and white are unknown. Set "
        f"{INPUT}.PIXEL_RANGE to [low, high], or to auto to measure them in the training set, or "
        "call read_image(path, pixel_range=(low, high))."
    )


def require_channels_and_size(
    path: str, pixels: Any, width: int, height: int, max_pixels: int
) -> None:
    """Check that an image can be read.

    Args:
        path: the file, for messages.
        pixels: see :class:`retina_plugin.data.headers.PixelFormat`.
        width, height: the size of the image.
        max_pixels: see :func:`read_image`.

    Raises:
        DatasetError: too many channels or pixels, or an unsupported pixel format.
    """
    if width * height > max_pixels:
        raise DatasetError(
            f"image {path} has {width}x{height} = {width * height} pixels, {INPUT}.MAX_PIXELS "
            f"allows {max_pixels}: raise it, or make the image smaller."
        )
    other_colour = pixels.needs_range and pixels.colour not in ("gray", "RGB")
    if pixels.channels > 4 or other_colour or pixels.number == "complex":
        raise DatasetError(
            f"image {path} is a {pixels}: expected gray or RGB, each with or without alpha (at "
            "most 4 channels). "
            "Write the channels that the model should use as an RGB image."
        )


def _require_readable(source: ImageSource, max_pixels: int) -> None:
    require_channels_and_size(source.path, source.pixels, *source.stored_size, max_pixels)


def _pillow_image(source: ImageSource) -> Image.Image:
    if source.image is None:
        raise OSError(f"Pillow cannot read this kind of TIFF, a {source.pixels}")
    return source.image


def rotate_upright(file: Image.Image) -> Image.Image:
    """Apply the EXIF orientation of an image.

    Pillow's ``exif_transpose`` also writes the EXIF data again, which fails if it is invalid.
    """
    file.load()  # this rotates a TIFF image and removes its orientation
    transpose = TRANSPOSE_OF_ORIENTATION.get(exif_orientation(file))
    return file if transpose is None else file.transpose(transpose)


def _stored_values(source: ImageSource) -> np.ndarray:
    """Return the unscaled values, upright, (H, W) or (H, W, 3)."""
    pixels = source.pixels
    with reraise_as_dataset_error(source.path):
        values = _decode(source)
    if pixels.number == "float":
        bad = values.size - int(np.isfinite(values).sum())
        if bad:
            raise DatasetError(
                f"image {source.path} has {bad} of {values.size} values that are NaN or infinite: "
                "replace them, or leave it out."
            )
    return values


def _decode(source: ImageSource) -> np.ndarray:
    image, pixels = source.image, source.pixels
    # Pillow reduces colour images to 8 bits and scales the values of PPM files
    if image is None or pixels.channels > 1 or (image.format == "PPM" and image.mode != "F"):
        values = _decode_with_opencv(source)
    else:
        values = np.asarray(rotate_upright(image))
        if values.dtype.itemsize * 8 == pixels.bits and pixels.number != "float":
            # Pillow does not distinguish signed and unsigned values
            values = values.view(
                f"{'i' if pixels.number == 'signed' else 'u'}{values.dtype.itemsize}"
            )
    return values


def _decode_with_opencv(source: ImageSource) -> np.ndarray:
    cv2 = import_opencv(f"a {source.pixels}")
    source.raw.seek(0)
    found: np.ndarray | None = cv2.imdecode(
        np.frombuffer(source.raw.read(), dtype=np.uint8), cv2.IMREAD_UNCHANGED
    )
    if found is None or found.dtype.itemsize * 8 < source.pixels.bits:
        raise OSError(f"neither Pillow nor OpenCV decodes all bits of a {source.pixels}")
    if found.ndim == 3:
        found = found[:, :, 2::-1]  # BGR, and alpha last
    if source.pixels.format == "TIFF":  # OpenCV has applied the orientation
        return found
    transpose = TRANSPOSE_OF_ORIENTATION.get(source.orientation())
    return found if transpose is None else _transpose(found, transpose)


def _transpose(values: np.ndarray, transpose: Image.Transpose) -> np.ndarray:
    """Apply Pillow's ``transpose`` to any array (H, W, ...)."""
    functions: dict[Image.Transpose, Callable[[np.ndarray], np.ndarray]] = {
        Image.Transpose.FLIP_LEFT_RIGHT: lambda a: a[:, ::-1],
        Image.Transpose.ROTATE_180: lambda a: a[::-1, ::-1],
        Image.Transpose.FLIP_TOP_BOTTOM: lambda a: a[::-1],
        Image.Transpose.TRANSPOSE: lambda a: a.swapaxes(0, 1),
        Image.Transpose.ROTATE_270: lambda a: np.rot90(a, -1),
        Image.Transpose.TRANSVERSE: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        Image.Transpose.ROTATE_90: np.rot90,
    }
    return functions[transpose](values)


def scale_to_uint8(values: np.ndarray, pixel_range: Range) -> np.ndarray:
    """Map values to 0..255, see ``pixel_range`` of :func:`read_image`; the shape stays."""
    low, high = pixel_range
    if values.dtype == np.uint16:
        scaled: np.ndarray = _lookup_table(float(low), float(high))[values]
        return scaled
    return _scale(values, low, high)


@lru_cache(maxsize=4)
def _lookup_table(low: float, high: float) -> np.ndarray:
    return _scale(np.arange(1 << 16), low, high)


def _scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    # 256 equal steps: with the range 0..65535 the result is exactly the upper 8 of 16 bits
    steps = np.floor((values.astype(np.float64) - low) * 256 / (high - low))
    scaled: np.ndarray = steps.clip(0, 255).astype(np.uint8)
    return scaled
