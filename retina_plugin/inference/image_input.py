"""Convert the images that a user can give to one form, and describe those that cannot be used."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import Image, ImageFile
from torch import Tensor

from retina_plugin.data.headers import PixelFormat, read_header, reraise_as_dataset_error
from retina_plugin.data.images import Range, rotate_upright, scale_to_uint8

CHANNELS = (1, 3, 4)  # gray, RGB, RGB and alpha


def to_rgb(source: Any, *, pixel_range: Range | None) -> np.ndarray:
    """Convert an image to the form that files are read into.

    Gray images get three equal channels, and an alpha channel is dropped. The order of channels is
    taken to be RGB: blue and red in the wrong order, as OpenCV returns them, cannot be noticed.

    Args:
        source: a PIL image, whose EXIF orientation is applied; an array (H, W, 3), (H, W, 4),
            (H, W, 1) or (H, W); or a tensor (3, H, W), (4, H, W), (1, H, W) or (H, W). uint8, or
            other types if there is a ``pixel_range``.
        pixel_range: (low, high), see :func:`retina_plugin.data.read_image`; None if the model was
            trained on 8-bit images.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: another type, shape or range of values; the message says how to convert it.
        DatasetError: a PIL image whose file is broken.
    """
    if isinstance(source, Image.Image):
        return _from_pil(source, pixel_range)
    if isinstance(source, Tensor):
        values = source.detach().cpu()
        array = (values.float() if values.is_floating_point() else values).numpy()
        return _from_array(_channels_last(array, "tensor", "(3, H, W)"), "tensor", pixel_range)
    if isinstance(source, np.ndarray):
        return _from_array(_channels_last(source, "array", "(H, W, 3)"), "array", pixel_range)
    raise ValueError(
        "expected a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W) of RGB values, or "
        f"a list of them; found {type(source).__name__}"
    )


def _from_pil(image: Image.Image, pixel_range: Range | None) -> np.ndarray:
    path = getattr(image, "filename", "")
    with reraise_as_dataset_error(path or "given as PIL image"):
        lost = _lost_bits(image, path)
        upright = rotate_upright(image)
    if lost is not None:
        raise ValueError(
            f"expected an image whose values Pillow keeps, found a {lost} ({path}): give its path"
        )
    if not (upright.width and upright.height):
        raise ValueError(f"expected an image, found an empty PIL image of {image.size} pixels")
    if upright.mode.startswith(("I", "F")):  # more than 8 bits
        return _from_array(np.asarray(upright)[:, :, None], "array", pixel_range)
    return np.asarray(upright.convert("RGB"))


def _lost_bits(image: Image.Image, path: str) -> PixelFormat | None:
    """Return how the file of an image stores its pixels if Pillow changes them: it reduces colours
    of 16 bits to 8, and does not invert gray TIFF files of 16 bits in which 0 is white."""
    if not (isinstance(image, ImageFile.ImageFile) and path and os.path.isfile(path)):
        return None
    pixels = read_header(path).pixels
    is_changed = pixels.needs_range and (pixels.channels > 1 or pixels.inverted)
    return pixels if is_changed else None


def _channels_last(array: np.ndarray, kind: str, expected: str) -> np.ndarray:
    """Return an array (H, W, C) with 1, 3 or 4 channels."""
    found = f"of shape {tuple(array.shape)}"
    found, empty = f"{_with_article(kind)} {found}", f"an empty {kind} {found}"
    if array.ndim == 4:
        raise ValueError(f"expected one image {expected}, found a batch, {found}: give list(...)")
    if array.ndim not in (2, 3):
        raise ValueError(f"expected an image {expected}, found {found}")
    if not array.size:
        raise ValueError(f"expected an image {expected}, found {empty}")
    if array.ndim == 2:
        return array[:, :, None]
    is_last, is_first = array.shape[2] in CHANNELS, array.shape[0] in CHANNELS
    if kind == "tensor" and is_first:
        return np.moveaxis(array, 0, 2)
    if kind == "array" and is_last:
        return array
    hint = ""
    if kind == "tensor" and is_last:
        hint = ": its channels are last, give tensor.permute(2, 0, 1)"
    if kind == "array" and is_first:
        hint = ": its channels are first, give array.transpose(1, 2, 0)"
    raise ValueError(
        f"expected an image {expected}, or one with 1 or 4 channels, found {found}{hint}"
    )


def _from_array(array: np.ndarray, kind: str, pixel_range: Range | None) -> np.ndarray:
    """Return (H, W, 3) uint8 of (H, W, C)."""
    if array.dtype != np.uint8:
        if pixel_range is None or array.dtype.kind not in "uif":
            raise ValueError(f"expected uint8 values 0..255, found {_describe(array, kind)}")
        if not np.isfinite(array).all():
            raise ValueError(f"expected finite values, found {_describe(array, kind)}")
        if array.dtype.kind == "f":
            _require_scale(array, kind, pixel_range)
        array = scale_to_uint8(array, pixel_range)
    pixels = array[:, :, :3] if array.shape[2] > 1 else np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(pixels)


def _describe(array: np.ndarray, kind: str) -> str:
    """Describe the values of an array that are not uint8, and how to convert them."""
    found = f"{_with_article(kind)} of {array.dtype}"
    if array.dtype.kind not in "uif":
        return f"{found}: give the pixels of an image"
    if not np.isfinite(array).all():
        return f"{found} with values that are NaN or infinite"
    low, high = array.min(), array.max()
    found = f"{found} with values from {low:g} to {high:g}"
    to_uint8 = "astype(np.uint8)" if kind == "array" else "to(torch.uint8)"
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return f"{found}: multiply by 255, round, and convert with .{to_uint8}"
    if low >= 0 and high <= 255:
        return f"{found}: round, and convert with .{to_uint8}"
    if low < 0:
        return f"{found}: give the pixels before they are normalised"
    return (
        f"{found}: more than 8 bits. The model was trained on 8-bit images; scale the values to "
        f"0..255 as you want them to look, and convert with .{to_uint8}"
    )


def _require_scale(array: np.ndarray, kind: str, pixel_range: Range) -> None:
    """Refuse floats in 0..1, normalised values and 8-bit values where 16 bits are expected: they
    would all become one shade."""
    low, high = pixel_range
    if high - low > 255 and np.abs(array).max() * 256 < high - low:
        raise ValueError(
            f"expected values in the pixel range of the training, {low:g} to {high:g}, found "
            f"{_with_article(kind)} of {array.dtype} with values from {array.min():g} to "
            f"{array.max():g}, which would all be one shade: give the values of the image file"
        )


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind == "array" else f"a {kind}"
