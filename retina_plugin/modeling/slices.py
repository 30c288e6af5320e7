"""Cut large images into overlapping square slices, as SAHI does (arXiv 2202.06934)."""

from __future__ import annotations

Window = tuple[int, int, int, int]  # top, left, height, width in pixels of the image


def slice_windows(height: int, width: int, *, size: int, overlap: float) -> list[Window]:
    """Return the slices that cover an image, row by row.

    Neighbours share ``overlap * size`` pixels, rounded down. The last slice of a row or column is
    moved back into the image, so that all slices have the same size.

    Args:
        height, width: the size of the image in pixels.
        size: the side of a slice in pixels. An image with a shorter side has slices of that side;
            an image that is not larger in both directions is one slice.
        overlap: a fraction of ``size``, at least 0 and below 1.
    """
    return [
        (top, left, min(size, height), min(size, width))
        for top in _starts(height, size, overlap)
        for left in _starts(width, size, overlap)
    ]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    """Return where the slices along one side of the image start."""
    last = max(length - size, 0)
    return [*range(0, last, size - int(overlap * size)), last]
