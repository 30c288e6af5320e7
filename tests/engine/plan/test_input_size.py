"""Sizes of images as tables, chosen and given."""

from typing import Any

import pytest

from retina_plugin.engine.plan.input_size import choose_input_size
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


TEST, TRAIN, LONGEST = (f"INPUT.{n}" for n in ("MIN_SIZE_TEST", "MIN_SIZE_TRAIN", "MAX_SIZE_TRAIN"))
SLICE = "MODEL.RETINA_PLUGIN.TEST.SLICE"


@pytest.mark.parametrize(
    ("image", "given", "short_side", "train", "object_side", "window", "sliced"),
    [
        # objects of 100 pixels: 384 for images of 480 x 640; windows of images of 3000 x 4000
        ((480, 640), {}, 384, (224, 384), 304, 0, False),
        ((480, 640), {TEST: 320}, 320, (192, 320), 256, 0, False),
        ((480, 640), {"INPUT.MAX_SIZE_TEST": 320}, 240, (128, 240), 184, 0, False),
        ((480, 640), {TRAIN: (200, 300)}, 300, (200, 300), 250, 0, False),
        ((480, 640), {TRAIN: (300,)}, 300, (300, 300), 300, 0, False),
        ((480, 640), {TRAIN: (300, 400, 500), TEST: 640}, 640, (300, 500), 400, 0, False),
        ((480, 640), {TRAIN: (300, 500), LONGEST: 400}, 500, (300, 300), 300, 0, False),
        ((3000, 4000), {}, 2400, (320, 512), 1950, 640, False),
        ((3000, 4000), {TEST: 1200}, 1200, (320, 512), 975, 1280, False),
        ((3000, 4000), {TRAIN: (500, 700)}, 700, (500, 700), 600, 0, False),
        ((3000, 4000), {"INPUT.CROP.ENABLED": False}, 2400, (1536, 2400), 1968, 0, False),
        # windows of 320 pixels of the image are 256 of the network's input
        ((3000, 4000), {"INPUT.CROP.SIZE": (320, 320)}, 2400, (160, 256), 1950, 320, False),
        ((3000, 4000), {f"{SLICE}.SIZE": 1000}, 1536, (320, 512), 1248, 1000, True),
        ((3000, 4000), {f"{SLICE}.SIZE": 1000, TEST: 1000}, 3000, (640, 1000), 2460, 1000, True),
    ],
)  # fmt: skip
def test_given_sizes(
    image: tuple[int, int],
    given: dict[str, Any],
    short_side: int,
    train: tuple[int, int],
    object_side: float,
    window: int,
    sliced: bool,
) -> None:
    data = profile(image=image, objects=[(100, 100)])
    size = choose_input_size(data, gpu=False, given=given)
    found = size.short_side, size.train_range, size.window, size.sliced
    assert found == (short_side, train, window, sliced)
    assert size.object_side == pytest.approx(object_side, abs=1)
    assert size.reason.startswith("given on the command line: small") == (TEST in given)
    again = choose_input_size(data, gpu=False, given=given, shrink=0.7)
    assert (again == size) == bool({TEST, TRAIN, f"{SLICE}.SIZE"} & set(given))


def test_given_slices() -> None:
    """Images that would be cut into slices."""
    data = profile(image=(3000, 4000), objects=[(55, 55)])
    tables = {
        (): (True, False),
        ((f"{SLICE}.FULL_IMAGE", True),): (True, True),
        ((f"{SLICE}.SIZE", 0),): (False, False),
        ((TEST, 1200),): (False, False),
    }
    for given, expected in tables.items():
        size = choose_input_size(data, gpu=False, given=dict(given))
        assert (size.sliced, size.full_image) == expected
