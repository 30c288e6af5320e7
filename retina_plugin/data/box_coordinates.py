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
NAMES = {
    "xyxy": "corners [x0, y0, x1, y1]",
    "yxyx": "corners [y0, x0, y1, x1]",
    "cxcywh": "[centre x, centre y, width, height]",
}
# boxes outside their image that count as evidence
LEAST_OUTSIDE = {"xyxy": 3, "yxyx": 3, "cxcywh": 5}
LEAST_FOR_ONE = 5  # of corners, among which one foreign box is no evidence against
LARGEST = 1e15  # numbers beyond are outside every image; their sums must stay numbers
ROUNDING = 1.0  # pixels that a box may reach outside
# annotations, each with the record of its image
AnnotationPairs = Sequence[tuple[dict[str, Any], Mapping[str, Any]]]


@dataclass(frozen=True)
class BoxCoordinates:
    """How a file writes boxes. What is empty is not configured: COCO's first choice is taken, and
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
        configured: dict[str, str] = {}
        for word in text.split():
            kind = next((kind for kind, words in WORDS.items() if word in words), None)
            if kind is None or kind in configured:
                expected = ", ".join(" or ".join(words) for words in WORDS.values())
                raise ValueError(
                    f"{KEY}: expected at most one word each of: {expected}; found {text!r}"
                )
            configured[kind] = word
        return cls(**configured)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.layout, self.unit, self.orientation)))


def convert_boxes(pairs: AnnotationPairs, configured: BoxCoordinates, json_file: str) -> None:
    """Turn every "bbox" into [x, y, width, height] in pixels, in place; make sure that what is not
    configured is COCO's.

    Boxes are taken for

    - fractions, if all of them, or more than half and at least 3, have four numbers in 0..1 (0.1
      more or less) on images larger than 4 pixels;
    - corners, if more than half of the boxes, and at least 3, reach more than a pixel outside
      their image as [x, y, width, height], but at most a tenth as many (or one beside at
      least 5) have no area or reach outside as corners, be it [x0, y0, x1, y1] or
      [y0, x0, y1, x1], which no word converts;
    - centres, if at least 5 boxes reach outside as [x, y, width, height], but at most a tenth as
      many as centres.

    Args:
        pairs: each annotation with its record, which has "width" and "height" of the picture that
            the box is measured in. Boxes that come from masks ("box_of_mask") are in COCO's layout
            and in pixels, whatever the others are.
        configured: what the user says; it is not checked against the rules above.
        json_file: for messages.

    Raises:
        DatasetError: boxes are not what was assumed, or more than half of them make no sense as
            configured; the message says what to set. Masks whose numbers are fractions.
    """
    if not pairs:
        return
    boxes, sizes, of_mask = box_arrays(pairs)
    if not configured.unit and _are_fractions(boxes[of_mask], sizes[of_mask]):
        raise DatasetError(
            f"{json_file}: polygons of {int(of_mask.sum())} annotations without bbox lie between 0 "
            "and 1: they are fractions of the image. Write segmentation in pixels."
        )
    own = np.flatnonzero(~of_mask)
    given = _Given([pairs[i] for i in own], boxes[own], sizes[own], configured)
    given.require_cocos(configured, json_file)
    if given.layout == "xywh" and not given.fraction:
        return
    corners = to_xyxy(boxes, "xywh")
    corners[own] = to_xyxy(given.scaled, given.layout)
    _require_sense(corners, sizes, configured, json_file)
    for i in own:
        x0, y0, x1, y1 = corners[i].tolist()
        pairs[i][0]["bbox"] = [x0, y0, x1 - x0, y1 - y0]


def configured_xyxy(pairs: AnnotationPairs, configured: BoxCoordinates) -> np.ndarray:
    """Boxes as the file has them -> (M, 4) XYXY in pixels, if they are what the user states; what
    is not configured is COCO's."""
    boxes, sizes, of_mask = box_arrays(pairs)
    scaled = boxes * np.tile(sizes, 2) if configured.unit == "fraction" else boxes
    own = to_xyxy(scaled, configured.layout or "xywh")
    return np.where(of_mask[:, None], to_xyxy(boxes, "xywh"), own)


