"""Draw boxes with class names and scores on an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from retina_plugin.report.drawing.boxes import draw_box, to_corners
from retina_plugin.report.drawing.labels import LABEL_MODES, LabelMode, place_labels
from retina_plugin.report.drawing.legend import add_below, legend
from retina_plugin.report.drawing.missing import warn_missing
from retina_plugin.report.drawing.palette import class_style
from retina_plugin.report.drawing.sizes import font_size, line_width
from retina_plugin.report.drawing.tags import Tag, make_tag, render_tag, tag_size

Boxes = Sequence[Sequence[float]] | np.ndarray
Labels = Sequence[int] | np.ndarray
Scores = Sequence[float] | np.ndarray | None


class Drawing(NamedTuple):
    """A drawn image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        unnamed: classes of boxes whose label was left out, in ascending order.
        text_size: of the labels in pixels.
    """

    image: np.ndarray
    unnamed: list[int]
    text_size: int


def draw_boxes(
    image: np.ndarray,
    boxes: Boxes,
    labels: Labels,
    *,
    class_names: Sequence[str],
    scores: Scores = None,
    crowd: Sequence[bool] | None = None,
    label_mode: LabelMode = "auto",
) -> np.ndarray:
    """Draw boxes on a copy of an image. Lines and text follow the size of the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (M, 4) XYXY pixels; M may be 0. What lies outside of the image is drawn at its edge.
        labels: (M,) in [0, K).
        class_names: K names in any script.
        scores: (M,) in [0, 1], shown in percent; boxes with high scores are drawn on top.
        crowd: (M,) True for crowd regions; their text ends with "(crowd)".
        label_mode: "auto" leaves out labels that would hide objects or other labels, "all" shows
            all, "none" shows none. The colour shows the class of a box without a label.

    Returns:
        (H, W, 3) uint8 RGB, of the size of the image.

    Raises:
        ValueError: a label without a name, or an unknown mode.
    """
    return _draw(image, boxes, labels, class_names, scores, crowd, label_mode).image


def draw_with_legend(
    image: np.ndarray,
    boxes: Boxes,
    labels: Labels,
    *,
    class_names: Sequence[str],
    scores: Scores = None,
    crowd: Sequence[bool] | None = None,
    label_mode: LabelMode = "auto",
) -> np.ndarray:
    """Draw boxes as :func:`draw_boxes`, and below the image the colours of the classes of boxes
    without a label, if there are any and ``label_mode`` is not "none".

    Returns:
        (H', W', 3) uint8 RGB; H' >= H, and W' > W only for images that are narrower than a legend.
    """
    drawn = _draw(image, boxes, labels, class_names, scores, crowd, label_mode)
    if label_mode == "none" or not drawn.unnamed:
        return drawn.image
    strip = legend(drawn.unnamed, class_names, image.shape[1], size=drawn.text_size)
    return add_below(drawn.image, strip)


def _draw(
    image: np.ndarray,
    boxes: Boxes,
    labels: Labels,
    class_names: Sequence[str],
    scores: Scores,
    crowd: Sequence[bool] | None,
    mode: LabelMode,
) -> Drawing:
    if mode not in LABEL_MODES:
        raise ValueError(f"labels: expected one of {', '.join(LABEL_MODES)}, found {mode!r}")
    classes = _checked(labels, class_names)
    height, width = image.shape[:2]
    canvas = np.array(image, dtype=np.uint8)  # a copy
    corners = np.array([to_corners(box, height, width) for box in boxes], dtype=np.int64)
    corners = corners.reshape(-1, 4)
    on_top_first = _order(corners, scores)
    thickness = line_width(height, width)
    for i in reversed(on_top_first):
        x0, y0, x1, y1 = corners[i].tolist()
        draw_box(canvas, (x0, y0, x1, y1), class_style(classes[i]), width=thickness)
    text_size = font_size(height, width, corners)
    if mode == "none":
        return Drawing(canvas, sorted(set(classes)), text_size)
    warn_missing(tuple(class_names))
    tags = _tags(classes, class_names, scores, crowd, size=text_size, max_width=width // 3)
    unnamed = _draw_tags(canvas, corners, tags, _one_of_each_first(on_top_first, classes), mode)
    return Drawing(canvas, unnamed, text_size)


def _checked(labels: Labels, class_names: Sequence[str]) -> list[int]:
    classes = [int(label) for label in labels]
    outside = [label for label in classes if not 0 <= label < len(class_names)]
    if outside:
        raise ValueError(
            f"class {outside[0]} has no name: {len(class_names)} names are known "
            f"({', '.join(class_names[:8])})"
        )
    return classes


def _order(corners: np.ndarray, scores: Scores) -> list[int]:
    """Return the indices of the boxes, the topmost first: by score, otherwise the smallest."""
    if scores is None:
        keys = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    else:
        keys = -np.asarray(scores, dtype=np.float64)
    order: list[int] = np.argsort(keys, kind="stable").tolist()
    return order


def _one_of_each_first(order: Sequence[int], classes: Sequence[int]) -> list[int]:
    """Move the first box of each class to the front, so that its label explains the colour."""
    first = {classes[i]: i for i in reversed(order)}
    return sorted(order, key=lambda i: first[classes[i]] != i)


def _tags(
    classes: Sequence[int],
    class_names: Sequence[str],
    scores: Scores,
    crowd: Sequence[bool] | None,
    *,
    size: int,
    max_width: int,
) -> list[Tag]:
    tags = []
    for i, label in enumerate(classes):
        ending = f" {scores[i]:.0%}" if scores is not None else ""
        ending += " (crowd)" if crowd is not None and crowd[i] else ""
        tags.append(make_tag(class_names[label], label, ending, size=size, max_width=max_width))
    return tags


def _draw_tags(
    canvas: np.ndarray, corners: np.ndarray, tags: Sequence[Tag], order: list[int], mode: LabelMode
) -> list[int]:
    """Draw the labels, and return the classes of those that were left out."""
    sizes = np.array([tag_size(tag) for tag in tags], dtype=np.int64).reshape(-1, 2)
    places = place_labels(corners, sizes, canvas.shape[1::-1], order=order, mode=mode)
    for i in reversed(order):  # the most important on top
        place = places[i]
        if place is not None:
            x0, y0, x1, y1 = place
            target = canvas[y0:y1, x0:x1]  # smaller than the label if the image is
            target[:] = render_tag(tags[i])[: target.shape[0], : target.shape[1]]
    return sorted({tag.label for tag, place in zip(tags, places, strict=True) if place is None})
