"""The tables of AP by class and size, and of precision and recall at the thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.evaluation.bootstrap import CONFIDENCE, Interval, interval_of
from retina_plugin.evaluation.lrp import mean_lrp
from retina_plugin.report.page.html import Html, note, section, table
from retina_plugin.report.page.numbers import number, percent, with_interval
from retina_plugin.report.page.run_report import RunReport
from retina_plugin.report.page.summary import threshold_source

ALL = "all classes"


def ap_section(run: RunReport, analysis: Analysis, prefix: str) -> Html:
    """Build the section with AP by class and size, the lowest AP first."""
    order = np.argsort(np.nan_to_num(analysis.sizes[""].of_classes, nan=np.inf), kind="stable")
    boxes = analysis.point.found + analysis.point.missed
    rows: list[list[Any]] = [[ALL, int(boxes.sum()), *_of_all(analysis)]]
    rows += [
        [analysis.dataset.class_names[i], int(boxes[i]), *_of_class(analysis, i)] for i in order
    ]
    head = ["class", "boxes", "AP", "AP50", "small", "medium", "large"]
    return section(
        f"{prefix}ap",
        "AP by class and size",
        table(head, rows, caption="AP in percent, classes with the lowest AP first"),
        note(
            "AP is COCO's: the mean over IoU thresholds from 0.5 to 0.95; AP50 is at IoU 0.5. "
            f"{_used(run)} Small objects have an area of at most 32 x 32 pixels, "
            "large ones of at least 96 x 96. Below each AP is its bootstrap interval: "
            f"{CONFIDENCE}% of the values if the images are drawn again with replacement. It does "
            "not include the randomness of training."
        ),
    )


def _used(run: RunReport) -> str:
    """Say which detections the evaluation has kept."""
    cfg = run.cfg
    return (
        "AP, the curves, the kinds of errors, and the calibration use all detections of the "
        f"evaluation: those with a score above {cfg.MODEL.RETINANET.SCORE_THRESH_TEST:g} "
        f"(MODEL.RETINANET.SCORE_THRESH_TEST), at most {cfg.TEST.DETECTIONS_PER_IMAGE} in an image "
        "(TEST.DETECTIONS_PER_IMAGE)."
    )


def _of_all(analysis: Analysis) -> list[Html]:
    intervals = [
        None if found.resamples is None else interval_of(found.resamples.ap)
        for found in analysis.sizes.values()
    ]
    whole = analysis.sizes[""]
    interval50 = None if whole.resamples is None else interval_of(whole.resamples.ap50)
    cells = [
        with_interval(found.ap, interval)
        for found, interval in zip(analysis.sizes.values(), intervals, strict=True)
    ]
    return [cells[0], with_interval(whole.ap50, interval50), *cells[1:]]


def _of_class(analysis: Analysis, index: int) -> list[Any]:
    cells = [
        with_interval(float(found.of_classes[index]), _interval(analysis, size, index))
        for size, found in analysis.sizes.items()
    ]
    return [cells[0], number(float(analysis.costs.ap50[index])), *cells[1:]]


def _interval(analysis: Analysis, size: str, index: int) -> Interval | None:
    resamples = analysis.sizes[size].resamples
    return None if resamples is None else interval_of(resamples.of_classes[:, index])


def operating_point_section(run: RunReport, analysis: Analysis, prefix: str) -> Html:
    """Build the section with precision, recall and F1 at the stored thresholds."""
    point = analysis.point
    order = np.argsort(np.nan_to_num(point.f1, nan=np.inf), kind="stable")
    rows = [
        [
            analysis.dataset.class_names[i],
            number(float(point.thresholds[i]), 2),
            int(point.found[i]),
            int(point.wrong[i]),
            int(point.missed[i]),
            percent(float(point.precision[i])),
            percent(float(point.recall[i])),
            number(float(point.f1[i]), 2),
            number(analysis.lrp[i].error, 2),
        ]
        for i in order
    ]
    head = ["class", "threshold", "found", "wrong", "missed", "precision", "recall", "F1", "oLRP"]
    return section(
        f"{prefix}thresholds",
        "At the score thresholds",
        table(
            head, rows, caption="Detections whose score is at least the threshold of their class"
        ),
        note(
            threshold_source(run, analysis),
            " The confusion matrix and the worst images use the same thresholds. No detection of a "
            "class without a threshold is kept. A detection finds a box if their IoU is at least "
            "0.5; each box is found once. oLRP combines localisation, precision and recall at the "
            "threshold with the lowest oLRP; 0 is perfect, and 1 means that nothing was found. "
            f"Its mean over the classes is {number(mean_lrp(analysis.lrp), 2)}.",
        ),
    )
