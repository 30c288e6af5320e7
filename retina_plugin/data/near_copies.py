"""Find near-copies: images of the same content in another quality, size or brightness.

Images are compared by their grey versions of 32 x 32 pixels, each normalised to mean 0 and standard
deviation 1. Two images are near-copies if

- the correlation of their low frequencies is at least 0.95;
- they agree everywhere: in each window of 4 x 4 pixels, the structural similarity is at least 0.9.
  So two photographs of a fixed camera are not near-copies if an object moves.

See :mod:`retina_plugin.data.grey_structure` for both. Copies in which areas became white are
compared by :mod:`retina_plugin.data.brightened_copies`. All pairs are compared, so no near-copy is
missed; the correlations are a product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from retina_plugin.data.brightened_copies import BRIGHTER, are_brightened, has_white
from retina_plugin.data.grey_structure import (
    is_similar,
    low_frequencies,
    means_of_windows,
    normalised,
    quad_means,
    variances_of_windows,
)
from retina_plugin.data.thumbnails import SIDE

CORRELATION = 0.95
CORRELATION_WHITE = 0.9  # of pairs in which an image has white areas
ROWS = 1024  # images that are compared with all others at once
PAIRS = 512  # pairs whose windows are compared at once; more do not fit into the cache

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
        greys: (N, 32, 32) grey values.
        brightness: (N,) mean grey value.
        has_white: (N,) whether the image has white areas.
        frequencies: (N, 256) weighted frequencies with norm 1.
        pixels: (N, 32, 32) normalised grey values.
        quads: (N, 16, 16) means of 2 x 2 of these.
        variances: (N, 15, 15) of the windows.
    """

    places: np.ndarray
    greys: np.ndarray
    brightness: np.ndarray
    has_white: np.ndarray
    frequencies: np.ndarray
    pixels: np.ndarray
    quads: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, greys: Sequence[Grey]) -> _Described:
        places = [place for place, grey in enumerate(greys) if grey is not None]
        values = np.array([greys[place] for place in places], np.float32).reshape(-1, SIDE, SIDE)
        pixels = normalised(values)
        return cls(
            np.array(places, int),
            values,
            values.mean((1, 2)),
            has_white(values),
            low_frequencies(pixels),
            pixels,
            quad_means(pixels),
            variances_of_windows(pixels),
        )


def _pairs(first: _Described, second: _Described) -> Iterator[Pair]:
    """Yield the pairs; of a list with itself, each pair once."""
    for start in range(0, len(first.places), ROWS):
        rows = slice(start, start + ROWS)
        correlation = first.frequencies[rows] @ second.frequencies.T
        white = first.has_white[rows, None] | second.has_white
        high = correlation >= np.where(white, CORRELATION_WHITE, CORRELATION)
        found, columns = np.nonzero(np.triu(high, start + 1) if first is second else high)
        for part in range(0, len(found), PAIRS):
            a, b = found[part : part + PAIRS], columns[part : part + PAIRS]
            similar = correlation[a, b] >= CORRELATION
            a += start
            similar[similar] = _agree_everywhere(first, a[similar], second, b[similar])
            similar |= _are_brightened(first, a, second, b, ~similar)
            similar |= _are_brightened(second, b, first, a, ~similar)
            places = first.places[a[similar]], second.places[b[similar]]
            yield from zip(*(found.tolist() for found in places), strict=True)


def _agree_everywhere(
    first: _Described, a: np.ndarray, second: _Described, b: np.ndarray
) -> np.ndarray:
    """Return (P,) bool for the pairs of images ``a`` (P,) of ``first`` and ``b`` of ``second``."""
    variance = first.variances[a] + second.variances[b]
    quads = first.quads[a] - second.quads[b]
    # the variance between the quads of a window is at most that of the window, and faster
    between = means_of_windows(quads**2) - means_of_windows(quads) ** 2
    similar: np.ndarray = np.all(is_similar(between, variance), axis=(1, 2))
    a, b = a[similar], b[similar]
    difference = variances_of_windows(first.pixels[a] - second.pixels[b])
    similar[similar] = np.all(is_similar(difference, variance[similar]), axis=(1, 2))
    return similar


def _are_brightened(
    first: _Described, a: np.ndarray, second: _Described, b: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Return (P,) bool: whether image ``b`` of ``second`` is a brightened copy of image ``a`` of
    ``first``; False for pairs that are not ``wanted`` (P,)."""
    brighter = second.brightness[b] - first.brightness[a] >= BRIGHTER
    found: np.ndarray = wanted & second.has_white[b] & brighter
    found[found] = are_brightened(first.greys[a[found]], second.greys[b[found]])
    return found