def box_arrays(pairs: AnnotationPairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (M, 4), sizes (M, 2) of their images, and whether a mask gave the box (M,)."""
    boxes = np.array([annotation["bbox"] for annotation, _ in pairs], dtype=np.float64)
    sizes = [(record["width"], record["height"]) for _, record in pairs]
    return (
        boxes.reshape(-1, 4).clip(-LARGEST, LARGEST),
        np.array(sizes, dtype=np.float64).reshape(-1, 2),
        np.array(["box_of_mask" in annotation for annotation, _ in pairs], dtype=bool),
    )


def to_xyxy(boxes: np.ndarray, layout: str) -> np.ndarray:
    """(M, 4) in a layout -> (M, 4) XYXY."""
    if layout == "xyxy":
        return boxes
    if layout == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    low = boxes[:, :2] if layout == "xywh" else boxes[:, :2] - boxes[:, 2:] / 2
    return np.concatenate([low, low + boxes[:, 2:]], axis=1)


def look_like_fractions(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(M,) bool: four numbers in 0..1, as rounding leaves them, where that is about a pixel."""
    within = ((boxes > -0.1) & (boxes < 1.1)).all(axis=1)
    return within & (boxes[:, 2:] > 0).any(axis=1) & (sizes > 4).all(axis=1)


def _are_fractions(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    alike = int(look_like_fractions(boxes, sizes).sum())
    # a box without area says nothing
    return alike > 0 and (
        alike == int((boxes != 0).any(axis=1).sum()) or (alike >= 3 and 2 * alike > len(boxes))
    )


def is_outside(boxes: np.ndarray, sizes: np.ndarray, layout: str) -> np.ndarray:
    """(M,) bool: no area in this layout, or reaches outside the image."""
    corners = to_xyxy(boxes, layout)
    beyond = (corners[:, :2] < -ROUNDING) | (corners[:, 2:] > sizes + ROUNDING)
    empty = corners[:, 2:] <= corners[:, :2]
    return (beyond | (empty & (layout in ("xyxy", "yxyx")))).any(axis=1)


class _Given:
    """Boxes as a file has them, masks' left out, and what they are: as configured, or as found.

    Attributes:
        scaled: (M, 4), fractions in pixels.
        fraction: whether they are fractions.
        layout: the configured one, or one that fits: "xywh", "xyxy", "yxyx" or "cxcywh".
        judged: (M,) bool, boxes that the layout was found from.
    """

    def __init__(
        self,
        pairs: AnnotationPairs,
        boxes: np.ndarray,
        sizes: np.ndarray,
        configured: BoxCoordinates,
    ) -> None:
        """
        Args:
            pairs: M annotations with their records.
            boxes, sizes: (M, 4) and (M, 2).
            configured: what the user says.
        """
        self.pairs, self.sizes = pairs, sizes
        self.fraction = configured.unit == "fraction" or (
            not configured.unit and _are_fractions(boxes, sizes)
        )
        alike = look_like_fractions(boxes, sizes)
        # a foreign box in pixels would reach outside in every layout
        self.judged = alike if self.fraction and alike.any() else np.ones(len(boxes), dtype=bool)
        self.scaled = boxes * np.tile(sizes, 2) if self.fraction else boxes
        self.layout = configured.layout or self._layout()

    def count_outside(self, layout: str) -> int:
        """How many of the judged boxes reach outside, or have no area, in a layout."""
        boxes, sizes = self.scaled[self.judged], self.sizes[self.judged]
        if layout == "yxyx" and self.fraction:
            boxes = boxes / np.tile(sizes, 2) * np.tile(sizes[:, ::-1], 2)
        return int(is_outside(boxes, sizes, layout).sum())

    def _layout(self) -> str:
        """The layout that the boxes have, by the rules of :func:`convert_boxes`."""
        beyond, total = self.count_outside("xywh"), int(self.judged.sum())
        counts = {layout: self.count_outside(layout) for layout in LEAST_OUTSIDE}
        for layout in sorted(counts, key=lambda layout: (layout == "cxcywh", counts[layout])):
            half = layout == "cxcywh" or 2 * beyond > total
            one = layout != "cxcywh" and beyond >= LEAST_FOR_ONE
            others = max(beyond // 10, int(one))
            if beyond >= LEAST_OUTSIDE[layout] and half and counts[layout] <= others:
                return layout
        return "xywh"

    def require_cocos(self, configured: BoxCoordinates, json_file: str) -> None:
        """Make sure that what is not configured is COCO's."""
        strange_layout = not configured.layout and self.layout != "xywh"
        if not strange_layout and (configured.unit or not self.fraction):
            return
        layout = self.layout if configured.layout or strange_layout else ""
        unit = "fraction" if self.fraction else configured.unit
        needed = BoxCoordinates(layout, unit, configured.orientation)
        raise DatasetError(f"{json_file}: {self._cause()}. {_remedy(needed)}{self._twin()}")

    def _cause(self) -> str:
        """What the boxes show."""
        count, total, causes = int(self.judged.sum()), len(self.pairs), []
        example = int((is_outside(self.scaled, self.sizes, "xywh") & self.judged).argmax())
        if self.fraction:
            number = f"all {total}" if count == total else f"{count} of {total}"
            causes.append(
                f"{number} boxes lie between 0 and 1: they are fractions of the image, not pixels"
            )
            if count < total:
                causes.append(f"correct the others (first: {self._example(self.judged.argmin())})")
        if self.layout != "xywh":
            causes.append(
                f"as [x, y, width, height] {self.count_outside('xywh')} of {count} boxes reach "
                f"outside their image, as {NAMES[self.layout]} {self.count_outside(self.layout)}"
            )
        return f"{'; '.join(causes)} (first: {self._example(example)})"

    def _example(self, place: int) -> str:
        annotation, record = self.pairs[place]
        size = f"{record['width']}x{record['height']}"
        return f"annotation {annotation['id']!r}, bbox {annotation['bbox']} in {size}"

    def _twin(self) -> str:
        """A warning where the order of x and y cannot be seen."""
        if self.layout != "xyxy" or self.count_outside("yxyx") > self.count_outside("xyxy"):
            return ""
        return (
            " [y0, x0, y1, x1] fits as well, which cannot be told apart here (in square images "
            "never): look at them with tools/visualize_data.py, and write boxes of that order anew."
        )


def _remedy(needed: BoxCoordinates) -> str:
    if needed.layout == "yxyx":
        return (
            f"No word of {KEY} converts them: write them as [x, y, width, height] in pixels. If "
            "they are right as they are, set it to 'xywh'."
        )
    as_it_is = "pixels" if needed.unit == "fraction" else "xywh"
    return (
        f"Set {KEY} to {str(needed)!r} to convert the boxes, or write them as [x, y, width, "
        "height] in pixels. "
        f"If they are right as they are, set it to {as_it_is!r}."
    )


def _require_sense(
    corners: np.ndarray, sizes: np.ndarray, configured: BoxCoordinates, json_file: str
) -> None:
    inside = np.minimum(corners[:, 2:], sizes) - np.maximum(corners[:, :2], 0)
    bad = int((inside <= 0).any(axis=1).sum())
    if 2 * bad > len(corners):
        raise DatasetError(
            f"{json_file}: as {str(configured)!r}, as {KEY} says, {bad} of {len(corners)} boxes "
            "have no area in their image. "
            "The key is for all data sets of a run: convert the boxes of those that differ."
        )
