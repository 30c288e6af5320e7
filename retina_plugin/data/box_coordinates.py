"""Detect boxes that are not COCO's [x, y, width, height] in pixels, and convert them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retina_plugin.data.errors import DatasetError

KEY = "MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES"
CHOICES = {
    "layout": ("xywh", "xyxy", "cxcywh"),
    "unit": ("pixels", "fraction"),
    "orientation": ("upright", "stored"),
}
LAYOUT_NAMES = {
    "xyxy": "corners [x0, y0, x1, y1]",
    "yxyx": "corners [y0, x0, y1, x1]",
    "cxcywh": "[centre x, centre y, width, height]",
}
# smallest number of boxes outside their image that is evidence for another layout
MIN_OUTSIDE = {"xyxy": 3, "yxyx": 3, "cxcywh": 5}
# from this number on, one box that does not fit as corners is no evidence against corners
MIN_FOR_ONE_EXCEPTION = 5
MAX_COORDINATE = 1e15  # larger numbers are clipped, so that sums of them stay finite
ROUNDING = 1.0  # pixels that a box may reach outside its image
# (annotation, record of its image)
AnnotationPairs = Sequence[tuple[dict[str, Any], Mapping[str, Any]]]


@dataclass(frozen=True)
class BoxCoordinates:
    """The box coordinates of an annotation file, as the config sets them.

    An empty attribute stands for COCO's own choice, the first of the list; boxes are then checked
    against it.

    Attributes:
        layout: "xywh", "xyxy" or "cxcywh".
        unit: "pixels" or "fraction" of the image's width and height.
        orientation: "upright" or "stored": boxes of images that EXIF rotates are measured after or
            before that rotation.
    """

    layout: str = ""
    unit: str = ""
    orientation: str = ""

    @classmethod
    def parse(cls, text: str) -> BoxCoordinates:
        """Parse text such as "xyxy fraction"; the words may have any order.

        Raises:
            ValueError: the text has an unknown word, or two words for one attribute.
        """
        configured: dict[str, str] = {}
        for word in text.split():
            kind = next((kind for kind, words in CHOICES.items() if word in words), None)
            if kind is None or kind in configured:
                expected = ", ".join(" or ".join(words) for words in CHOICES.values())
                raise ValueError(
                    f"{KEY}: expected at most one word each of: {expected}; found {text!r}"
                )
            configured[kind] = word
        return cls(**configured)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.layout, self.unit, self.orientation)))


class BoxCoordinatesError(DatasetError):
    """Boxes seem to have other coordinates than the configured ones.

    Attributes:
        needed: the coordinates that convert them; None if no setting does.
    """

    def __init__(self, message: str, needed: BoxCoordinates | None) -> None:
        super().__init__(message)
        self.needed = needed


def convert_boxes(pairs: AnnotationPairs, configured: BoxCoordinates, json_file: str) -> None:
    """Convert every "bbox" to [x, y, width, height] in pixels, in place.

    Where the config leaves the layout or the unit empty, the boxes must be COCO's. They are
    detected as

    - fractions, if all boxes, or more than half and at least 3, have four numbers in -0.1..1.1 on
      images larger than 4 pixels;
    - corners [x0, y0, x1, y1] or [y0, x0, y1, x1], if more than half of the boxes, and at least 3,
      reach more than a pixel outside their image when read as [x, y, width, height], and at most
      a tenth as many (or 1, if at least 5 reach outside) are outside or empty when read as
      corners;
    - centres, if at least 5 boxes reach outside when read as [x, y, width, height], and at most a
      tenth as many when read as centres.

    Args:
        pairs: (annotation, record) pairs. "width" and "height" of the record are those of the
            image that the box is measured in. Boxes made from masks ("box_of_mask") are always in
            COCO's layout and in pixels.
        configured: the coordinates from the config. What it sets is not checked by these rules.
        json_file: the annotation file, for messages.

    Raises:
        BoxCoordinatesError: boxes are detected as something else than COCO's. The message says
            which config value to set.
        DatasetError: more than half of the boxes have no area in their image after the configured
            conversion; or masks are fractions.
    """
    if not pairs:
        return
    boxes, sizes, of_mask = box_arrays(pairs)
    if not configured.unit and _are_fractions(boxes[of_mask], sizes[of_mask]):
        raise DatasetError(
            f"{json_file}: polygons of {int(of_mask.sum())} annotations without bbox lie between 0 "
            "and 1: they are fractions of the image. Write segmentation in pixels."
        )
    own = [int(i) for i in np.flatnonzero(~of_mask)]
    detected = _DetectedCoordinates([pairs[i] for i in own], boxes[own], sizes[own], configured)
    detected.require_coco_coordinates(configured, json_file)
    if detected.layout == "xywh" and not detected.fraction:
        return
    corners = to_xyxy(boxes, "xywh")
    corners[own] = to_xyxy(detected.scaled, detected.layout)
    _require_boxes_inside(corners, sizes, configured, json_file)
    for i in own:
        x0, y0, x1, y1 = corners[i].tolist()
        pairs[i][0]["bbox"] = [x0, y0, x1 - x0, y1 - y0]


def scale_fractions(pairs: AnnotationPairs) -> None:
    """Turn boxes [x, y, width, height] that are fractions of their image into pixels, in place."""
    for annotation, record in pairs:
        x, y, width, height = annotation["bbox"]
        w, h = record["width"], record["height"]
        annotation["bbox"] = [x * w, y * h, width * w, height * h]


def configured_xyxy(pairs: AnnotationPairs, configured: BoxCoordinates) -> np.ndarray:
    """Convert boxes to (M, 4) XYXY in pixels; coordinates that are not configured are COCO's."""
    boxes, sizes, of_mask = box_arrays(pairs)
    scaled = boxes * np.tile(sizes, 2) if configured.unit == "fraction" else boxes
    own = to_xyxy(scaled, configured.layout or "xywh")
    return np.where(of_mask[:, None], to_xyxy(boxes, "xywh"), own)


