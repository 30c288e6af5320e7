"""Anchors of a plan: overlaps by hand, and recall."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from retina_plugin.engine.plan.anchors import (
    CHUNK,
    AnchorShapes,
    best_overlaps,
    choose_anchors,
    mean_of_classes,
    reached_shares,
)
from retina_plugin.engine.plan.pyramid import default_anchors


def one_anchor(size: float, *, stride: int = 8, ratio: float = 1.0) -> AnchorShapes:
    return AnchorShapes((stride,), ((size,),), ((ratio,),))


def test_overlaps_lie_between_the_best_and_the_worst_place() -> None:
    boxes = np.array([[16.0, 16], [32, 32]])
    overlaps = best_overlaps(boxes, one_anchor(16))
    # at the worst place the centres are 4 pixels apart in x and y: 12 * 12 / (2 * 256 - 144)
    assert (overlaps[0] >= 144 / 368).all()
    assert (overlaps[0] <= 1).all()
    # the anchor lies inside the larger box at every place: 256 / 1024
    assert_allclose(overlaps[1], 0.25)


def test_the_shape_of_an_anchor_is_height_over_width() -> None:
    shapes, strides = one_anchor(20, ratio=4).shapes()
    assert_allclose(shapes, [[10, 40]])
    assert_allclose(strides, [8])


def test_reached_boxes_and_their_mean_over_classes() -> None:
    boxes = np.array([[64.0, 64], [64, 64], [8, 8]])
    shares = reached_shares(boxes, one_anchor(64))
    assert_allclose(shares, [1, 1, 0])
    assert mean_of_classes(shares, np.array([0, 0, 2])) == 0.5  # there is no class 1


def test_many_boxes_are_compared_in_parts() -> None:
    boxes = np.full((2 * CHUNK + 1, 2), 64.0)
    overlaps = best_overlaps(boxes, one_anchor(64))
    assert overlaps.shape == (len(boxes), 4)
    assert_allclose(overlaps[:5], best_overlaps(boxes[:5], one_anchor(64)))
    assert best_overlaps(boxes[:0], one_anchor(64)).shape == (0, 4)


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_chosen_anchors_reach_boxes_of_any_shape(ratio: float) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.uniform(20, 200, 300)
    boxes = np.stack([sizes / ratio**0.5, sizes * ratio**0.5], axis=1)
    labels = np.zeros(len(boxes), dtype=np.int64)
    anchors = choose_anchors(boxes, labels, strides=(8, 16, 32))
    chosen, default = (reached_shares(boxes, a).mean() for a in (anchors, default_anchors()))
    assert chosen > 0.95
    assert chosen >= default - 0.02  # what fewer anchors may cost
    assert anchors.per_cell <= 9


def test_boxes_of_one_size_need_one_shape() -> None:
    boxes = np.full((50, 2), 64.0)
    anchors = choose_anchors(boxes, np.zeros(50, dtype=np.int64), strides=(8, 16))
    assert anchors.per_cell == 1
    assert anchors.ratios == ((1.0,), (1.0,))


def test_a_rare_class_of_other_sizes_is_reached() -> None:
    boxes = np.concatenate([np.full((500, 2), 100.0), np.full((5, 2), 16.0)])
    labels = np.repeat([0, 1], [500, 5])
    anchors = choose_anchors(boxes, labels, strides=(8, 16))
    shares = reached_shares(boxes, anchors)
    assert min(shares[labels == k].mean() for k in (0, 1)) > 0.9


@pytest.mark.parametrize("ratio", [1 / 500, 500.0])
def test_thin_boxes(ratio: float) -> None:
    boxes = np.full((20, 2), 60.0) * [ratio**-0.5, ratio**0.5]
    anchors = choose_anchors(boxes, np.zeros(20, dtype=np.int64), strides=(8, 16))
    assert anchors.ratios[0][0] == pytest.approx(ratio, rel=0.5)
    assert np.isfinite(anchors.shapes()[0]).all()
