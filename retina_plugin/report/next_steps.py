"""Suggest what to try after a run, by rules on its results; the most promising come first."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from retina_plugin.config.keys import NODE
from retina_plugin.data import Dataset
from retina_plugin.evaluation.bootstrap import Interval
from retina_plugin.modeling.build_views import uses_views
from retina_plugin.report.trend import Trend
from retina_plugin.report.worst_class import WorstClass

PATIENCE = f"{NODE}.SOLVER.PATIENCE"
MOST = 2  # largest number of suggestions
SMALL, LARGE = 32**2, 96**2  # COCO's limits of areas in pixels
FEWEST = 20  # a rule uses an AP only if it has at least this many boxes
OVERFITTING = 1.05  # a model overfits if last / lowest validation loss is above this
LARGER = 1.5  # factor of the input size
ROUNDING = 0.05  # smaller values of AP are printed as 0.0


class Findings(NamedTuple):
    """The results of a run that the rules read.

    Attributes:
        cfg: the config of the run.
        dataset: the evaluated data set.
        metrics: {"AP": 58.4, "AP50": 89.9, ...} of this set, in percent.
        interval: interval of AP; None with fewer than two images.
        trend: None if AP was not evaluated often enough.
        worst: None with fewer than two classes.
        losses: {completed steps: validation loss}; may be empty.
    """

    cfg: Any
    dataset: Dataset
    metrics: Mapping[str, float]
    interval: Interval | None
    trend: Trend | None
    worst: WorstClass | None
    losses: Mapping[int, float]


def next_steps(found: Findings) -> list[str]:
    """Return at most two lines, each with a command or keys and the number that supports it."""
    rules = (
        _nothing_found,
        _longer,
        _overfitting,
        _larger_input,
        _worst_class,
        _exactness,
        _more_images,
    )
    lines = [line for rule in rules for line in rule(found)]
    return [f"next: {line}" for line in lines[:MOST]]


def _nothing_found(found: Findings) -> Iterator[str]:
    ap, longer = found.metrics["AP"], f"train longer, {_twice_as_long(found)}"
    if math.isnan(ap):
        score = found.cfg.MODEL.RETINANET.SCORE_THRESH_TEST
        yield f"{longer}: no score reached MODEL.RETINANET.SCORE_THRESH_TEST {score:g}"
    elif ap < ROUNDING:
        yield f"{longer}: AP is {ap:.1f}, so hardly any object is found yet"


def _twice_as_long(found: Findings) -> str:
    patience = found.cfg.MODEL.RETINA_PLUGIN.SOLVER.PATIENCE
    if _steps(found) < found.cfg.SOLVER.MAX_ITER:  # ended by PATIENCE
        return f"--resume with {PATIENCE} {2 * patience} instead of {patience}"
    (key, now), (_, twice) = _length(found, 1), _length(found, 2)
    return f"{key} {twice} instead of {now}"


def _steps(found: Findings) -> int:
    """Return the steps that the run has made: fewer than ``MAX_ITER`` if it ended by ``PATIENCE``.
    A run with a time budget adapts ``MAX_ITER``."""
    solver, planned = found.cfg.MODEL.RETINA_PLUGIN.SOLVER, int(found.cfg.SOLVER.MAX_ITER)
    may_end = solver.PATIENCE and not solver.MINUTES
    return max(found.losses) if may_end and found.losses else planned


def _length(found: Findings, factor: float) -> tuple[str, str]:
    """Return the flag or key that sets the length of the run, and its value times ``factor``."""
    minutes = found.cfg.MODEL.RETINA_PLUGIN.SOLVER.MINUTES
    if minutes:
        return "--minutes", f"{factor * minutes:.3g}"
    return "SOLVER.MAX_ITER", str(round(factor * _steps(found)))


def _longer(found: Findings) -> Iterator[str]:
    trend = found.trend
    if trend and trend.may_rise and found.metrics["AP"] >= ROUNDING:
        reason = "AP was still rising" if trend.is_rising else "to see whether AP still rises"
        basis = f"{trend.evaluations} evaluations" if trend.is_coarse else f"by {trend.gain:.1f}"
        yield f"train longer, {_twice_as_long(found)}: {reason} ({basis})"


def _overfitting(found: Findings) -> Iterator[str]:
    if not found.losses or (found.trend and found.trend.may_rise):
        return
    lowest = min(found.losses, key=found.losses.__getitem__)
    end = max(found.losses)
    if found.losses[end] > OVERFITTING * found.losses[lowest]:
        shorter = " ".join(_length(found, lowest / end))
        yield (
            f"more training images, or {shorter}: the model overfits, its validation loss rose "
            f"from {found.losses[lowest]:.3f} (step {lowest}) to {found.losses[end]:.3f} (step "
            f"{end})"
        )


def _larger_input(found: Findings) -> Iterator[str]:
    areas = [a["area"] for r in found.dataset.records for a in r["annotations"] if not a["iscrowd"]]
    small, large = sum(a < SMALL for a in areas), sum(a > LARGE for a in areas)
    size, limit = found.cfg.INPUT.MIN_SIZE_TEST, found.cfg.INPUT.MAX_SIZE_TEST
    if found.interval is None or min(small, large) < FEWEST or not size:
        return
    if uses_views(found.cfg):
        return  # the views decide the size of objects
    gap = found.metrics["APl"] - found.metrics["APs"]
    if gap > 2 * found.interval.half_width and found.metrics["APs"] <= found.metrics["APm"]:
        sizes = {"MIN_SIZE_TEST": size, "MAX_SIZE_TEST": limit}
        sizes |= {"MAX_SIZE_TRAIN": found.cfg.INPUT.MAX_SIZE_TRAIN}
        keys = " ".join(f"INPUT.{key} {_larger(value)}" for key, value in sizes.items())
        training = ", ".join(str(_larger(value)) for value in found.cfg.INPUT.MIN_SIZE_TRAIN)
        yield (
            f'larger input, {keys} INPUT.MIN_SIZE_TRAIN "({training},)": objects below 32 x 32 '
            f"pixels have AP {found.metrics['APs']:.1f}, those above 96 x 96 "
            f"{found.metrics['APl']:.1f}"
        )


def _larger(size: int) -> int:
    return round(LARGER * size)


def _worst_class(found: Findings) -> Iterator[str]:
    worst = found.worst
    if worst is None or not worst.is_certain:
        return
    if worst.is_rare:
        yield (
            f"more images of {worst.name}: {worst.in_training} boxes in training, the median class "
            f"has {worst.median:g}"
        )
    elif worst.evaluated >= FEWEST:
        yield (
            f"check the boxes of {worst.name}, {_check(found)}: its AP is {worst.ap:.1f}, although "
            f"it has {worst.in_training} boxes in training"
        )


def _exactness(found: Findings) -> Iterator[str]:
    if found.interval is None:
        return
    rough, exact = found.metrics["AP50"], found.metrics["AP75"]
    if exact < rough / 2 - 2 * found.interval.half_width:
        yield (
            f"check whether boxes are drawn tightly, {_check(found)}: AP75 is {exact:.1f}, less "
            f"than half of AP50 {rough:.1f}"
        )


def _check(found: Findings) -> str:
    return f"retina data check {shlex.quote(found.cfg.DATASETS.TRAIN[0])}"


def _more_images(found: Findings) -> Iterator[str]:
    images, ap = len(found.dataset.records), found.metrics["AP"]
    if math.isnan(ap):
        return
    if found.interval is None:
        yield f"more images to evaluate on: {images} are too few to tell whether a run is better"
    elif ap > 100 - ROUNDING:
        yield f"harder images to evaluate on: AP is {ap:.1f}, and no run can reach more"
    elif found.interval.half_width >= ROUNDING:
        yield (
            f"more images to evaluate on than these {images}, to tell runs apart that differ by "
            f"less than {found.interval.half_width:.1f} AP; four times as many halve this number"
        )


RULES = (
    _nothing_found,
    _longer,
    _overfitting,
    _larger_input,
    _worst_class,
    _exactness,
    _more_images,
)
