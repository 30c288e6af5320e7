"""Rules about boxes: outside the image, without area, repeated, with two classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from retina_plugin.data.box_coordinates import MAX_COORDINATE, to_xyxy
from retina_plugin.data.checks.box_table import BoxTable
from retina_plugin.data.checks.checked_set import CheckedSet
from retina_plugin.data.checks.finding import Finding
from retina_plugin.data.checks.rules import SAME_PLACE
from retina_plugin.data.repairs import TOLERANCE


def check_edges(checked: CheckedSet) -> Iterator[Finding]:
    """Check the rules outside-image and no-area."""
    pairs = [p for p in checked.annotations if p[1]["file_name"] not in checked.unclear]
    boxes = np.array([a["bbox"] for a, _ in pairs], np.float64).reshape(-1, 4)
    sizes = np.array([(r["width"], r["height"]) for _, r in pairs], np.float64)
    corners = to_xyxy(boxes.clip(-MAX_COORDINATE, MAX_COORDINATE), "xywh")
    no_area = ~np.all(boxes[:, 2:] > 0, axis=1)
    beyond = np.maximum(-corners[:, :2], corners[:, 2:] - sizes.reshape(-1, 2)).max(1, initial=0)
    for i in np.flatnonzero(no_area | (beyond > TOLERANCE)).tolist():
        annotation, record = pairs[i]
        shown = ", ".join(f"{value:g}" for value in annotation["bbox"])
        rule, what = (
            ("no-area", "has no area")
            if no_area[i]
            else ("outside-image", f"reaches {beyond[i]:.4g} pixels outside")
        )
        size = f"{record['width']}x{record['height']}"
        yield checked.finding(
            rule,
            record["file_name"],
            f"bbox [{shown}] in {size} {what}",
            annotation=annotation,
        )


def check_repeated(checked: CheckedSet) -> Iterator[Finding]:
    """Check the rule duplicate-box."""
    for record in checked.dataset.records:
        first: dict[tuple[object, ...], dict[str, object]] = {}
        for annotation in record["annotations"]:
            key = (annotation["category_id"], annotation["iscrowd"], *annotation["bbox"])
            other = first.setdefault(key, annotation)
            if other is not annotation:
                name = checked.annotation_name(other)
                yield checked.finding(
                    "duplicate-box",
                    record["file_name"],
                    f"repeats {f'annotation {name}' if isinstance(name, int) else name}",
                    annotation=annotation,
                )


def check_two_classes(checked: CheckedSet, table: BoxTable) -> Iterator[Finding]:
    """Check the rule two-classes."""
    names = checked.dataset.class_names
    for a, b in same_place_pairs(table):
        first = checked.annotation_name(table.annotations[a])
        yield checked.finding(
            "two-classes",
            table.record_of(b)["file_name"],
            f"class {names[table.labels[b]]!r} in the place of class {names[table.labels[a]]!r} "
            f"({f'annotation {first}' if isinstance(first, int) else first})",
            annotation=table.annotations[b],
        )


def same_place_pairs(table: BoxTable) -> list[tuple[int, int]]:
    """Return pairs of boxes of one image with different classes and an IoU of at least 0.95.

    Boxes are sorted by image and left edge. The left edges of such a pair differ by at most
    0.05 / 0.95 of the width of the first box, so only boxes within that distance are compared.
    """
    boxes, images = table.boxes, table.images
    order = np.lexsort((boxes[:, 0], images))
    reach = boxes[:, 0] + (1 - SAME_PLACE) / SAME_PLACE * (boxes[:, 2] - boxes[:, 0])
    pairs: list[tuple[int, int]] = []
    active, step = np.arange(len(order)), 1
    while len(active := active[active + step < len(order)]):
        a, b = order[active], order[active + step]
        near = (images[a] == images[b]) & (boxes[b, 0] <= reach[a])
        active, a, b = active[near], a[near], b[near]
        found = (table.labels[a] != table.labels[b]) & (_iou(boxes[a], boxes[b]) >= SAME_PLACE)
        pairs += zip(a[found].tolist(), b[found].tolist(), strict=True)
        step += 1
    return sorted((min(pair), max(pair)) for pair in pairs)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (M,) IoU of boxes (M, 4) with boxes (M, 4)."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = sides.clip(0).prod(1)
    areas = [(box[:, 2:] - box[:, :2]).prod(1) for box in (a, b)]
    iou: np.ndarray = common / (areas[0] + areas[1] - common)
    return iou
