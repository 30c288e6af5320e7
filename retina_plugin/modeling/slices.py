"""Cut large images into overlapping square slices, as SAHI does (arXiv 2202.06934)."""

from __future__ import annotations

Window = tuple[int, int, int, int]  # top, left, height, width in pixels of the image


def slice_windows(height: int, width: int, *, size: int, overlap: float) -> list[Window]:
    """Return the slices that cover an image, row by row.

    Neighbouring slices overlap by ``overlap * size`` pixels, rounded down. The last slice of a row
    or column is shifted to end at the border of the image, so all slices have the same size.

    Args:
        height, width: the size of the image in pixels.
        size: the side of a slice in pixels. In a direction in which the image is not larger, a
            slice spans the image.
        overlap: a fraction of ``size``, at least 0 and below 1.
    """
    return [
        (top, left, min(size, height), min(size, width))
        for top in _starts(height, size, overlap)
        for left in _starts(width, size, overlap)
    ]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    """Return the first pixel of each slice along one side of the image."""
    last = max(length - size, 0)
    return [*range(0, last, size - int(overlap * size)), last]
