"""Find near-copies: images of the same content in another quality, size or brightness.

Images are compared by their grey versions of 32 x 32 pixels, each normalised to mean 0 and standard
deviation 1. Two images are near-copies if

- the correlation of their low frequencies is at least 0.95. The frequencies are the lowest 16 x 16
  of the cosine transform, each multiplied by its distance from 0, so that fine structure counts as
  much as large areas;
- they agree everywhere: in each window of 4 x 4 pixels, the structural similarity
  (2 cov + 0.05) / (var + var + 0.05) is at least 0.9. So two photographs of a fixed camera are not
  near-copies if an object moves.

Source of the similarity: Wang, Bovik, Sheikh, Simoncelli: Image quality assessment, 2004. All pairs
are compared, so no near-copy is missed; the first criterion is a product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from retina_plugin.data.thumbnails import SIDE

FREQUENCIES = 16  # in each direction
CORRELATION = 0.95
SIMILARITY = 0.9
STABILITY = 0.05  # share of the variance of the image; smaller variances in a window count little
ROWS = 1024  # images that are compared with all others at once
PAIRS = 4096  # pairs whose windows are compared at once

Grey = np.ndarray | None
Pair = tuple[int, int]


def near_copies(greys: Sequence[Grey]) -> list[Pair]:
    """Return all pairs (i, j) of near-copies with i < j, sorted.

    5000 images take about half a second, and twice as many four times as long.

    Args:
        greys: (32, 32) grey values of each image, see
            :class:`retina_plugin.data.thumbnails.Thumbnail`; None for an image that has no
            near-copies.
    """
    images = _Described.of(greys)
    return list(_pairs(images, images))


def near_copies_between(first: Sequence[Grey], second: Sequence[Grey]) -> list[Pair]:
    """Return all pairs (index in ``first``, index in ``second``) of near-copies, sorted; see
    :func:`near_copies`."""
    return list(_pairs(_Described.of(first), _Described.of(second)))


@dataclass(frozen=True)
class _Described:
    """N images in the form in which they are compared.

    Attributes:
        places: (N,) index of each image in the user's list.
        frequencies: (N, 256) weighted frequencies with norm 1.
        pixels: (N, 32, 32) normalised grey values.
        means, variances: (N, 15, 15) of the windows.
    """

    places: np.ndarray
    frequencies: np.ndarray
    pixels: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, greys: Sequence[Grey]) -> _Described:
        places = [place for place, grey in enumerate(greys) if grey is not None]
        pixels = np.array([greys[place] for place in places], np.float32).reshape(-1, SIDE, SIDE)
        pixels -= pixels.mean((1, 2), keepdims=True)
        pixels /= np.maximum(pixels.std((1, 2), keepdims=True), 1e-6)
        low = (_COSINES @ pixels @ _COSINES.T * _WEIGHTS).reshape(-1, FREQUENCIES**2)
        low /= np.maximum(np.linalg.norm(low, axis=1, keepdims=True), 1e-6)
        means = _window_means(pixels)
        return cls(np.array(places, int), low, pixels, means, _window_means(pixels**2) - means**2)


def _cosines() -> np.ndarray:
    """Return the lowest rows of the orthonormal cosine transform (DCT-II)."""
    rows = np.cos(np.pi / SIDE * np.outer(np.arange(FREQUENCIES), np.arange(SIDE) + 0.5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


_COSINES = _cosines()
_WEIGHTS = np.hypot(*np.indices((FREQUENCIES, FREQUENCIES))).astype(np.float32)


def _window_means(values: np.ndarray) -> np.ndarray:
    """Return (N, 15, 15) means of the windows of 4 x 4 pixels, 2 pixels apart."""
    half = SIDE // 2
    quads = values.reshape(-1, half, 2, half, 2).mean((2, 4))
    rows = quads[:, :-1] + quads[:, 1:]
    means: np.ndarray = (rows[:, :, :-1] + rows[:, :, 1:]) / 4
    return means


def _pairs(first: _Described, second: _Described) -> Iterator[Pair]:
    """Yield the pairs; of a list with itself, each pair once."""
    for start in range(0, len(first.places), ROWS):
        correlation = first.frequencies[start : start + ROWS] @ second.frequencies.T
        high = correlation >= CORRELATION
        rows, columns = np.nonzero(np.triu(high, start + 1) if first is second else high)
        for part in range(0, len(rows), PAIRS):
            a, b = start + rows[part : part + PAIRS], columns[part : part + PAIRS]
            similar = _agree_everywhere(first, a, second, b)
            places = first.places[a[similar]], second.places[b[similar]]
            yield from zip(*(found.tolist() for found in places), strict=True)


def _agree_everywhere(
    first: _Described, a: np.ndarray, second: _Described, b: np.ndarray
) -> np.ndarray:
    """Return (P,) bool for the pairs of images ``a`` (P,) of ``first`` and ``b`` of ``second``."""
    covariances = _window_means(first.pixels[a] * second.pixels[b])
    covariances -= first.means[a] * second.means[b]
    variances = first.variances[a] + second.variances[b]
    similarity = (2 * covariances + STABILITY) / (variances + STABILITY)
    similar: np.ndarray = similarity.min((1, 2)) >= SIMILARITY
    return similar
