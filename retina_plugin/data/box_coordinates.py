"""What the four numbers of a box are: recognise boxes that are not COCO's [x, y, width, height] in
pixels, and convert them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retina_plugin.data.errors import DatasetError

KEY = "MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES"
WORDS = {
    "layout": ("xywh", "xyxy", "cxcywh"),
    "unit": ("pixels", "fraction"),
    "orientation": ("upright", "stored"),
}
NAMES = {"xyxy": "corners [x0, y0, x1, y1]", "cxcywh": "[centre x, centre y, width, height]"}
LEAST_OUTSIDE = {"xyxy": 3, "cxcywh": 5}  # boxes outside their image that count as evidence
ROUNDING = 1.0  # pixels that a box may reach outside
# annotations, each with the record of its image
Placed = Sequence[tuple[dict[str, Any], Mapping[str, Any]]]


@dataclass(frozen=True)
class BoxCoordinates:
    """How a file writes boxes. What is empty is not stated: COCO's first choice is taken, and
    checked.

    Attributes:
        layout: "xywh", "xyxy" or "cxcywh".
        unit: "pixels" or "fraction" of width and height.
        orientation: "upright" or "stored", for photographs that their EXIF data turns.
    """

    layout: str = ""
    unit: str = ""
    orientation: str = ""

    @classmethod
    def parse(cls, text: str) -> BoxCoordinates:
        """Read words such as "xyxy fraction", in any order.

        Raises:
            ValueError: an unknown word, or two of one kind.
        """
        stated: dict[str, str] = {}
        for word in text.split():
            kind = next((kind for kind, words in WORDS.items() if word in words), None)
            if kind is None or kind in stated:
                expected = ", ".join(" or ".join(words) for words in WORDS.values())
                raise ValueError(
                    f"{KEY}: expected at most one word each of: {expected}; found {text!r}"
                )
            stated[kind] = word
        return cls(**stated)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.layout, self.unit, self.orientation)))


def convert_boxes(placed: Placed, stated: BoxCoordinates, json_file: str) -> None:
    """Turn every "bbox" into [x, y, width, height] in pixels, in place; make sure that what is not
    stated is COCO's.

    Boxes are taken for

    - fractions, if all numbers of all boxes lie in 0..1 and images are larger than 4 pixels;
    - corners, if more than half of the boxes, and at least 3, reach more than a pixel outside their
    image as
      [x, y, width, height], but at most a tenth as many have no area or reach outside as corners;
    - centres, if at least 5 boxes reach outside as [x, y, width, height], but at most a tenth as
    many as centres.

    Args:
        placed: each annotation with its record, which has "width" and "height" of the picture that
            the box is measured in. Boxes that come from masks ("box_of_mask") have COCO's layout.
        stated: what the user says; it is not checked against the rules above.
        json_file: for messages.

    Raises:
        DatasetError: boxes are not what was assumed, or more than half of them make no sense as
            stated; the message says what to set.
    """
    if not placed:
        return
    boxes = np.array([annotation["bbox"] for annotation, _ in placed], dtype=np.float64)
    sizes = np.array(
        [(record["width"], record["height"]) for _, record in placed], dtype=np.float64
    )
    of_mask = np.array(["box_of_mask" in annotation for annotation, _ in placed])
    fraction = stated.unit == "fraction" or (not stated.unit and _are_fractions(boxes, sizes))
    scaled = boxes * np.tile(sizes, 2) if fraction else boxes
    found = stated.layout or _layout(scaled[~of_mask], sizes[~of_mask])
    if (not stated.layout and found != "xywh") or (not stated.unit and fraction):
        layout = found if stated.layout or found != "xywh" else ""
        needed = BoxCoordinates(layout, "fraction" if fraction else stated.unit, stated.orientation)
        raise DatasetError(
            f"{json_file}: {_cause(placed, scaled, sizes, found, fraction)}. {_remedy(needed)}"
        )
    if found == "xywh" and not fraction:
        return
    corners = np.where(of_mask[:, None], _corners(scaled, "xywh"), _corners(scaled, found))
    _require_sense(corners, sizes, stated, json_file)
    for (annotation, _), (x0, y0, x1, y1) in zip(placed, corners.tolist(), strict=True):
        annotation["bbox"] = [x0, y0, x1 - x0, y1 - y0]


def corners_of(placed: Placed, stated: BoxCoordinates) -> np.ndarray:
    """Boxes as the file has them -> (M, 4) XYXY in pixels, if they are what the user states; what
    is not stated is COCO's."""
    boxes = np.array([annotation["bbox"] for annotation, _ in placed], dtype=np.float64).reshape(
        -1, 4
    )
    sizes = np.array(
        [(record["width"], record["height"]) for _, record in placed], dtype=np.float64
    ).reshape(-1, 2)
    of_mask = np.array(
        [["box_of_mask" in annotation] for annotation, _ in placed], dtype=bool
    ).reshape(-1, 1)
    scaled = boxes * np.tile(sizes, 2) if stated.unit == "fraction" else boxes
    return np.where(of_mask, _corners(scaled, "xywh"), _corners(scaled, stated.layout or "xywh"))


