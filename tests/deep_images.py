"""Write image files with more than 8 bits per channel, independently of the code under test."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

cv2 = pytest.importorskip("cv2")

NUMBERS = {"u": 1, "i": 2, "f": 3, "c": 6}  # kind of a NumPy type -> TIFF's SampleFormat


def write_tiff(
    path: Path, values: np.ndarray, *, photometric: int | None = None, orientation: int = 1
) -> None:
    """Write (H, W) or (H, W, C) values of any type as an uncompressed TIFF.

    Args:
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK; None chooses 1 or 2 by the
            number of axes.
        orientation: EXIF's orientation, 1 to 8.
    """
    height, width, channels = (*values.shape, 1)[:3]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[256], tags[257], tags[258], tags[259] = width, height, (values.itemsize * 8,) * channels, 1
    tags[262] = photometric if photometric is not None else min(values.ndim - 1, 2)
    tags[273], tags[274], tags[277], tags[278] = 0, orientation, channels, height
    tags[279], tags[339] = values.nbytes, (NUMBERS[values.dtype.kind],) * channels
    if channels > 3 and tags[262] == 2:
        tags[338] = (0,) * (channels - 3)
    head = io.BytesIO()
    tags.save(head)
    path.write_bytes(head.getvalue() + values.tobytes())


def write_png16(path: Path, values: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) RGB uint16 values as a PNG."""
    written = cv2.imencode(
        ".png", values if values.ndim == 2 else np.ascontiguousarray(values[..., ::-1])
    )[1]
    path.write_bytes(written.tobytes())


def deepen(path: Path, factor: int) -> None:
    """Turn an 8-bit image file into a 16-bit PNG of the same name with its values times
    ``factor``."""
    write_png16(path, np.asarray(Image.open(path).convert("RGB")).astype(np.uint16) * factor)