def box_arrays(pairs: AnnotationPairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes (M, 4), image sizes (M, 2) as (width, height), and a mask (M,) of the boxes that
    were made from segmentations."""
    boxes = np.array([annotation["bbox"] for annotation, _ in pairs], dtype=np.float64)
    sizes = [(record["width"], record["height"]) for _, record in pairs]
    return (
        boxes.reshape(-1, 4).clip(-MAX_COORDINATE, MAX_COORDINATE),
        np.array(sizes, dtype=np.float64).reshape(-1, 2),
        np.array(["box_of_mask" in annotation for annotation, _ in pairs], dtype=bool),
    )


def to_xyxy(boxes: np.ndarray, layout: str) -> np.ndarray:
    """Convert boxes (M, 4) from a layout to XYXY."""
    if layout == "xyxy":
        return boxes
    if layout == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    low = boxes[:, :2] if layout == "xywh" else boxes[:, :2] - boxes[:, 2:] / 2
    return np.concatenate([low, low + boxes[:, 2:]], axis=1)


def look_like_fractions(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return (M,) bool: boxes with four numbers in about 0..1, on images larger than 4 pixels."""
    within = np.all((boxes > -0.1) & (boxes < 1.1), axis=1)
    result: np.ndarray = within & np.any(boxes[:, 2:] > 0, axis=1) & np.all(sizes > 4, axis=1)
    return result


def _are_fractions(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    fractions = int(look_like_fractions(boxes, sizes).sum())
    # boxes of four zeros are no evidence
    return fractions > 0 and (
        fractions == int((boxes != 0).any(axis=1).sum())
        or (fractions >= 3 and 2 * fractions > len(boxes))
    )


def is_outside(boxes: np.ndarray, sizes: np.ndarray, layout: str) -> np.ndarray:
    """Return (M,) bool: boxes that reach outside their image in this layout, or corners without
    area."""
    corners = to_xyxy(boxes, layout)
    beyond = (corners[:, :2] < -ROUNDING) | (corners[:, 2:] > sizes + ROUNDING)
    empty = corners[:, 2:] <= corners[:, :2]
    result: np.ndarray = np.any(beyond | (empty & (layout in ("xyxy", "yxyx"))), axis=1)
    return result


class _DetectedCoordinates:
    """The unit and layout of the boxes of a file, configured or detected.

    Boxes made from masks are left out.

    Attributes:
        scaled: (M, 4) boxes; fractions are scaled to pixels.
        fraction: whether the boxes are fractions.
        layout: the configured layout, or the detected one: "xywh", "xyxy", "yxyx" or "cxcywh".
        used: (M,) bool, the boxes that the layout is detected from.
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
            pairs: M (annotation, record) pairs.
            boxes, sizes: (M, 4) boxes and (M, 2) image sizes, see :func:`box_arrays`.
            configured: the coordinates from the config.
        """
        self.pairs, self.sizes = pairs, sizes
        self.fraction = configured.unit == "fraction" or (
            not configured.unit and _are_fractions(boxes, sizes)
        )
        fractions = look_like_fractions(boxes, sizes)
        # a box in pixels among fractions would reach outside in every layout
        self.used = (
            fractions if self.fraction and fractions.any() else np.ones(len(boxes), dtype=bool)
        )
        self.scaled = boxes * np.tile(sizes, 2) if self.fraction else boxes
        self.layout = configured.layout or self._detect_layout()

    def count_outside(self, layout: str) -> int:
        """Count the used boxes that :func:`is_outside` finds in a layout."""
        boxes, sizes = self.scaled[self.used], self.sizes[self.used]
        if layout == "yxyx" and self.fraction:
            boxes = boxes / np.tile(sizes, 2) * np.tile(sizes[:, ::-1], 2)
        return int(is_outside(boxes, sizes, layout).sum())

    def _detect_layout(self) -> str:
        """Return the layout of the boxes, by the rules of :func:`convert_boxes`."""
        beyond, total = self.count_outside("xywh"), int(self.used.sum())
        counts = {layout: self.count_outside(layout) for layout in MIN_OUTSIDE}
        for layout in sorted(counts, key=lambda layout: (layout == "cxcywh", counts[layout])):
            half = layout == "cxcywh" or 2 * beyond > total
            one = layout != "cxcywh" and beyond >= MIN_FOR_ONE_EXCEPTION
            others = max(beyond // 10, int(one))
            if beyond >= MIN_OUTSIDE[layout] and half and counts[layout] <= others:
                return layout
        return "xywh"

    def require_coco_coordinates(self, configured: BoxCoordinates, json_file: str) -> None:
        """Raise an error if the config leaves a value empty and the boxes do not have COCO's."""
        other_layout = not configured.layout and self.layout != "xywh"
        if not other_layout and (configured.unit or not self.fraction):
            return
        layout = self.layout if configured.layout or other_layout else ""
        unit = "fraction" if self.fraction else configured.unit
        needed = BoxCoordinates(layout, unit, configured.orientation)
        raise BoxCoordinatesError(
            f"{json_file}: {self._describe_evidence()}. {_remedy(needed)}"
            f"{self._axis_order_warning()}",
            needed if layout in ("", *CHOICES["layout"]) else None,
        )

    def _describe_evidence(self) -> str:
        """Describe what the boxes look like."""
        count, total, causes = int(self.used.sum()), len(self.pairs), []
        example = int((is_outside(self.scaled, self.sizes, "xywh") & self.used).argmax())
        if self.fraction:
            number = f"all {total}" if count == total else f"{count} of {total}"
            causes.append(
                f"{number} boxes lie between 0 and 1: they are fractions of the image, not pixels"
            )
            if count < total:
                causes.append(
                    f"correct the others (first: {self._example(int(self.used.argmin()))})"
                )
        if self.layout != "xywh":
            causes.append(
                f"as [x, y, width, height] {self.count_outside('xywh')} of {count} boxes reach "
                f"outside their image, as {LAYOUT_NAMES[self.layout]} "
                f"{self.count_outside(self.layout)}"
            )
        return f"{'; '.join(causes)} (first: {self._example(example)})"

    def _example(self, place: int) -> str:
        annotation, record = self.pairs[place]
        size = f"{record['width']}x{record['height']}"
        return f"annotation {annotation['id']!r}, bbox {annotation['bbox']} in {size}"

    def _axis_order_warning(self) -> str:
        """Return a warning if the boxes fit in both orders of x and y."""
        if self.layout != "xyxy" or self.count_outside("yxyx") > self.count_outside("xyxy"):
            return ""
        return (
            " They fit as [y0, x0, y1, x1], too. Look at them with tools/visualize_data.py; if y "
            "comes first, write them again with x first."
        )


def _remedy(needed: BoxCoordinates) -> str:
    if needed.layout == "yxyx":
        return (
            f"{KEY} cannot convert this layout: write them as [x, y, width, height] in pixels. If "
            "the boxes are correct, set it to 'xywh'."
        )
    unchanged = "pixels" if needed.unit == "fraction" else "xywh"
    return (
        f"Set {KEY} to {str(needed)!r} to convert the boxes, or write them as [x, y, width, "
        "height] in pixels. "
        f"If the boxes are correct, set it to {unchanged!r}."
    )


def _require_boxes_inside(
    corners: np.ndarray, sizes: np.ndarray, configured: BoxCoordinates, json_file: str
) -> None:
    inside = np.minimum(corners[:, 2:], sizes) - np.maximum(corners[:, :2], 0)
    bad = int((inside <= 0).any(axis=1).sum())
    if 2 * bad > len(corners):
        raise DatasetError(
            f"{json_file}: as {str(configured)!r}, as {KEY} says, {bad} of {len(corners)} boxes "
            "have no area in their image. "
            "The key holds for all data sets of a run: convert the boxes of those that differ."
        )
