"""Print the last lines of a training run: AP, its interval, and what to try next."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from retina_plugin.checkpoint import metadata_of, read_checkpoint
from retina_plugin.data import Dataset, class_counts, final_sets, load_dataset, validation_sets
from retina_plugin.engine.checkpoints import BEST, FINAL
from retina_plugin.engine.host import Host
from retina_plugin.engine.metrics_log import add_to_evaluation, read_series
from retina_plugin.engine.resume import completed_steps
from retina_plugin.engine.run_thresholds import describe_thresholds, match_last_detections
from retina_plugin.evaluation.bootstrap import (
    CONFIDENCE,
    Interval,
    Resamples,
    interval_of,
    resample,
)
from retina_plugin.report.next_steps import Findings, next_steps
from retina_plugin.report.trend import trend_of
from retina_plugin.report.worst_class import find_worst_class

VALIDATION_LOSS = "validation/total_loss"


class Evaluated(NamedTuple):
    """The evaluation of a data set with ground truth.

    Attributes:
        dataset: the data set.
        metrics: {"AP": 58.4, ...} in percent.
        resamples: None with fewer than two images, or without detections.
    """

    dataset: Dataset
    metrics: Mapping[str, float]
    resamples: Resamples | None

    @property
    def interval(self) -> Interval | None:
        return None if self.resamples is None else interval_of(self.resamples.ap)


def report_ending(cfg: Any, results: Mapping[str, Any], host: Host) -> None:
    """Print the last lines of a training run, and add the interval of AP to ``metrics.json``.

    Args:
        cfg: config of the run.
        results: see :func:`retina_plugin.report.report_results`. Nothing is done if no set has
            boxes.
        host: the host of the run.

    Raises:
        DiskError: ``metrics.json`` cannot be written; it is unchanged.
    """
    evaluated = _evaluated_sets(cfg, results)
    if not evaluated:
        return
    path = reported_checkpoint(cfg)
    checkpoint = read_checkpoint(path)
    step = completed_steps(checkpoint)
    lines = [
        describe_reached(evaluated, path, step),
        describe_thresholds(metadata_of(checkpoint), reported=[e.dataset.name for e in evaluated]),
        *_findings_lines(cfg, evaluated[0], _training_counts(cfg, host)),
    ]
    print("\n".join(filter(None, lines)), flush=True)
    _log_intervals(cfg, evaluated, step)


def _evaluated_sets(cfg: Any, results: Mapping[str, Any]) -> list[Evaluated]:
    """Return the evaluated sets that have boxes other than crowds."""
    names = final_sets(cfg)
    of_sets = {names[0]: results} if len(names) == 1 else results
    found = []
    for name in names:
        metrics, dataset = of_sets.get(name, {}).get("bbox"), load_dataset(name)
        if metrics and any(class_counts(dataset.records, dataset.num_classes)):
            is_empty = math.isnan(metrics["AP"])
            resamples = None if is_empty else resample(match_last_detections(cfg, name))
            found.append(Evaluated(dataset, metrics, resamples))
    return found


def _training_counts(cfg: Any, host: Host) -> dict[str, int]:
    """Return the number of boxes of each class in the training sets."""
    counts: dict[str, int] = {}
    for name in cfg.DATASETS.TRAIN:
        for of_class, count in zip(host.class_names(name), host.class_counts(name), strict=True):
            counts[of_class] = counts.get(of_class, 0) + count
    return counts


def reported_checkpoint(cfg: Any) -> str:
    """Return the checkpoint of the results; see
    :meth:`retina_plugin.engine.best_model.BestModel.final_evaluation`."""
    best = os.path.join(cfg.OUTPUT_DIR, BEST)
    is_chosen = cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION and cfg.TEST.EVAL_PERIOD
    is_best = is_chosen and os.path.isfile(best)
    return best if is_best else os.path.join(cfg.OUTPUT_DIR, FINAL)


def describe_reached(evaluated: Sequence[Evaluated], path: str, step: int) -> str:
    """Describe AP and AP50 of the evaluated data sets, with intervals, in one line."""
    parts = [
        f"{_with_interval('AP', one)} and {_with_interval('AP50', one)} on "
        f"{_count(len(one.dataset.records), 'image')} of {one.dataset.name}"
        for one in evaluated
    ]
    resamples = next((one.resamples for one in evaluated if one.resamples), None)
    note = (
        "no interval, which needs two images and a detection"
        if resamples is None
        else f"in brackets {CONFIDENCE}% of {len(resamples.ap)} random draws of the images"
    )
    return f"reached: {'; '.join(parts)}, by {path} after step {step} ({note})"


def _with_interval(name: str, one: Evaluated) -> str:
    values = one.resamples and (one.resamples.ap if name == "AP" else one.resamples.ap50)
    interval = None if values is None else interval_of(values)
    ends = "" if interval is None else f" ({interval.low:.1f} to {interval.high:.1f})"
    if math.isnan(one.metrics[name]):
        ends = " (nothing was detected)"
    return f"{name} {one.metrics[name]:.1f}{ends}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _findings_lines(cfg: Any, one: Evaluated, training_counts: Mapping[str, int]) -> list[str]:
    """Return the lines about the worst class, the trend and the next steps."""
    sets = validation_sets(cfg)
    series = read_series(cfg.OUTPUT_DIR, "bbox/AP", sets)
    noise = _noise(cfg, one, sets)
    trend = trend_of(series, noise)
    worst = find_worst_class(
        one.metrics,
        one.resamples,
        one.dataset,
        training_counts=training_counts,
    )
    losses = read_series(cfg.OUTPUT_DIR, VALIDATION_LOSS, sets)
    unknown = (
        f"whether AP was still rising is not known: {_count(len(series), 'evaluation')} in "
        f"training, TEST.EVAL_PERIOD {cfg.TEST.EVAL_PERIOD}"
    )
    return [
        "" if worst is None else str(worst),
        unknown if trend is None else str(trend),
        *next_steps(Findings(cfg, one.dataset, one.metrics, one.interval, trend, worst, losses)),
    ]


def _noise(cfg: Any, one: Evaluated, sets: Sequence[str]) -> float | None:
    """Return half the width of AP's interval on the sets that are evaluated during training."""
    interval = one.interval
    if one.dataset.name not in sets and load_dataset(sets[0]).has_ground_truth:
        found = resample(match_last_detections(cfg, sets[0]))
        interval = None if found is None else interval_of(found.ap)
    return None if interval is None else interval.half_width


def _log_intervals(cfg: Any, evaluated: Sequence[Evaluated], step: int) -> None:
    """Add the ends of the intervals, such as "bbox/AP_low", to the evaluation in metrics.json."""
    names = final_sets(cfg)
    prefix = "" if names == validation_sets(cfg) else "test/"
    for one in evaluated:
        if one.resamples is None:
            continue
        start = f"{prefix}{f'{one.dataset.name}/' if len(names) > 1 else ''}bbox/"
        values: dict[str, float] = {}
        for name, found in (("AP", one.resamples.ap), ("AP50", one.resamples.ap50)):
            interval = interval_of(found)
            assert interval is not None  # the data set has boxes, or its AP would be NaN
            values |= {
                f"{start}{name}_low": interval.low,
                f"{start}{name}_high": interval.high,
            }
        add_to_evaluation(cfg.OUTPUT_DIR, f"{start}AP", values, step=step)
