"""Where the labels of boxes go."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from retina_plugin.report.drawing.labels import MOST_HIDDEN, LabelMode, place_labels


def overlap(a: tuple, b: tuple) -> int:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def place(boxes: list, mode: LabelMode = "auto", size: tuple = (50, 15)) -> list:
    sizes = np.array([size] * len(boxes)).reshape(-1, 2)
    corners = np.array(boxes).reshape(-1, 4)
    return place_labels(corners, sizes, (300, 200), order=range(len(boxes)), mode=mode)


@pytest.mark.parametrize("mode", ["auto", "all"])
@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((100, 80, 160, 140), (99, 64, 149, 79)),  # above the dark line at 79
        ((100, 5, 160, 140), (99, 141, 149, 156)),  # below where there is no room above
        ((280, 80, 300, 140), (250, 64, 300, 79)),  # moved into the image
        ((100, 0, 160, 200), (161, 0, 211, 15)),  # beside
    ],
)
def test_a_label_lies_beside_its_box(mode: LabelMode, box: tuple, expected: tuple) -> None:
    assert place([box], mode) == [expected]


def test_labels_avoid_each_other_and_stay_in_the_image() -> None:
    corners = [(0, 0, 20, 20), (280, 0, 300, 20), (0, 180, 20, 200), (280, 180, 300, 200)]
    places = place([(100, 80, 160, 140)] * 4 + corners, "all")
    for x0, y0, x1, y1 in places:
        assert 0 <= x0 < x1 <= 300
        assert 0 <= y0 < y1 <= 200
    assert not any(overlap(a, b) for a, b in combinations(places, 2))


def test_auto_hides_no_more_than_its_limit_and_is_reproducible() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 260, (60, 2)) % (280, 180)
    boxes = np.concatenate([low, np.minimum(low + rng.integers(5, 60, (60, 2)), (300, 200))], 1)
    places = place(boxes.tolist())
    placed = [p for p in places if p is not None]
    assert 5 < len(placed) < 60
    assert not any(overlap(a, b) for a, b in combinations(placed, 2))
    for x0, y0, x1, y1 in boxes.tolist():
        hidden = sum(overlap((x0, y0, x1, y1), p) for p in placed) / ((x1 - x0) * (y1 - y0))
        assert hidden <= MOST_HIDDEN + 1e-9
    assert place(boxes.tolist()) == places
    assert None not in place(boxes.tolist(), "all")


def test_auto_leaves_out_a_label_that_would_cover_its_whole_box() -> None:
    """The label is as large as the image."""
    assert place([(0, 0, 300, 200)], size=(300, 200)) == [None]
    assert place([(0, 0, 300, 200)], "all", size=(300, 200)) == [(0, 0, 300, 200)]
    assert place([(0, 0, 300, 200)], "none") == [None]
    assert place([]) == []


def test_a_label_wider_than_the_image_begins_at_its_edge() -> None:
    assert place([(5, 50, 15, 60)], "all", size=(400, 15)) == [(0, 34, 400, 49)]
