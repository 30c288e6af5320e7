"""Train two networks for a short time, and compare their losses on images that were held out.

Axes: V images that were held out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from retina_plugin.checkpoint import load_initial_weights
from retina_plugin.data.sampler import InfiniteBatchSampler, shape_groups
from retina_plugin.data.samples import TrainingDataset, ValidationDataset
from retina_plugin.data.training import filter_empty_records
from retina_plugin.engine.checks import freeze_unused_parameters
from retina_plugin.evaluation.losses import TOTAL, data_set_losses
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.structures import ImageLosses, Target
from retina_plugin.solver import build_optimizer, build_progress_scheduler, clip_before_steps

Record = dict[str, Any]
Clock = Callable[[], float]


@dataclass(frozen=True)
class TrialSize:
    """The size of a trial.

    Attributes:
        seconds: training time of each network.
        steps: about how many steps of the slower network fit into it; the warm-up takes a tenth.
        images: V, at least 2.
    """

    seconds: float
    steps: int
    images: int


@dataclass(frozen=True)
class Outcome:
    """A network after its trial.

    Attributes:
        steps: number of training steps.
        losses: the losses of the V images.
    """

    steps: int
    losses: tuple[ImageLosses, ...]

    @property
    def loss(self) -> float:
        """The total loss of the images; see
        :func:`retina_plugin.evaluation.losses.data_set_losses`."""
        return data_set_losses([dict(enumerate(self.losses))])[TOTAL]

    @property
    def box_loss(self) -> float:
        """The part of :attr:`loss` that measures the boxes; 0 if the model has no such loss."""
        return data_set_losses([dict(enumerate(self.losses))]).get("loss_box_reg", 0.0)


@dataclass(frozen=True)
class Trial:
    """The outcomes of both networks.

    Attributes:
        weights, scratch: the network with ImageNet weights, and the one from scratch.
        seconds: time of the whole trial.
    """

    weights: Outcome
    scratch: Outcome
    seconds: float

    @property
    def noise(self) -> float:
        """The standard error of the difference of both losses, from the differences of the V
        images; V is at least 2."""
        pairs = zip(self.weights.losses, self.scratch.losses, strict=True)
        differences = [sum(a.sums.values()) - sum(b.sums.values()) for a, b in pairs]
        positives = max(sum(losses.positives for losses in self.weights.losses), 1)
        return float(np.std(differences, ddof=1)) * math.sqrt(len(differences)) / positives


def hold_out(
    records: Sequence[Record], count: int, *, seed: int
) -> tuple[list[Record], list[Record]]:
    """Split training images at random.

    Returns:
        The images to train on, and ``count`` images with boxes; each in the order of ``records``.
    """
    boxes = [sum(not a["iscrowd"] for a in record["annotations"]) for record in records]
    order = np.random.default_rng(seed).permutation(np.flatnonzero(boxes))
    held_out = set(order[:count].tolist())
    kept = [record for number, record in enumerate(records) if number not in held_out]
    return kept, [records[number] for number in sorted(held_out)]


def try_both(
    weights: Any,
    scratch: Any,
    records: Sequence[Record],
    size: TrialSize,
    *,
    clock: Clock = time.perf_counter,
) -> Trial:
    """Train both networks for the same time, and measure their losses on images that are held out.

    The next step is always made by the network that has used less time so far. So another program
    on the machine slows down both. The learning rate of each goes through its whole schedule. The
    random state of the process does not change.

    Args:
        weights, scratch: complete configs of the network with ImageNet weights and the other one.
        records: the training images; more than V have boxes.
        size: the size of the trial.
        clock: returns the time in seconds.

    Raises:
        DatasetError: an image cannot be read.
        WeightsError: the weights cannot be loaded.
    """
    started = clock()
    kept, held_out = hold_out(records, size.images, seed=max(weights.SEED, 0))
    with torch.random.fork_rng():
        runs = [_Run(cfg, kept, size, clock) for cfg in (weights, scratch)]
        total = size.seconds * len(runs)
        with tqdm(
            total=total,
            desc="trial of both networks",
            bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed}<{remaining}",
            leave=False,
        ) as bar:
            while (run := min(runs, key=lambda run: run.elapsed)).elapsed < size.seconds:
                bar.update(min(run.step(), total - bar.n))
        one, other = (run.outcome(held_out) for run in runs)
    return Trial(one, other, clock() - started)


class _Run:
    """The training of one network, a step at a time."""

    def __init__(self, cfg: Any, records: list[Record], size: TrialSize, clock: Clock) -> None:
        self.cfg, self.clock = cfg, clock
        self.elapsed, self.steps = 0.0, 0
        self.seed = max(cfg.SEED, 0)
        torch.manual_seed(self.seed)
        self.model = build_model(cfg).train()
        freeze_unused_parameters(self.model)
        if cfg.MODEL.WEIGHTS:
            load_initial_weights(self.model, cfg.MODEL.WEIGHTS, fine_tune=False)
        self.optimizer = build_optimizer(self.model, cfg)
        clip_before_steps(self.optimizer, cfg.SOLVER.CLIP_GRADIENTS)
        self.scheduler = self._scheduler(size)
        self.batches = self._batches(filter_empty_records(cfg, records))

    def _scheduler(self, size: TrialSize) -> LambdaLR:
        solver = self.cfg.SOLVER.clone()
        solver.defrost()
        solver.MAX_ITER, solver.WARMUP_ITERS = size.steps, size.steps // 10
        return build_progress_scheduler(self.optimizer, solver, lambda: self.elapsed / size.seconds)

    def _batches(self, records: list[Record]) -> Iterator[list[Record]]:
        images = TrainingDataset.from_config(self.cfg, records, seed=self.seed)
        batches = InfiniteBatchSampler(
            groups=shape_groups(records, grouped=self.cfg.DATALOADER.ASPECT_RATIO_GROUPING),
            batch_size=self.cfg.SOLVER.IMS_PER_BATCH,
            seed=self.seed,
        )
        return ([images[key] for key in keys] for keys in batches)

    def step(self) -> float:
        """Make a training step, and return its seconds."""
        start = self.clock()
        samples = next(self.batches)
        batch, sizes = self.model.preprocess([sample["image"] for sample in samples])
        losses = self.model(batch, sizes, self._targets(samples))
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.optimizer.step()
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = self.clock() - start
        self.steps, self.elapsed = self.steps + 1, self.elapsed + seconds
        self.scheduler.step()
        return seconds

    def _targets(self, samples: list[Record]) -> list[Target]:
        names, device = ("boxes", "labels"), self.model.device
        return [{name: sample[name].to(device) for name in names} for sample in samples]

    def outcome(self, records: list[Record]) -> Outcome:
        """Measure the losses of images that were held out."""
        images = ValidationDataset.from_config(self.cfg, records)
        losses: list[ImageLosses] = []
        self.model.eval()
        with torch.inference_mode():
            for sample in (images[index] for index in range(len(records))):
                found = self.model.detect_and_measure([sample["image"]], self._targets([sample]))
                losses += found.losses
        return Outcome(self.steps, tuple(losses))
