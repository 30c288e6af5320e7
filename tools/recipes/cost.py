"""Measure the CPU time of a training step, in turns with the base."""

from __future__ import annotations

import contextlib
import importlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch

from retina_plugin.engine.checks import freeze_unused_parameters
from retina_plugin.modeling.build import build_model
from retina_plugin.solver import build_optimizer, clip_gradients

LOADERS = {"lightning": "retina_plugin.lit.data", "detectron2": "retina_plugin.d2.loader"}
WARM_UP = 2  # steps of each row that are not counted
PAIRS = 12  # counted steps of the base, and of the row
# Smaller relative differences from the base are ignored: on a busy machine, rows with the same step
# as the base were measured up to 3.5% slower.
TOLERANCE = 0.05


class StepCost(NamedTuple):
    """CPU seconds of a training step.

    Attributes:
        seconds: CPU seconds of a step of the row: those of the base times ``ratio``.
        ratio: seconds of the row divided by seconds of the base, from the same measurement.
    """

    seconds: float
    ratio: float


class TrainingStep:
    """Training steps of a config, without its host: load a batch, losses, gradients, update.

    The learning rate is 0, so the weights do not change.
    """

    def __init__(self, cfg: Any, host: str) -> None:
        """
        Args:
            cfg: a config that :func:`retina_plugin.engine.prepare.prepare` has checked.
            host: the host whose data loader is used.
        """
        self._samples = importlib.import_module(LOADERS[host]).training_samples(cfg)
        self._batch_size = cfg.SOLVER.IMS_PER_BATCH
        self._clipping = cfg.SOLVER.CLIP_GRADIENTS
        self._model = build_model(cfg).train()
        freeze_unused_parameters(self._model)
        self._optimizer = build_optimizer(self._model, cfg)
        for group in self._optimizer.param_groups:
            group["lr"] = 0.0

    def __call__(self) -> None:
        batch = list(islice(self._samples, self._batch_size))
        images, sizes = self._model.preprocess([sample["image"] for sample in batch])
        self._optimizer.zero_grad()
        sum(self._model(images, sizes, batch).values()).backward()
        clip_gradients(self._optimizer, self._clipping)
        self._optimizer.step()


def measure_base(base: Any, host: str) -> StepCost:
    """Measure a training step of the base alone; see :func:`measure_cost`."""
    with _one_thread():
        step = TrainingStep(base, host)
        seconds = [_cpu_seconds(step) for _ in range(WARM_UP + PAIRS)]
    return StepCost(statistics.median(seconds[WARM_UP:]), 1.0)


def measure_cost(row: Any, base: Any, *, base_seconds: float, host: str) -> StepCost:
    """Measure a training step of a row, in turns with the base.

    Other programs slow down both in the same way, so the ratio of neighbouring steps depends little
    on them.

    Args:
        row, base: the resolved configs.
        base_seconds: the CPU seconds of a step of the base, from :func:`measure_base`.
        host: the host of the runs.
    """
    with _one_thread():
        steps = TrainingStep(base, host), TrainingStep(row, host)
        pairs = [(_cpu_seconds(steps[0]), _cpu_seconds(steps[1])) for _ in range(WARM_UP + PAIRS)]
    return cost_of(pairs[WARM_UP:], base_seconds=base_seconds)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread, as the runs do; keep the state of the random numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as the hosts do
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)


def _cpu_seconds(step: Callable[[], None]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def cost_of(pairs: Sequence[tuple[float, float]], *, base_seconds: float) -> StepCost:
    """Return the cost of a row: the median ratio of pairs (seconds of the base, of the row)."""
    ratio = statistics.median(row / base for base, row in pairs)
    if abs(ratio - 1) < TOLERANCE:
        ratio = 1.0
    return StepCost(base_seconds * ratio, ratio)
