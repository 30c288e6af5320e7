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


def ap_section(one: Analysis, prefix: str) -> Html:
    """Build the section with AP by class and size, the lowest AP first."""
    order = np.argsort(np.nan_to_num(one.sizes[""].of_classes, nan=np.inf), kind="stable")
    boxes = one.point.found + one.point.missed
    rows: list[list[Any]] = [[ALL, int(boxes.sum()), *_of_all(one)]]
    rows += [[one.dataset.class_names[i], int(boxes[i]), *_of_class(one, i)] for i in order]
    head = ["class", "boxes", "AP", "AP50", "small", "medium", "large"]
    return section(
        f"{prefix}ap",
        "AP by class and size",
        table(head, rows, caption="AP in percent, classes with the lowest AP first"),
        note(
            "AP is COCO's: the mean over IoU thresholds from 0.5 to 0.95; AP50 is at IoU 0.5. Both "
            "use detections of all scores. Small objects have an area of at most 32 x 32 pixels, "
            f"large ones of at least 96 x 96. Below each AP, the interval that contains "
            f"{CONFIDENCE}% of the values if the images are drawn again with replacement; it does "
            "not contain the randomness of training."
        ),
    )


def _of_all(one: Analysis) -> list[Html]:
    intervals = [
        None if found.resamples is None else interval_of(found.resamples.ap)
        for found in one.sizes.values()
    ]
    whole = one.sizes[""]
    interval50 = None if whole.resamples is None else interval_of(whole.resamples.ap50)
    cells = [
        with_interval(found.ap, interval)
        for found, interval in zip(one.sizes.values(), intervals, strict=True)
    ]
    return [cells[0], with_interval(whole.ap50, interval50), *cells[1:]]


def _of_class(one: Analysis, index: int) -> list[Any]:
    cells = [
        with_interval(float(found.of_classes[index]), _interval(one, size, index))
        for size, found in one.sizes.items()
    ]
    return [cells[0], number(float(one.costs.ap50[index])), *cells[1:]]


def _interval(one: Analysis, size: str, index: int) -> Interval | None:
    resamples = one.sizes[size].resamples
    return None if resamples is None else interval_of(resamples.of_classes[:, index])


def operating_point_section(run: RunReport, one: Analysis, prefix: str) -> Html:
    """Build the section with precision, recall and F1 at the stored thresholds."""
    point = one.point
    order = np.argsort(np.nan_to_num(point.f1, nan=np.inf), kind="stable")
    rows = [
        [
            one.dataset.class_names[i],
            number(float(point.thresholds[i]), 2),
            int(point.found[i]),
            int(point.wrong[i]),
            int(point.missed[i]),
            percent(float(point.precision[i])),
            percent(float(point.recall[i])),
            number(float(point.f1[i]), 2),
            number(one.lrp[i].error, 2),
        ]
        for i in order
    ]
    head = ["class", "threshold", "found", "wrong", "missed", "precision", "recall", "F1", "oLRP"]
    return section(
        f"{prefix}thresholds",
        "At the score thresholds",
        table(head, rows, caption="Detections of at least the threshold of their class"),
        note(
            threshold_source(run),
            " All other sections with one threshold use these too. A class without a threshold has "
            "no detections there. A detection has found a box if its IoU is at least 0.5, and each "
            "box is found once. oLRP joins localisation, precision and recall at the threshold "
            "that is best for it, 0 is perfect and 1 means that nothing was found; its mean is "
            f"{number(mean_lrp(one.lrp), 2)}.",
        ),
    )
