"""Sizes of images and levels of the pyramid, as tables."""

import pytest

from retina_plugin.engine.plan.input_size import InputSize, choose_input_size, choose_strides
from tests.engine.plan.profiles import profile


@pytest.mark.parametrize(
    ("image", "object_size", "side", "window"),
    [
        ((480, 640), 100, 384, 0),  # 80 pixels for the median object: 480 * 80 / 100
        ((480, 640), 400, 256, 0),  # large objects: the least side
        ((64, 64), 30, 64, 0),  # small images are not enlarged
        ((64, 64), 6, 128, 0),  # but for objects below 12 pixels, by 2 at most
        ((480, 640), 8, 704, 349),  # enlarged to 480 * 12 / 8 = 720, then a multiple of 32
        ((3000, 4000), 100, 2400, 640),  # windows of 512 / 0.8 pixels of the original image
        ((3000, 4000), 2000, 256, 0),  # boxes of nearly the whole image
    ],
)
def test_side(image: tuple[int, int], object_size: int, side: int, window: int) -> None:
    size = choose_input_size(profile(image=image, objects=[(object_size,) * 2]), gpu=False)
    assert abs(size.short_side - side) <= 16
    assert abs(size.window - window) <= 16


def test_less_time_makes_images_smaller_but_small_objects_stay_visible() -> None:
    data = profile(image=(600, 600), objects=[(30, 30)])
    sides = [choose_input_size(data, gpu=False, shrink=s).short_side for s in (1, 0.7, 0.1)]
    assert sides == [608, 416, 256]  # the last has 12 pixels for an object: 240, as a multiple


@pytest.mark.parametrize(
    ("sizes", "strides"),
    [
        ([100], (16, 32)),
        ([20, 100], (8, 16, 32)),
        ([6, 12], (4, 8, 16)),  # P2 for objects below 14 pixels
        ([13, 240], (4, 8, 16, 32, 64)),
        ([27, 700], (8, 16, 32, 64, 128)),
    ],
)
def test_levels(sizes: list[int], strides: tuple[int, ...]) -> None:
    size = InputSize(512, 512, 0, "")
    assert size.object_side == 416
    names = [str(size) for size in sizes]
    data = profile(image=(416, 416), objects=[(s, s) for s in sizes], names=names)
    assert choose_strides(data, size) == strides
