"""Describe the structure of small grey images: low frequencies, and the similarity of windows.

Grey images are (N, 32, 32), see :class:`retina_plugin.data.thumbnails.Thumbnail`. Windows have 4 x
4 pixels and lie 2 pixels apart, so an image has 15 x 15.
"""

from __future__ import annotations

import numpy as np

from retina_plugin.data.thumbnails import SIDE

FREQUENCIES = 16  # in each direction
SIMILARITY = 0.9
STABILITY = 0.05  # share of the variance of the image; smaller variances in a window count little


def normalised(greys: np.ndarray) -> np.ndarray:
    """Return the images with mean 0 and standard deviation 1."""
    pixels: np.ndarray = greys - greys.mean((1, 2), keepdims=True)
    pixels /= np.maximum(pixels.std((1, 2), keepdims=True), 1e-6)
    return pixels


def low_frequencies(pixels: np.ndarray) -> np.ndarray:
    """Return (N, 256): the lowest 16 x 16 frequencies of the cosine transform, each multiplied by
    its distance from 0, so that fine structure counts as much as large areas; scaled to norm 1."""
    low: np.ndarray = (_COSINES @ pixels @ _COSINES.T * _WEIGHTS).reshape(-1, FREQUENCIES**2)
    low /= np.maximum(np.linalg.norm(low, axis=1, keepdims=True), 1e-6)
    return low


def _cosines() -> np.ndarray:
    """Return the lowest rows of the orthonormal cosine transform (DCT-II)."""
    rows = np.cos(np.pi / SIDE * np.outer(np.arange(FREQUENCIES), np.arange(SIDE) + 0.5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


_COSINES = _cosines()
_WEIGHTS = np.hypot(*np.indices((FREQUENCIES, FREQUENCIES))).astype(np.float32)


def quad_means(pixels: np.ndarray) -> np.ndarray:
    """Return (N, 16, 16) means of the quads, 2 x 2 pixels. A window has 2 x 2 quads."""
    rows = pixels[:, ::2] + pixels[:, 1::2]
    means: np.ndarray = (rows[:, :, ::2] + rows[:, :, 1::2]) / 4
    return means


def means_of_windows(quads: np.ndarray) -> np.ndarray:
    """Return (N, 15, 15) means of the windows of ``quads`` (N, 16, 16)."""
    rows = quads[:, :-1] + quads[:, 1:]
    means: np.ndarray = (rows[:, :, :-1] + rows[:, :, 1:]) / 4
    return means


def variances_of_windows(pixels: np.ndarray) -> np.ndarray:
    """Return (N, 15, 15) variances of the windows of ``pixels`` (N, 32, 32)."""
    means = means_of_windows(quad_means(pixels))
    variances: np.ndarray = means_of_windows(quad_means(pixels**2)) - means**2
    return variances


def is_similar(difference: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return whether windows of two images have a structural similarity of at least 0.9.

    The similarity is (2 cov + 0.05) / (var + var + 0.05), which is 1 - var of the difference /
    (var + var + 0.05). Source: Wang, Bovik, Sheikh, Simoncelli: Image quality assessment, 2004.

    Args:
        difference: the variance of the difference of the images in each window.
        variance: the sum of their variances in each window. Both are shares of the variance of a
            whole image.
    """
    similar: np.ndarray = difference <= (1 - SIMILARITY) * (variance + STABILITY)
    return similar
