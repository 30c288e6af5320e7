"""Score thresholds of a run: choose them on its validation sets and keep them in its checkpoints.

The detections are read from the files that the last evaluation wrote; the network does not run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from retina_plugin.checkpoint.add_metadata import add_metadata
from retina_plugin.data import load_dataset, validation_sets
from retina_plugin.engine.checkpoints import FINAL
from retina_plugin.evaluation.matches import IOU_THRESHOLDS, Matches, match_detections, merge
from retina_plugin.evaluation.results import read_results
from retina_plugin.evaluation.thresholds import score_thresholds

TESTED = "chosen on the images that are tested"


def match_last_detections(
    cfg: Any, name: str, *, iou_thresholds: tuple[float, ...] = IOU_THRESHOLDS
) -> Matches:
    """Match the detections of the last evaluation of a data set; see
    :func:`retina_plugin.evaluation.matches.match_detections`."""
    return match_detections(
        load_dataset(name),
        read_results(cfg, name),
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        iou_thresholds=iou_thresholds,
    )


def threshold_metadata(cfg: Any) -> dict[str, Any]:
    """Choose score thresholds on the last evaluation of all validation sets together.

    Returns:
        Entries of a checkpoint's metadata: "score_thresholds", {class name: score}, and
        "score_thresholds_from", {"sets": names of the data sets, "tested": whether the run has no
        validation sets and these are its test sets, "missing": {class name: reason} of the classes
        without a threshold}. Empty if no validation set has ground truth.
    """
    names = [name for name in validation_sets(cfg) if load_dataset(name).has_ground_truth]
    if not names:
        return {}
    thresholds = score_thresholds(merge([_match_at_half(cfg, name) for name in names]))
    return {
        "score_thresholds": {n: t.score for n, t in thresholds.items() if t.score is not None},
        "score_thresholds_from": {
            "sets": names,
            "tested": not cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION,
            "missing": {n: t.reason for n, t in thresholds.items() if t.score is None},
        },
    }


def _match_at_half(cfg: Any, name: str) -> Matches:
    return match_last_detections(cfg, name, iou_thresholds=(0.5,))


def store_thresholds(cfg: Any, entries: Mapping[str, Any]) -> None:
    """Write thresholds into ``model_final.pth``.

    Args:
        cfg: the config of the run.
        entries: those of :func:`threshold_metadata` for this checkpoint.

    Raises:
        DiskError: the checkpoint cannot be written; it is unchanged.
    """
    path = os.path.join(cfg.OUTPUT_DIR, FINAL)
    if entries and os.path.isfile(path):  # a resumed run without steps left writes no checkpoint
        add_metadata(path, entries)


def describe_thresholds(
    metadata: Mapping[str, Any], *, reported: Sequence[str], most: int = 6
) -> str:
    """Describe the thresholds in a checkpoint's metadata in one line.

    Args:
        metadata: see :func:`threshold_metadata`; without thresholds, the text is empty.
        reported: the names of the data sets in the line printed before this one.
        most: the largest number of classes to list.
    """
    if "score_thresholds" not in metadata:
        return ""
    scores, source = metadata["score_thresholds"], metadata["score_thresholds_from"]
    words = [f"{name} {score:.2f}" for name, score in scores.items()]
    if len(words) > most:
        low, high = min(scores, key=scores.__getitem__), max(scores, key=scores.__getitem__)
        words = [f"from {scores[low]:.2f} ({low}) to {scores[high]:.2f} ({high})"]
    words += _missing(source["missing"], most=most)
    tested = f", {TESTED}" if source["tested"] else ""
    images = "these images" if source["sets"] == list(reported) else ", ".join(source["sets"])
    return (
        f"score thresholds in this file, with the highest F1 at IoU 0.5 on {images}{tested}: "
        f"{', '.join(words)}"
    )


def _missing(reasons: dict[str, str], *, most: int) -> Sequence[str]:
    if len(reasons) > most:
        return [f"none for {len(reasons)} classes"]
    return [f"{name} none ({reason})" for name, reason in reasons.items()]
