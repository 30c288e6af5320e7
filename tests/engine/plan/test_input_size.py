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


@pytest.mark.parametrize(
    ("image", "objects", "sliced", "full_image"),
    [
        pytest.param((3000, 4000), [60] * 9, False, False, id="12.8 pixels in images of 640"),
        pytest.param((3000, 4000), [55] * 9, True, False, id="11.7 pixels"),
        pytest.param((3000, 4000), [55] * 9 + [400], True, True, id="an object of 0.8 slices"),
        pytest.param((600, 800), [13] * 9, False, False, id="images that are not cut"),
    ],
)
def test_slices(image: tuple[int, int], objects: list[int], sliced: bool, full_image: bool) -> None:
    """Slices of 512 pixels at the size of the network, which is that of the images here."""
    data = profile(image=image, objects=[(side, side) for side in objects])
    size = choose_input_size(data, gpu=False)
    assert (size.sliced, size.full_image) == (sliced, full_image)
    assert ("cut into slices" in size.reason) == sliced
    if not sliced:
        assert size.test_pixels == size.short_side * size.long_side
        return
    assert abs(size.short_side - 3000) <= 16
    # steps of 410, for 3008 x 4011 pixels: 7 rows reach 6 * 410 + 512 = 2972, 9 columns 3792
    whole = 512**2 * size.long_side / size.short_side
    assert size.test_pixels == pytest.approx(80 * 512**2 + full_image * whole)


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
