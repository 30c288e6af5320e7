"""Measure which values of a training set's images are black and white: ``PIXEL_RANGE: auto``."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from retina_plugin.data.check_images import THREADS
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.headers import INPUT, Header
from retina_plugin.data.images import Range, scale_to_uint8, stored_values

PERCENTILES = (0.1, 99.9)
MAX_IMAGES = 200  # decoded
MAX_VALUES = 10_000  # of each image
FEW_LEVELS = 8  # an image with fewer grey levels has lost its contrast


def measure_pixel_range(headers: Sequence[Header], *, max_pixels: int) -> tuple[Range, str]:
    """The 0.1 and 99.9 percentiles of the values of at most 200 images, 10000 values of each, drawn
    with a fixed seed.

    Where both are one number, as in images that are nearly empty, it is the least and the largest
    value.

    Args:
        headers: of the training images; those that need no range are left out. One at least needs
            it.
        max_pixels: see :func:`retina_plugin.data.read_image`.

    Returns:
        (low, high) and a line for people; it tells of images that keep fewer than 8 grey levels.

    Raises:
        DatasetError: an image that cannot be decoded, or one value everywhere.
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
    return found, line + _flat_images([paths[i] for i in chosen], samples, found)


def _sample(path: str, *, max_pixels: int) -> np.ndarray:
    values = stored_values(path, max_pixels=max_pixels).reshape(-1)
    if len(values) > MAX_VALUES:
        values = values[np.random.default_rng(0).integers(0, len(values), MAX_VALUES)]
    return values.astype(np.float64)


def _flat_images(paths: Sequence[str], samples: Sequence[np.ndarray], pixel_range: Range) -> str:
    """A warning of images that the range takes the contrast from, as a mixture of 12-bit and float
    images has them."""
    flat = [
        path
        for path, values in zip(paths, samples, strict=True)
        if len(np.unique(scale_to_uint8(values, pixel_range)))
        < FEW_LEVELS
        <= len(np.unique(values))
    ]
    if not flat:
        return ""
    return (
        f"\nwarning: {len(flat)} of these {len(paths)} images keep fewer than {FEW_LEVELS} grey "
        f"levels in this range, first {flat[0]}: "
        f"look at them, or set {INPUT}.PIXEL_RANGE"
    )
