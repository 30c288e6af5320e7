"""Score thresholds of a run: choose them on its validation sets and keep them in its checkpoints.

The detections are read from the files that the last evaluation wrote; the network does not run.
They have all scores if the model is of this project.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from retina_plugin.checkpoint.add_metadata import add_metadata
from retina_plugin.data import load_dataset, validation_sets
from retina_plugin.engine.checkpoints import FINAL
from retina_plugin.evaluation.matches import Matches, match_detections, merge
from retina_plugin.evaluation.results import read_results
from retina_plugin.evaluation.thresholds import score_thresholds
from retina_plugin.evaluation.unfiltered import read_unfiltered

TESTED = "chosen on the images that are tested"


def match_last_detections(cfg: Any, name: str) -> Matches:
    """Match the detections of the last evaluation of a data set; see
    :func:`retina_plugin.evaluation.matches.match_detections`."""
    return match_detections(
        load_dataset(name),
        read_results(cfg, name),
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
    )


def threshold_metadata(cfg: Any) -> dict[str, Any]:
    """Choose score thresholds on the last evaluation of all validation sets together.

    Returns:
        Entries of a checkpoint's metadata: "score_thresholds", {class name: score}, and
        "score_thresholds_from", {"sets": names of the data sets, "tested": whether the run has no
        validation sets and these are its test sets, "missing": {class name: reason} of the classes
        without a threshold, "score_filter": the score above which all detections were used}. Empty
        if no validation set has ground truth.
    """
    names = [name for name in validation_sets(cfg) if load_dataset(name).has_ground_truth]
    if not names:
        return {}
    results = [found for name in names if (found := read_unfiltered(cfg, name)) is not None]
    score_filter = 0.0
    if len(results) < len(names):
        results = [read_results(cfg, name) for name in names]
        score_filter = cfg.MODEL.RETINANET.SCORE_THRESH_TEST
    matches = [_match_at_half(cfg, *pair) for pair in zip(names, results, strict=True)]
    thresholds = score_thresholds(merge(matches))
    return {
        "score_thresholds": {n: t.score for n, t in thresholds.items() if t.score is not None},
        "score_thresholds_from": {
            "sets": names,
            "tested": not cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION,
            "missing": {n: t.reason for n, t in thresholds.items() if t.score is None},
            "score_filter": score_filter,
        },
    }


def _match_at_half(cfg: Any, name: str, results: list[dict[str, Any]]) -> Matches:
    return match_detections(
        load_dataset(name),
        results,
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        iou_thresholds=(0.5,),
    )


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
        f"score thresholds in this file, with the highest F1 at IoU 0.5 on {images}{tested}"
        f"{used_detections(source)}: {', '.join(words)}"
    )


def used_detections(source: Mapping[str, Any]) -> str:
    """Say among which detections thresholds were chosen, after a comma.

    Args:
        source: "score_thresholds_from" of :func:`threshold_metadata`. That of older checkpoints
            does not say it, and the text is empty.
    """
    if "score_filter" not in source:
        return ""
    score = source["score_filter"]
    if not score:
        return ", among detections of all scores"
    return f", among detections above MODEL.RETINANET.SCORE_THRESH_TEST {score:g} only"


def _missing(reasons: dict[str, str], *, most: int) -> Sequence[str]:
    if len(reasons) > most:
        return [f"none for {len(reasons)} classes"]
    return [f"{name} none ({reason})" for name, reason in reasons.items()]
