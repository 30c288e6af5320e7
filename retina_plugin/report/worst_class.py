"""Find the class with the lowest AP, and how certain it is that this class is the worst."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from retina_plugin.data import Dataset, class_counts
from retina_plugin.evaluation.bootstrap import CONFIDENCE, Resamples


class WorstClass(NamedTuple):
    """The class with the lowest AP.

    Attributes:
        name: name of the class.
        ap: its AP in percent.
        share: percent of the resamples in which its AP is the lowest; None without resamples.
        in_training, evaluated: its numbers of boxes, without crowds.
        median: the median over all classes of the numbers in training.
    """

    name: str
    ap: float
    share: float | None
    in_training: int
    evaluated: int
    median: float

    @property
    def is_certain(self) -> bool:
        return self.share is not None and self.share >= CONFIDENCE

    @property
    def is_rare(self) -> bool:
        """Whether it has fewer than half as many boxes in training as the median class."""
        return self.in_training < self.median / 2

    def __str__(self) -> str:
        certainty = (
            "computed on one image"
            if self.share is None
            else f"the lowest in {self.share:.0f}% of the draws"
        )
        return (
            f"worst class{'' if self.is_certain else ', which is uncertain'}: {self.name} with AP "
            f"{self.ap:.1f} ({certainty}); it has {self.in_training} boxes in training "
            f"and {self.evaluated} in this evaluation"
        )


def find_worst_class(
    metrics: Mapping[str, float],
    resamples: Resamples | None,
    dataset: Dataset,
    *,
    training_counts: Mapping[str, int],
) -> WorstClass | None:
    """Find the class with the lowest AP.

    Args:
        metrics: AP of each class as "AP-<name>".
        resamples: None without an interval.
        dataset: the evaluated data set.
        training_counts: {class name: number of boxes in training}.

    Returns:
        None if fewer than two classes have an AP.
    """
    of_classes = {
        index: metrics[f"AP-{name}"]
        for index, name in enumerate(dataset.class_names)
        if not math.isnan(metrics.get(f"AP-{name}", math.nan))
    }
    if len(of_classes) < 2:
        return None
    worst = min(of_classes, key=of_classes.__getitem__)
    name = dataset.class_names[worst]
    return WorstClass(
        name=name,
        ap=of_classes[worst],
        share=None if resamples is None else _share_of_lowest(resamples.of_classes, worst),
        in_training=training_counts[name],
        evaluated=class_counts(dataset.records, dataset.num_classes)[worst],
        median=statistics.median(training_counts.values()),
    )


def _share_of_lowest(values: np.ndarray, index: int) -> float:
    """Return the percentage of (B, K) rows in which a column is the lowest; a row without a value
    in the column does not count."""
    values = np.where(np.isnan(values), math.inf, values)
    values = values[np.isfinite(values[:, index])]
    return float(100 * (values[:, index] <= values.min(axis=1)).mean()) if len(values) else 0.0