def _corners(boxes: np.ndarray, layout: str) -> np.ndarray:
    """(M, 4) in a layout -> (M, 4) XYXY."""
    if layout == "xyxy":
        return boxes
    low = boxes[:, :2] if layout == "xywh" else boxes[:, :2] - boxes[:, 2:] / 2
    return np.concatenate([low, low + boxes[:, 2:]], axis=1)


def _are_fractions(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    within = boxes.min() > -0.01 and boxes.max() < 1.01  # rounded
    return bool(within and boxes[:, 2:].max() > 0 and sizes.min() > 4)


def _outside(boxes: np.ndarray, sizes: np.ndarray, layout: str) -> np.ndarray:
    """(M,) bool: no area in this layout, or reaches outside the image."""
    corners = _corners(boxes, layout)
    beyond = (corners[:, :2] < -ROUNDING) | (corners[:, 2:] > sizes + ROUNDING)
    empty = corners[:, 2:] <= corners[:, :2] if layout == "xyxy" else np.zeros_like(beyond)
    return (beyond | empty).any(axis=1)


def _layout(boxes: np.ndarray, sizes: np.ndarray) -> str:
    """The layout that the boxes have, by the rules of :func:`convert_boxes`."""
    outside = int(_outside(boxes, sizes, "xywh").sum())
    for layout, least in LEAST_OUTSIDE.items():
        enough = outside >= least and (layout != "xyxy" or 2 * outside > len(boxes))
        if enough and 10 * int(_outside(boxes, sizes, layout).sum()) <= outside:
            return layout
    return "xywh"


def _cause(
    placed: Placed, boxes: np.ndarray, sizes: np.ndarray, layout: str, fraction: bool
) -> str:
    """What the boxes show; ``boxes`` (M, 4) are in pixels."""
    outside = _outside(boxes, sizes, "xywh")
    annotation, record = placed[int(outside.argmax())]
    causes = []
    if fraction:
        causes.append(
            f"all {len(boxes)} boxes lie between 0 and 1: they are fractions of the "
            "image, not pixels"
        )
    if layout != "xywh":
        causes.append(
            f"as [x, y, width, height] {int(outside.sum())} of {len(boxes)} boxes reach outside "
            "their image, "
            f"as {NAMES[layout]} {int(_outside(boxes, sizes, layout).sum())}"
        )
    example = (
        f"annotation {annotation['id']}, bbox {annotation['bbox']} in "
        f"{record['width']}x{record['height']}"
    )
    return f"{'; '.join(causes)} (first: {example})"


def _remedy(needed: BoxCoordinates) -> str:
    as_it_is = "pixels" if needed.unit == "fraction" else "xywh"
    return (
        f"Set {KEY} to {str(needed)!r} to convert the boxes, or write them as [x, y, width, "
        "height] in pixels. "
        f"If they are right as they are, set it to {as_it_is!r}."
    )


def _require_sense(
    corners: np.ndarray, sizes: np.ndarray, stated: BoxCoordinates, json_file: str
) -> None:
    inside = np.minimum(corners[:, 2:], sizes) - np.maximum(corners[:, :2], 0)
    bad = int((inside <= 0).any(axis=1).sum())
    if 2 * bad > len(corners):
        raise DatasetError(
            f"{json_file}: as {str(stated)!r}, as {KEY} says, {bad} of {len(corners)} boxes have "
            "no area in their image. "
            "The key is for all data sets of a run: convert the boxes of those that differ."
        )
