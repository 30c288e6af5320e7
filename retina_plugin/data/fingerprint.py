"""Compute a fingerprint of training data, to detect on resume that the data changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def fingerprint(datasets: Iterable[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Count the images and boxes of training sets, and hash the annotations of boxes.

    The hash ignores the folders of images, so that data may be moved, and the order of boxes in an
    image. 100 000 images with 8 boxes each take about 2 seconds.

    Args:
        datasets: the records of each training set, of this project or in Detectron2's format.

    Returns:
        "images" and "boxes", the counts, and "sha256", the hash of file names, image sizes, boxes
        (to a hundredth of a pixel), class indices and crowd flags, but not of pixels, masks and
        class names. These are plain values that a checkpoint can store.
    """
    images = boxes = 0
    digest = hashlib.sha256()
    for records in datasets:
        for record in records:
            annotations = record.get("annotations", ())
            images, boxes = images + 1, boxes + len(annotations)
            name = os.path.basename(str(record["file_name"]))
            size = record.get("width"), record.get("height")
            entry = repr((name, size, sorted(map(_box, annotations))))
            digest.update(entry.encode("utf-8", errors="surrogateescape"))
    return {"images": images, "boxes": boxes, "sha256": digest.hexdigest()}


def _box(annotation: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return class, crowd flag and coordinates in hundredths of a pixel."""
    box = (round(100 * float(v)) for v in annotation.get("bbox", ()))
    return annotation.get("category_id", -1), int(annotation.get("iscrowd") or 0), *box
