"""Recognise copies that were made so bright that areas became white and lost their structure.

The darker image is brightened as the other one was: gain and offset are fitted to the pixels that
are not white in the brighter image, and the result is clipped at white. Then the two are compared
where they are not both white.
"""

from __future__ import annotations

import numpy as np

from retina_plugin.data.grey_structure import (
    is_similar,
    low_frequencies,
    means_of_windows,
    normalised,
    quad_means,
    variances_of_windows,
)

WHITE = 240.0  # a 32 x 32 pixel with this grey value may have white pixels of the image
# a window is white in both images if its mean has this value in the brighter image, and almost in
# the darker one after brightening: where only some pixels are white, its brightness is too low
WHITE_WINDOW, ALMOST_WHITE = 235.0, 225.0
BRIGHTER = 4.0  # smallest difference of the means; photographs of a fixed camera differ less
STRUCTURED = 0.3  # smallest share of pixels that are not white
GAINS = (0.8, 2.5)
CORRELATION = 0.95  # of the low frequencies, after brightening


def has_white(greys: np.ndarray) -> np.ndarray:
    """Return (N,) whether images may have white areas, and enough other pixels."""
    white = greys >= WHITE
    found: np.ndarray = white.any((1, 2)) & (white.mean((1, 2)) <= 1 - STRUCTURED)
    return found


def are_brightened(darker: np.ndarray, brighter: np.ndarray) -> np.ndarray:
    """Return (P,) whether each brighter image is a copy of the darker one.

    Args:
        darker, brighter: (P, 32, 32) float grey values in 0..255. The means of a pair differ by at
            least :data:`BRIGHTER`, and the second image has white areas.
    """
    gain, offset = _fit(quad_means(darker), quad_means(brighter))
    predicted = np.clip(gain * darker + offset, 0, 255)
    usual: np.ndarray = (gain >= GAINS[0]) & (gain <= GAINS[1])
    found: np.ndarray = usual[:, 0, 0] & _agree(predicted, brighter)
    return found


def _fit(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return gain and offset (P, 1, 1) with b = gain * a + offset, fitted by least squares to the
    pixels that are not white in ``b``."""
    dark = (b < WHITE).astype(np.float32)
    count = np.maximum(dark.sum((1, 2), keepdims=True), 1)
    mean_a, mean_b = ((x * dark).sum((1, 2), keepdims=True) / count for x in (a, b))
    products, squares = (((a - mean_a) * d * dark).sum((1, 2), keepdims=True) for d in (b, a))
    squares -= mean_a * ((a - mean_a) * dark).sum((1, 2), keepdims=True)
    gain = products / np.maximum(squares, 1e-6)
    return gain, mean_b - gain * mean_a


def _agree(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (P,) whether images of equal brightness have the same structure, but for white."""
    scale = np.maximum(b.var((1, 2), keepdims=True), 1e-6)
    variances = (variances_of_windows(x) / scale for x in (a - b, a, b))
    difference, variance_a, variance_b = variances
    white = means_of_windows(quad_means(b)) >= WHITE_WINDOW
    white &= means_of_windows(quad_means(a)) >= ALMOST_WHITE
    agree = is_similar(difference, variance_a + variance_b) | white
    similar: np.ndarray = np.all(agree, axis=(1, 2))
    low = (low_frequencies(normalised(x)) for x in (a[similar], b[similar]))
    similar[similar] = np.multiply(*low).sum(1) >= CORRELATION
    return similar
