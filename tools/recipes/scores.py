"""Collect the scores of finished runs, and compare the rows with the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
from one_run import box_metrics

from recipes.runs import Run
from recipes.verdict import Difference, Scores, SeedNoise, compare, known_noise, measured_noise
from retina_plugin.data import load_dataset
from retina_plugin.evaluation.bootstrap import Interval, resample
from retina_plugin.evaluation.matches import match_detections
from retina_plugin.evaluation.results import read_results

METRICS = ("AP", "AP50", "AP75")


@dataclass(frozen=True)
class RunScore:
    """The result of a run.

    Attributes:
        metrics: AP, AP50 and AP75 in percent; 0 for a run without detections.
        resamples: (B,), AP of resampled images.
        cpu_seconds: CPU seconds of the whole run; None if it was stopped and resumed.
    """

    metrics: Mapping[str, float]
    resamples: np.ndarray
    cpu_seconds: float | None


def score_of(run: Run, result: Mapping[str, Any]) -> RunScore:
    """Read the score of a finished run.

    Args:
        run: the run.
        result: its result, from :func:`one_run.one_run`.
    """
    cfg = run.row.checked.cfg.clone()
    cfg.OUTPUT_DIR = str(run.folder)
    (name,) = cfg.DATASETS.TEST
    matches = match_detections(
        load_dataset(name),
        read_results(cfg, name),
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
    )
    resamples = resample(matches)
    assert resamples is not None  # there are two images or more, see data_overrides
    metrics = box_metrics(result["metrics"])
    return RunScore(
        {key: metrics[key] if metrics.get(key, -1) >= 0 else 0.0 for key in METRICS},
        resamples.ap,
        None if result["resumed"] else result["cpu_seconds"],
    )


@dataclass(frozen=True)
class RowResult:
    """The results of a row over all seeds, for the table.

    Attributes:
        name: name of the row.
        metrics: means over the seeds.
        interval: interval of the mean AP over resampled images.
        of_seeds: AP of each seed.
        cpu_seconds: mean over the runs that were not resumed; None if all were resumed.
        difference: difference from the base; None for the base.
    """

    name: str
    metrics: Mapping[str, float]
    interval: Interval | None
    of_seeds: tuple[float, ...]
    cpu_seconds: float | None
    difference: Difference | None


@dataclass
class Results:
    """The scores of the runs that have finished so far.

    Attributes:
        rows: names of the rows, the base first.
        seeds: the seeds of the comparison.
        seed_noise: see :class:`recipes.comparison_file.Comparison`.
        failed: error of each row with a failed run.
    """

    rows: Sequence[str]
    seeds: Sequence[int]
    seed_noise: float
    failed: dict[str, ChildProcessError] = field(default_factory=dict)
    _scores: dict[tuple[str, int], RunScore] = field(default_factory=dict)

    def add(self, name: str, seed: int, score: RunScore) -> None:
        """Add the score of a run."""
        self._scores[name, seed] = score

    def complete_rows(self) -> list[str]:
        """Return the rows without a failed run."""
        return [name for name in self.rows if name not in self.failed]

    def complete_seeds(self) -> list[int]:
        """Return the seeds with which all these rows have finished."""
        names = self.complete_rows()
        return [s for s in self.seeds if all((name, s) in self._scores for name in names)]

    def noise(self) -> SeedNoise | None:
        """Return the noise between seeds: measured, or known from another comparison."""
        rows = [self._scores_of(name) for name in self.complete_rows()]
        return measured_noise(rows) or (known_noise(self.seed_noise) if self.seed_noise else None)

    def compare(self) -> list[RowResult]:
        """Compare the rows with the base.

        At least one seed must be complete, and the base must not have failed.

        Returns:
            The base first, then the other rows by descending AP.
        """
        noise, base = self.noise(), self._scores_of(self.rows[0])
        first, *others = [self._row(name, base, noise) for name in self.complete_rows()]
        return [first, *sorted(others, key=lambda row: -row.metrics["AP"])]

    def _runs(self, name: str) -> list[RunScore]:
        return [self._scores[name, seed] for seed in self.complete_seeds()]

    def _scores_of(self, name: str) -> Scores:
        runs = self._runs(name)
        return Scores(
            np.array([run.metrics["AP"] for run in runs]), np.stack([run.resamples for run in runs])
        )

    def _row(self, name: str, base: Scores, noise: SeedNoise | None) -> RowResult:
        runs, scores = self._runs(name), self._scores_of(name)
        seconds = [run.cpu_seconds for run in runs if run.cpu_seconds is not None]
        return RowResult(
            name,
            {key: fmean(run.metrics[key] for run in runs) for key in METRICS},
            scores.interval,
            tuple(scores.ap.tolist()),
            fmean(seconds) if seconds else None,
            None if name == self.rows[0] else compare(scores, base, noise),
        )
