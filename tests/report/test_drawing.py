"""Pictures of all sizes: lines, labels and legends."""

from __future__ import annotations

import numpy as np
import pytest

from retina_plugin.cli import label_flag
from retina_plugin.report import LABEL_MODES, draw_boxes, draw_with_legend, resize_for_display
from retina_plugin.report.drawing import class_colour, class_style
from retina_plugin.report.drawing.boxes import dashes, draw_box, to_corners
from retina_plugin.report.drawing.legend import BACKGROUND, legend
from retina_plugin.report.drawing.sizes import font_size, line_width
from retina_plugin.report.drawing.tags import make_tag, tag_size

NAMES = ("cat", "dog", "bird")


def gray(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "line", "text"),
    [((64, 64), 2, 12), ((480, 640), 2, 12), ((1080, 1920), 4, 24), ((6000, 8000), 22, 115)],
)
def test_sizes_follow_the_image(shape: tuple[int, int], line: int, text: int) -> None:
    nothing, small = np.zeros((0, 4)), np.array([[0, 0, 9, 9]])
    assert line_width(*shape) == line
    assert font_size(*shape, nothing) == text
    assert font_size(*shape, small) == max(11, round((shape[0] * shape[1]) ** 0.5 / 90))


@pytest.mark.parametrize("shape", [(1, 1), (8, 3000), (3000, 8), (64, 64), (2000, 3000)])
@pytest.mark.parametrize("mode", LABEL_MODES)
def test_images_of_any_shape_are_drawn(shape: tuple[int, int], mode: str) -> None:
    height, width = shape
    boxes = [[0, 0, width, height], [width / 3, 0, width / 2, height], [-5, -5, 0, 0]]
    arguments = {"class_names": NAMES, "scores": [0.9, 0.8, 0.7], "label_mode": mode}
    assert draw_boxes(gray(*shape), boxes, [0, 1, 2], **arguments).shape == (*shape, 3)
    picture = draw_with_legend(gray(*shape), boxes, [0, 1, 2], **arguments)
    assert picture.shape[0] >= height
    assert picture.shape[1] == width if width > 160 else width <= picture.shape[1] <= 160


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((-50, -50, 400, 300), (0, 0, 300, 200)),
        ((298.6, 20, 340, 40), (299, 20, 300, 40)),
        ((500, 500, 600, 600), (299, 199, 300, 200)),
        ((10, 10, 10, 10), (10, 10, 11, 11)),
        ((float("-inf"), 0, float("inf"), 9), (0, 0, 300, 9)),
    ],
)
def test_boxes_at_the_border_stay_visible(box: tuple, expected: tuple) -> None:
    assert to_corners(box, 200, 300) == expected
    drawn = draw_boxes(gray(200, 300), [box], [0], class_names=NAMES, label_mode="none")
    x0, y0, x1, y1 = expected
    for x, y in ((x0, y0), (x1 - 1, y0), (x0, y1 - 1), (x1 - 1, y1 - 1)):
        assert tuple(drawn[y, x]) == class_colour(0)


def test_small_boxes_keep_their_inside() -> None:
    """A box of 15 x 15 pixels has a line of 1 pixel in an image with lines of 5."""
    canvas = gray(100, 100)
    draw_box(canvas, (50, 50, 65, 65), class_style(0), width=5)
    assert (canvas[51:64, 51:64] == 128).all()
    assert (canvas[50, 50:65] == class_colour(0)).all()


def test_dashed_lines_show_two_colours() -> None:
    for label in (10, 20, 55, 150):
        style = class_style(label)
        line = {tuple(pixel) for pixel in dashes(style, 60, 2).tolist()}
        assert line == {style.colour, style.gaps}
    assert len(np.unique(dashes(class_style(3), 60, 2), axis=0)) == 1


def test_a_legend_explains_labels_that_are_left_out() -> None:
    """All boxes fill the image, and few labels cover 12% of it."""
    image, boxes = gray(200, 300), [[0, 0, 300, 200]] * 40
    labels = [0, 1] * 20
    drawn = draw_with_legend(image, boxes, labels, class_names=NAMES)
    assert drawn.shape[0] > 200
    strip = drawn[200:]
    for label, shown in ((0, True), (1, True), (2, False)):
        assert (strip == class_colour(label)).all(axis=2).any() == shown
    for mode in ("all", "none"):
        picture = draw_with_legend(image, boxes, labels, class_names=NAMES, label_mode=mode)
        assert picture.shape == image.shape


def test_a_legend_has_as_many_rows_as_it_needs() -> None:
    one, many = legend([0], NAMES, 300, size=12), legend(range(3), NAMES, 1, size=12)
    assert one.shape[1] == 300
    assert many.shape[1] == 160
    assert (one[-1] == BACKGROUND).all()
    names = [f"class number {i}" for i in range(50)]
    assert legend(range(50), names, 300, size=12).shape[0] > 10 * one.shape[0]


def test_labels_of_odd_names() -> None:
    arguments = {"size": 12, "max_width": 100}
    width = tag_size(make_tag("a name of many words that goes on", 0, " 95%", **arguments))[0]
    assert width <= 100
    ending = make_tag("a name of many words that goes on", 0, " 95%", **arguments).lines[-1]
    assert ending.runs[0].text == " 95%"
    assert make_tag("\n", 3, "", **arguments).lines[0].runs[0].text == "class 3"


def test_drawings_are_reproducible_and_modes_are_checked() -> None:
    rng = np.random.default_rng(0)
    boxes = np.add(rng.uniform(0, 150, (40, 4)), (0, 0, 150, 150))
    arguments = {"class_names": NAMES, "scores": rng.uniform(size=40)}
    labels = rng.integers(0, 3, 40)
    first, second = (draw_boxes(gray(300, 300), boxes, labels, **arguments) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert label_flag.LABEL_MODES == LABEL_MODES
    with pytest.raises(ValueError, match="expected one of auto, all, none, found 'some'"):
        draw_boxes(gray(9, 9), [], [], class_names=NAMES, label_mode="some")


def test_a_narrow_strip_is_not_enlarged_beyond_4096_pixels() -> None:
    image, boxes = resize_for_display(gray(8, 3000), [[0, 0, 3000, 8]], min_side=300)
    assert image.shape == (8, 3000, 3)
    assert boxes.tolist() == [[0, 0, 3000, 8]]
    assert resize_for_display(gray(10, 1000), [], min_side=300)[0].shape == (40, 4000, 3)
