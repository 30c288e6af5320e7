"""Keep the detections of all scores of an evaluation, for score thresholds.

COCO metrics and ``coco_instances_results.json`` have only detections with scores above
``MODEL.RETINANET.SCORE_THRESH_TEST``. A class whose best threshold is lower needs the others.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from retina_plugin.config.files import atomic_file
from retina_plugin.evaluation.coco import coco_results
from retina_plugin.evaluation.results import results_folder
from retina_plugin.modeling.structures import Detections

UNFILTERED_FILE = "unfiltered_results.json"


def on_cpu(detections: Detections) -> Detections:
    """Return the detections as tensors on the CPU."""
    return {name: values.cpu() for name, values in detections.items()}


def write_unfiltered(
    folder: str, parts: Sequence[Mapping[Any, Detections]], category_ids: Sequence[Any]
) -> None:
    """Write ``unfiltered_results.json`` in COCO's results format.

    Args:
        folder: an existing folder.
        parts: one mapping for each process, from image ids to detections; an image may occur in
            several of them. If all are empty, the file of an earlier evaluation is removed.
        category_ids: K ids of the annotation file, by class index.

    Raises:
        DiskError: the file cannot be written; the earlier one is unchanged.
    """
    path = os.path.join(folder, UNFILTERED_FILE)
    by_image = {image: found for part in parts for image, found in part.items()}
    if not by_image:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        return
    # one image at a time: there are many detections
    lines = (
        json.dumps(coco_results(image, found, category_ids))[1:-1]
        for image, found in by_image.items()
        if len(found["scores"])
    )
    with atomic_file(path) as draft, open(draft, "w", encoding="utf-8") as file:
        file.write("[")
        for number, line in enumerate(lines):
            file.write(f",\n{line}" if number else line)
        file.write("]")


def read_unfiltered(cfg: Any, name: str) -> list[dict[str, Any]] | None:
    """Read the detections of all scores of the last evaluation of a data set.

    Returns:
        Detections in COCO's results format; None if the evaluation has not kept them.
    """
    try:
        with open(
            os.path.join(results_folder(cfg, name), UNFILTERED_FILE), encoding="utf-8"
        ) as file:
            found: list[dict[str, Any]] = json.load(file)
    except FileNotFoundError:
        return None
    return found
