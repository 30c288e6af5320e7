"""Rule wrong-size: find and correct image sizes in the annotations that differ from the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from retina_plugin.data.box_coordinates import ROUNDING, AnnotationPairs, to_xyxy
from retina_plugin.data.coco import object_entry
from retina_plugin.data.dataset import Dataset, Record
from retina_plugin.data.headers import Header
from retina_plugin.data.repairs import Repairs, clip_box

AddFinding = Callable[[str, str, str], None]  # rule, file, message
Headers = dict[Any, Header]  # by image id

RATIO = 0.02  # if the logarithms of two aspect ratios differ by at most this, they are equal

KEEP, SCALE, UNCLEAR = (
    "boxes are measured in the size of the file",
    "boxes are measured in the size of the annotations",
    "nothing shows which of the two sizes boxes are measured in",
)


def correct_sizes_of_fractions(
    images: Sequence[dict[str, Any]], headers: Headers, add: AddFinding
) -> None:
    """Correct width and height of images whose boxes are fractions, in place."""
    for image in images:
        header = headers[image["id"]]
        given, size = (image.get("width"), image.get("height")), (header.width, header.height)
        if not all(given) or given in (size, header.stored_size):
            continue
        image["width"], image["height"] = size
        add("wrong-size", header.path, _message(given, size, "boxes are fractions"))


def correct_sizes(
    dataset: Dataset, pairs: AnnotationPairs, headers: Headers, add: AddFinding
) -> frozenset[str]:
    """Correct the sizes of records, and scale their boxes if these are measured in the wrong size.

    Records and annotations are changed in place.

    Args:
        dataset: the data set, with the sizes in the annotations.
        pairs: (annotation, record) pairs with "bbox" as [x, y, width, height] in pixels.
        headers: the headers of all records.
        add: called for each wrong size.

    Returns:
        The files for which it is unclear which size the boxes are measured in.
    """
    label_of = {coco_id: label for label, coco_id in enumerate(dataset.category_ids)}
    by_image: dict[Any, list[dict[str, Any]]] = {}
    unclear = set()
    for annotation, record in pairs:
        by_image.setdefault(record["image_id"], []).append(annotation)
    for record in dataset.records:
        header, given = headers[record["image_id"]], (record["width"], record["height"])
        size = header.width, header.height
        if given == size:
            continue
        annotations = by_image.get(record["image_id"], [])
        outcome = _measured_in(annotations, given, size)
        add("wrong-size", header.path, _message(given, size, outcome))
        if outcome == UNCLEAR:
            unclear.add(record["file_name"])
        factor = size[0] / given[0] if outcome == SCALE else 1.0
        _set_size(record, annotations, size, factor, label_of)
    return frozenset(unclear)


def _message(given: tuple[Any, ...], size: tuple[int, int], outcome: str) -> str:
    return f"{given[0]}x{given[1]} in the annotations, {size[0]}x{size[1]} in the file; {outcome}"


def _measured_in(
    annotations: Sequence[Mapping[str, Any]], given: tuple[int, int], size: tuple[int, int]
) -> str:
    """Return KEEP, SCALE or UNCLEAR: which size the boxes are measured in."""
    if not annotations:
        return KEEP
    corners = to_xyxy(np.array([a["bbox"] for a in annotations], dtype=np.float64), "xywh")
    in_given, in_file = _fits(corners, given), _fits(corners, size)
    only_file, only_given = (in_file & ~in_given).any(), (in_given & ~in_file).any()
    if only_file and not only_given:
        return KEEP
    ratios = math.log(given[0] / given[1]), math.log(size[0] / size[1])
    if only_given and not only_file and abs(ratios[0] - ratios[1]) <= RATIO:
        return SCALE
    return UNCLEAR


def _fits(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    inside = (corners[:, :2] >= -ROUNDING) & (corners[:, 2:] <= np.array(size) + ROUNDING)
    result: np.ndarray = np.all(inside, axis=1)
    return result


def _set_size(
    record: Record,
    annotations: Sequence[dict[str, Any]],
    size: tuple[int, int],
    factor: float,
    label_of: Mapping[Any, int],
) -> None:
    record["width"], record["height"] = size
    record["annotations"] = []
    for annotation in annotations:
        annotation["bbox"] = [value * factor for value in annotation["bbox"]]
        box = clip_box(annotation, record, Repairs())
        if box is not None:
            label = label_of[annotation["category_id"]]
            record["annotations"].append(object_entry(annotation, box, label))
