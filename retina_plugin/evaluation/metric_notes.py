"""Notes that are printed with metrics: why a metric is NaN, and what may lower the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from retina_plugin.data import Dataset, class_counts, evaluated_sets, load_dataset

SIZES = {
    "APs": "of at most 32x32 pixels",
    "APm": "of 32x32 to 96x96 pixels",
    "APl": "of at least 96x96 pixels",
}


def nan_reasons(dataset: Dataset, metrics: Mapping[str, float]) -> dict[str, str]:
    """Return {name: reason} for each metric that is NaN."""
    reason = _nan_reason(dataset)
    return {name: reason(name) for name, value in metrics.items() if math.isnan(value)}


def _nan_reason(dataset: Dataset) -> Callable[[str], str]:
    boxes = dict(
        zip(dataset.class_names, class_counts(dataset.records, dataset.num_classes), strict=True)
    )
    crowds = {
        dataset.class_names[a["category_id"]]
        for r in dataset.records
        for a in r["annotations"]
        if a["iscrowd"]
    }

    def reason(metric: str) -> str:
        if not any(boxes.values()):
            return f"no ground truth box {'other than crowds ' if crowds else ''}in the data set"
        name = metric.removeprefix("AP-")
        if name != metric and not boxes[name]:
            return f"{'only crowds' if name in crowds else 'no box'} of this class in the data set"
        if metric in SIZES:
            return f"no ground truth box {SIZES[metric]}"
        return "nothing was detected; see MODEL.RETINANET.SCORE_THRESH_TEST"

    return reason


def detection_limit_warnings(cfg: Any) -> str:
    """Return a line for each set to evaluate with images that have more boxes than
    ``TEST.DETECTIONS_PER_IMAGE``.

    Crowds do not count. The text is empty if no test set has such images.
    """
    lines = (
        detection_limit_warning(load_dataset(name), cfg.TEST.DETECTIONS_PER_IMAGE)
        for name in evaluated_sets(cfg)
    )
    return "\n".join(filter(None, lines))


def detection_limit_warning(dataset: Dataset, limit: int) -> str:
    """Return a line if images of a data set have more boxes than ``limit``; crowds do not count."""
    counts = [sum(not a["iscrowd"] for a in record["annotations"]) for record in dataset.records]
    counts_above = [count for count in counts if count > limit]
    if not counts_above:
        return ""
    return (
        f"{dataset.name}: {len(counts_above)} of {len(counts)} images have more boxes than "
        f"TEST.DETECTIONS_PER_IMAGE ({limit}), up to {max(counts_above)}. The remaining "
        f"boxes cannot be found: set it to {max(counts_above)} or more."
    )


def metric_notes(dataset: Dataset, limit: int) -> list[str]:
    """Return notes on repairs of the ground truth and on the limit of detections per image."""
    lines = [f"ground truth: {line}" for line in dataset.warnings]
    if dataset.without_area:
        lines.append(
            f"ground truth: {dataset.without_area} boxes have no area or area 0 in "
            f"{dataset.json_file}: APs, APm and APl use width times height"
        )
    warning = detection_limit_warning(dataset, limit)
    return [*lines, warning] if warning else lines
