"""Transforms that crop, shrink and place images: scale jitter, zoom out, IoU crop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from retina_plugin.config import get_cfg
from retina_plugin.data import TRANSFORMS, Sample
from retina_plugin.data.transforms.canvas import draw_corner, place
from retina_plugin.data.transforms.iou_crop import RandomIoUCrop, centres_inside, window_ious
from retina_plugin.data.transforms.resize import scaled_shape
from retina_plugin.data.transforms.sample import clip_boxes

NODE = "MODEL.RETINA_PLUGIN.INPUT"
MEAN = (124, 116, 104)  # the default PIXEL_MEAN as RGB
IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)  # all pixels differ
CANVAS = {"fill": (9, 9, 9), "min_visible": 0.3}


def sample_of(boxes: Any, image: np.ndarray = IMAGE) -> Sample:
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return {"image": image, "boxes": boxes, "labels": np.arange(len(boxes))}


def built(name: str, **keys: Any) -> Any:
    """A transform whose keys have their defaults, except for ``keys``; images are resized to a
    shorter side of 40."""
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (40,), 100
    for key, value in keys.items():
        cfg.merge_from_list([f"{NODE}.{name}.{key}", value])
    return TRANSFORMS.construct(name, cfg)


def no_draw(rng: np.random.Generator) -> Sample:
    raise AssertionError("none of these draws another sample")


def applied(transform: Any, sample: Sample, seed: int) -> Sample:
    found: Sample = transform(sample, np.random.default_rng(seed), no_draw)
    return found


# ------------------------------------------------------------------------------------------- place


def test_a_smaller_image_on_a_canvas() -> None:
    found = place(sample_of([[1, 0, 3, 2]]), (7, 8), (2, 1), **CANVAS)
    assert (found["image"][2:6, 1:7] == IMAGE).all()
    assert (found["image"] == 9).all(axis=2).sum() == 7 * 8 - 4 * 6
    assert found["boxes"].tolist() == [[2, 2, 4, 4]]


def test_a_larger_image_on_a_canvas() -> None:
    """The canvas shows rows 1 and 2, columns 2 to 4. Of the boxes, 1/2, 1/4 and 0 are visible."""
    boxes = [[1, 1, 3, 3], [1, 0, 3, 2], [5, 0, 6, 4]]
    found = place(sample_of(boxes), (2, 3), (-1, -2), **CANVAS)
    assert (found["image"] == IMAGE[1:3, 2:5]).all()
    assert found["boxes"].tolist() == [[0, 0, 1, 2]]
    assert found["labels"].tolist() == [0]


def test_an_image_that_is_wider_and_less_high() -> None:
    found = place(sample_of([[0, 0, 6, 4]]), (6, 3), (1, -2), **CANVAS)
    assert (found["image"][1:5] == IMAGE[:, 2:5]).all()
    assert (found["image"][[0, 5]] == 9).all()
    assert found["boxes"].tolist() == [[0, 1, 3, 5]]


@pytest.mark.parametrize(
    ("inner", "outer", "tops", "lefts"),
    [
        ((2, 3), (4, 3), {0, 1, 2}, {0}),
        ((4, 6), (2, 5), {-2, -1, 0}, {-1, 0}),
        ((4, 2), (3, 4), {-1, 0}, {0, 1, 2}),
    ],
)
def test_corners(inner: Any, outer: Any, tops: set[int], lefts: set[int]) -> None:
    """An image lies within the canvas or covers it, and every such place occurs."""
    found = {draw_corner(inner, outer, np.random.default_rng(seed)) for seed in range(200)}
    assert found == {(top, left) for top in tops for left in lefts}


def test_scaled_shapes() -> None:
    assert scaled_shape((4, 6), 1.5) == (6, 9)
    assert scaled_shape((4, 600), 0.1) == (1, 60)


# ---------------------------------------------------------------------------------- all transforms


def marked(boxes: list[list[int]], shape: tuple[int, int] = (80, 120)) -> np.ndarray:
    """Boxes of one colour each on black."""
    image = np.zeros((*shape, 3), dtype=np.uint8)
    for channel, (x0, y0, x1, y1) in enumerate(boxes):
        image[y0:y1, x0:x1, channel] = 255
    return image


CASES = {
    "ScaleJitter": {},
    "RandomZoomOut": {"PROBABILITY": 0.7},
    "RandomIoUCrop": {"MIN_IOU": [0.0]},
}


@pytest.mark.parametrize("name", CASES)
def test_the_corners_of_a_box_follow_its_pixels(name: str) -> None:
    """The tolerance is a pixel, because resizing blurs the edges. A box that is cut ends at the
    edge of the image."""
    boxes = [[8, 10, 40, 50], [60, 20, 110, 70]]
    transform = built(name, **CASES[name])
    found_sizes = set()
    for seed in range(40):
        found = clip_boxes(applied(transform, sample_of(boxes, marked(boxes)), seed))
        for label, box in zip(found["labels"], found["boxes"], strict=True):
            rows, columns = np.nonzero(found["image"][..., label] > 127)  # brighter than a canvas
            pixels = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(box - pixels).max() <= 1
            found_sizes.add(round(float(box[2] - box[0])))
    assert len(found_sizes) > 5


@pytest.mark.parametrize("name", CASES)
def test_samples_without_pixels_and_without_boxes(name: str) -> None:
    boxes = [[8, 10, 40, 50], [60, 20, 110, 70]]
    transform, image = built(name, **CASES[name]), marked(boxes)
    assert not transform.needs_pixels
    for seed in range(20):
        found = applied(transform, sample_of(boxes, image), seed)
        without = applied(transform, sample_of(boxes, image[..., :0]), seed)
        assert without["image"].shape == (*found["image"].shape[:2], 0)
        assert without["boxes"].tolist() == found["boxes"].tolist()
        assert without["labels"].tolist() == found["labels"].tolist()
        assert applied(transform, sample_of([], image), seed)["boxes"].shape == (0, 4)
    assert (image == marked(boxes)).all()


def test_scale_jitter_keeps_the_size_and_changes_the_scale() -> None:
    """Images of 80 x 120 become 40 x 60, and a box of 20 x 30 becomes 10 x 15 times the factor."""
    image = marked([[50, 30, 80, 50]])
    factors = []
    for seed in range(60):
        found = applied(built("ScaleJitter"), sample_of([[50, 30, 80, 50]], image), seed)
        assert found["image"].shape == (40, 60, 3)
        for x0, y0, x1, y1 in found["boxes"]:
            if min(x0, y0) > 0 and x1 < 60 and y1 < 40:  # not cut
                factors.append((x1 - x0) / 15)
                assert abs((y1 - y0) / 10 - factors[-1]) < 0.1
    assert 0.48 < min(factors) < 0.7
    assert 1.6 < max(factors) < 2.1
    same = built("ScaleJitter", SCALE_RANGE=[1.0, 1.0])
    resized = built("ResizeShortestEdge")
    assert (applied(same, sample_of([], IMAGE), 0)["image"].shape) == (40, 60, 3)
    assert (
        applied(same, sample_of([], image), 0)["image"]
        == applied(resized, sample_of([], image), 0)["image"]
    ).all()


def test_zoom_out_shows_the_whole_image() -> None:
    boxes = [[0, 0, 120, 80]]
    for seed in range(40):
        zoomed = built("RandomZoomOut", PROBABILITY=1.0)
        found = applied(zoomed, sample_of(boxes, np.zeros((80, 120, 3), np.uint8)), seed)
        assert found["image"].shape == (80, 120, 3)
        x0, y0, x1, y1 = found["boxes"][0].round().astype(int)
        assert 30 <= x1 - x0 <= 120
        outside = np.ones((80, 120), dtype=bool)
        outside[y0:y1, x0:x1] = False
        assert (found["image"][outside] == MEAN).all()
        assert (found["image"][~outside] == 0).all()
    never = built("RandomZoomOut", PROBABILITY=0.0)
    assert applied(never, sample_of(boxes), 0)["image"] is IMAGE


# ---------------------------------------------------------------------------------------- IoU crop


def test_centres_and_ious() -> None:
    """Window 0, 0, 10, 10: the first box has 50 of 100 + 100 - 50 in common, and its centre lies on
    the edge, which is outside."""
    windows, boxes = np.array([[0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10], [8, 8, 20, 20]])
    assert centres_inside(boxes, windows).tolist() == [[False, False]]
    np.testing.assert_allclose(window_ious(boxes, windows), [[50 / 150, 4 / (100 + 144 - 4)]])
    assert centres_inside(np.array([[4.0, 0, 14, 10]]), windows).tolist() == [[True]]
    assert window_ious(np.zeros((0, 4)), windows).shape == (1, 0)


@pytest.mark.parametrize("least", [0.1, 0.5, 0.9])
def test_the_window_of_an_iou_crop(least: float) -> None:
    """The window reaches the drawn IoU with a box, its sides are in range, and boxes whose centre
    is inside are kept."""
    boxes = np.array([[10.0, 10, 60, 60], [70, 20, 110, 70], [90, 5, 100, 15]])
    crop, cropped = RandomIoUCrop(min_iou=[least], scale=[0.3, 1.0]), 0
    shade = np.broadcast_to(np.arange(80, dtype=np.uint8)[:, None], (80, 120))
    image = np.stack([shade, np.broadcast_to(np.arange(120, dtype=np.uint8), (80, 120)), shade], 2)
    for seed in range(80):
        found = applied(crop, sample_of(boxes, image), seed)
        height, width = found["image"].shape[:2]
        if (height, width) == (80, 120):
            continue
        cropped += 1
        top, left = (int(value) for value in found["image"][0, 0, :2])
        window = np.array([[left, top, left + width, top + height]])
        inside = centres_inside(boxes, window)[0]
        assert found["labels"].tolist() == np.flatnonzero(inside).tolist()
        assert (found["boxes"] == boxes[inside] - [left, top, left, top]).all()
        assert window_ious(boxes[inside], window).max() >= least
        assert 0.5 <= width / height <= 2
        assert min(height / 80, width / 120) > 0.28
    assert (cropped > 3) == (least < 0.9)


def test_iou_crops_that_keep_the_whole_image() -> None:
    sample = sample_of([[0, 0, 1, 1]], np.zeros((80, 120, 3), np.uint8))
    whole = RandomIoUCrop(min_iou=[1.0], scale=[0.3, 1.0])
    impossible = RandomIoUCrop(min_iou=[0.9], scale=[0.9, 1.0])
    for crop in (whole, impossible):
        assert applied(crop, sample, 0)["image"].shape == (80, 120, 3)
    assert (
        applied(RandomIoUCrop(min_iou=[0.0], scale=[0.3, 0.5]), sample_of([]), 0)["image"] is IMAGE
    )


@pytest.mark.parametrize("name", ["crop", "pad", "resize", "flip"])
def test_boxes_equal_those_of_torchvision(name: str) -> None:
    """The same operation with the same numbers on torchvision's boxes."""
    v2 = pytest.importorskip("torchvision.transforms.v2.functional")
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")
    from retina_plugin.data.transforms.flip import flip
    from retina_plugin.data.transforms.resize import resize

    boxes = np.array([[8.0, 10, 40, 50], [60, 20, 110, 70]])
    sample = sample_of(boxes, np.zeros((80, 120, 0), np.uint8))
    theirs = tv_tensors.BoundingBoxes(torch.tensor(boxes), format="XYXY", canvas_size=(80, 120))
    ours, theirs = {
        "crop": lambda: (
            place(sample, (50, 60), (-5, -20), fill=MEAN, min_visible=0.0),
            v2.crop(theirs, 5, 20, 50, 60),
        ),
        "pad": lambda: (
            place(sample, (100, 150), (7, 9), fill=MEAN, min_visible=0.0),
            v2.pad(theirs, [9, 7, 21, 13]),
        ),
        "resize": lambda: (resize(sample, (40, 90)), v2.resize(theirs, [40, 90])),
        "flip": lambda: (flip(sample, direction="horizontal"), v2.horizontal_flip(theirs)),
    }[name]()
    np.testing.assert_allclose(ours["boxes"], v2.clamp_bounding_boxes(theirs).numpy(), atol=1e-9)
    assert tuple(ours["image"].shape[:2]) == tuple(theirs.canvas_size)
