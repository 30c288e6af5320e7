"""The places of slices: by hand, by their rules, and compared with SAHI."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from retina_plugin.modeling.slices import Window, slice_windows


@pytest.mark.parametrize(
    ("height", "width", "size", "overlap", "expected"),
    [
        pytest.param(
            100, 250, 100, 0.2,
            [(0, 0, 100, 100), (0, 80, 100, 100), (0, 150, 100, 100)],
            id="steps of 80, the last moved back from 160",
        ),
        pytest.param(
            200, 100, 100, 0.0, [(0, 0, 100, 100), (100, 0, 100, 100)], id="no overlap"
        ),
        pytest.param(
            180, 180, 100, 0.2,
            [(0, 0, 100, 100), (0, 80, 100, 100), (80, 0, 100, 100), (80, 80, 100, 100)],
            id="fits exactly, row by row",
        ),
        pytest.param(
            50, 150, 100, 0.2, [(0, 0, 50, 100), (0, 50, 50, 100)], id="lower than a slice"
        ),
        pytest.param(100, 100, 100, 0.2, [(0, 0, 100, 100)], id="as large as a slice"),
        pytest.param(60, 40, 100, 0.2, [(0, 0, 60, 40)], id="smaller than a slice"),
        pytest.param(
            10, 25, 10, 0.29, [(0, 0, 10, 10), (0, 8, 10, 10), (0, 15, 10, 10)],
            id="an overlap of 2.9 pixels is 2",
        ),
    ],
)  # fmt: skip
def test_by_hand(
    height: int, width: int, size: int, overlap: float, expected: list[Window]
) -> None:
    assert slice_windows(height, width, size=size, overlap=overlap) == expected


SIZES = [(97, 301), (640, 512), (33, 33), (1000, 20)]


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.9])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_slices_cover_the_image(height: int, width: int, overlap: float) -> None:
    size = 64
    windows = slice_windows(height, width, size=size, overlap=overlap)
    assert len(set(windows)) == len(windows)
    covered = np.zeros((height, width), dtype=bool)
    for top, left, rows, columns in windows:
        assert (rows, columns) == (min(size, height), min(size, width))
        covered[top : top + rows, left : left + columns] = True
        assert 0 <= top <= height - rows
        assert 0 <= left <= width - columns
    assert covered.all()
    lefts = sorted({left for _, left, _, _ in windows})
    assert all(b - a <= size - int(overlap * size) for a, b in itertools.pairwise(lefts))


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_same_as_sahi(height: int, width: int, overlap: float) -> None:
    reference = pytest.importorskip("sahi.slicing").get_slice_bboxes
    theirs = reference(
        image_height=height, image_width=width, slice_height=64, slice_width=64,
        overlap_height_ratio=overlap, overlap_width_ratio=overlap,
    )  # fmt: skip
    ours = slice_windows(height, width, size=64, overlap=overlap)
    assert [[left, top, left + w, top + h] for top, left, h, w in ours] == theirs
