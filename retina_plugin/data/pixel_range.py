"""Measure the pixel range of a training set, for ``PIXEL_RANGE: auto``."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.headers import INPUT, Header
from retina_plugin.data.images import Range, scale_to_uint8, stored_values
from retina_plugin.data.read_headers import THREADS

PERCENTILES = (0.1, 99.9)
MAX_IMAGES = 200  # number of images to decode
MAX_VALUES = 10_000  # number of values per image
MIN_LEVELS = 8  # a warning lists images with fewer gray levels


def measure_pixel_range(headers: Sequence[Header], *, max_pixels: int) -> tuple[Range, str]:
    """Return the 0.1 and 99.9 percentiles of the values of training images.

    At most 200 images and 10000 values of each are sampled, with a fixed seed. If both percentiles
    are equal, as in nearly empty images, minimum and maximum are used.

    Args:
        headers: headers of the training images, of which at least one needs a range; the others are
            skipped.
        max_pixels: see :func:`retina_plugin.data.read_image`.

    Returns:
        (low, high), and a text to print; it includes a warning if images keep fewer than 8 gray
        levels.

    Raises:
        DatasetError: an image cannot be decoded, or all sampled values are equal.
    """
    paths = sorted({header.path for header in headers if header.pixels.needs_range})
    chosen = np.sort(np.random.default_rng(0).permutation(len(paths))[:MAX_IMAGES])
    with ThreadPoolExecutor(THREADS) as pool:
        samples = list(
            pool.map(partial(_sample, max_pixels=max_pixels), [paths[i] for i in chosen])
        )
    pooled = np.concatenate(samples)
    low, high = np.percentile(pooled, PERCENTILES)
    if not low < high:
        low, high = pooled.min(), pooled.max()
    found = float(f"{low:.6g}"), float(f"{high:.6g}")
    if not found[0] < found[1]:
        raise DatasetError(
            f"{INPUT}.PIXEL_RANGE is auto, and the sampled values of {len(chosen)} of {len(paths)} "
            "training images such as "
            f"{paths[0]} are all {low:g}. Set it to [low, high]."
        )
    line = (
        f"pixel range: PIXEL_RANGE auto is [{found[0]:g}, {found[1]:g}], the {PERCENTILES[0]} and "
        f"{PERCENTILES[1]} percentiles of "
        f"{len(chosen)} of {len(paths)} training images with more than 8 bits or floats, at most "
        f"{MAX_VALUES} values of each"
    )
    return found, line + _low_contrast_warning([paths[i] for i in chosen], samples, found)


def _sample(path: str, *, max_pixels: int) -> np.ndarray:
    values = stored_values(path, max_pixels=max_pixels).reshape(-1)
    if len(values) > MAX_VALUES:
        values = values[np.random.default_rng(0).integers(0, len(values), MAX_VALUES)]
    return values.astype(np.float64)


def _low_contrast_warning(
    paths: Sequence[str], samples: Sequence[np.ndarray], pixel_range: Range
) -> str:
    """Return a warning about images that lose their contrast in the range.

    It happens in a mixture of, for example, 12-bit and float images.
    """
    low_contrast = [
        path
        for path, values in zip(paths, samples, strict=True)
        if len(np.unique(scale_to_uint8(values, pixel_range)))
        < MIN_LEVELS
        <= len(np.unique(values))
    ]
    if not low_contrast:
        return ""
    return (
        f"\nwarning: {len(low_contrast)} of these {len(paths)} images keep fewer than {MIN_LEVELS} "
        f"gray levels in this range, first {low_contrast[0]}: look at them, or set "
        f"{INPUT}.PIXEL_RANGE"
    )
