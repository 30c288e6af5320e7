"""Levels of the pyramid and given anchors, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from retina_plugin.engine.plan.input_size import InputSize
from retina_plugin.engine.plan.pyramid import (
    choose_pyramid,
    choose_strides,
    given_strides,
    pyramid_entries,
)
from tests.engine.plan.profiles import profile

SIZE = InputSize(512, 512, 0, "")  # objects are as large as in images of 416 pixels
LEVELS, SIZES = "MODEL.RETINANET.IN_FEATURES", "MODEL.ANCHOR_GENERATOR.SIZES"
RATIOS = "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"


def data_of(sizes: list[int]) -> Any:
    names = [str(size) for size in sizes]
    return profile(image=(416, 416), objects=[(s, s) for s in sizes], names=names)


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
    assert SIZE.object_side == 416
    assert choose_strides(data_of(sizes), SIZE) == strides


@pytest.mark.parametrize(
    ("sides", "levels", "left_out"),
    [
        # Objects from 1 : 2 to 2 : 1. P6 is in the range of the sizes, but objects of 200 pixels
        # are 3.1 of its cells wide, so few anchors fit closely; on P5 they are 6.3.
        ([60, 90, 130, 200], ["p4", "p5"], True),
        ([60, 90, 130, 380], ["p4", "p5", "p6"], False),
        ([60, 90, 130], ["p4", "p5"], False),
    ],
)
def test_levels_with_wide_cells(sides: list[int], levels: list[str], left_out: bool) -> None:
    shapes = [(s * r**0.5, s / r**0.5) for s in sides for r in (0.5, 0.7, 1.0, 1.4, 2.0)]
    data = profile(image=(416, 416), objects=shapes, num_images=20)
    choice = choose_pyramid(data, SIZE, {})
    entries = {e.key: e for e in pyramid_entries(choice, given={}, reached="")}
    assert entries[LEVELS].value == levels
    assert ("p6 is left out: its cells are so wide" in entries[LEVELS].reason) == left_out


@pytest.mark.parametrize(
    ("given", "strides", "sizes", "ratios"),
    [
        ({LEVELS: ["p3", "p5"]}, (8, 32), None, None),
        ({SIZES: [[16], [32], [64]]}, (8, 16, 32), ((16.0,), (32.0,), (64.0,)), None),
        ({SIZES: [[16], [32], [64]], LEVELS: ["p5", "p6", "p7"]}, (32, 64, 128), None, None),
        ({SIZES: [[16, 64]]}, (8, 16, 32), ((16.0, 64.0),) * 3, None),
        ({SIZES: [16, 64]}, (8, 16, 32), ((16.0, 64.0),) * 3, None),
        ({SIZES: [[9]] * 6}, (4, 8, 16, 32, 64, 128), ((9.0,),) * 6, None),
        ({RATIOS: [[1.0, 3.0]]}, (8, 16, 32), None, ((1.0, 3.0),) * 3),
        (
            {RATIOS: [[1.0], [2.0]], LEVELS: ["p4", "p5"], SIZES: [[30]]},
            (16, 32),
            ((30.0,),) * 2,
            ((1.0,), (2.0,)),
        ),
    ],
)
def test_given_levels_and_anchors(
    given: dict[str, Any],
    strides: tuple[int, ...],
    sizes: Any,
    ratios: Any,
) -> None:
    choice = choose_pyramid(data_of([20, 100]), SIZE, given)
    assert choice.anchors.strides == strides
    assert sizes in (None, choice.anchors.sizes)
    assert ratios in (None, choice.anchors.ratios)
    entries = {e.key: e for e in pyramid_entries(choice, given=given, reached="90% are reached")}
    assert entries[SIZES].reason.endswith("90% are reached")
    for key in (LEVELS, SIZES, RATIOS):
        assert entries[key].reason.startswith("given on the command line") == (key in given)
        if key in given:
            assert entries[key].value == given[key]
    stages = entries["MODEL.FPN.IN_FEATURES"].value
    assert stages[0] == ("res2" if strides[0] == 4 else "res3")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({LEVELS: ["res4"]}, r"needs levels from p2 to p7, found \['res4'\]"),
        ({SIZES: [[9]] * 7}, "at most 6 lists, found 7"),
        ({SIZES: [[9]] * 2, LEVELS: ["p3", "p4", "p5"]}, "one for each of 3 levels, found 2"),
    ],
)
def test_levels_and_anchors_that_do_not_go_together(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        choose_pyramid(data_of([20, 100]), SIZE, given)


def test_levels_that_are_not_given() -> None:
    assert given_strides(data_of([20, 100]), SIZE, {RATIOS: [[1.0]]}) == ()
