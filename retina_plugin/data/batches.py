"""The batches of a training run: the order of the images, and the progress of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch.utils.data import Sampler

from retina_plugin.config.errors import ConfigError
from retina_plugin.data.class_balance import class_aware_epoch, repeat_factors
from retina_plugin.data.repeat_factor_sampler import RepeatFactorBatchSampler
from retina_plugin.data.sampler import InfiniteBatchSampler, ProgressKey, shape_groups

SAMPLERS = ("TrainingSampler", "RepeatFactorTrainingSampler", "ClassAwareSampler")


class TrainingBatches(Sampler[list[ProgressKey]]):
    """Yields endless batches of (position in the run, index of the image, progress of the run).

    Attributes:
        progress: a function of the step that returns the progress, 0 at the start and 1 at the end.
            A run with a time budget replaces it. It is called when a batch is sent to a loading
            process, up to two batches per process ahead of the step.
    """

    def __init__(
        self, batches: InfiniteBatchSampler | RepeatFactorBatchSampler, *, steps: int
    ) -> None:
        """
        Args:
            batches: yields lists of (position in the run, index of the image).
            steps: the number of steps of the run.
        """
        self.batches = batches
        self.progress: Callable[[int], float] = lambda step: step / steps

    def start_at(self, step: int, *, seed: int) -> None:
        """Set the first step and the seed. Call this before the first batch is drawn."""
        self.batches.first_step, self.batches.seed = step, seed

    def __iter__(self) -> Iterator[list[ProgressKey]]:
        for step, batch in enumerate(self.batches, self.batches.first_step):
            progress = self.progress(step)
            yield [(position, index, progress) for position, index in batch]


def training_batches(
    cfg: Any,
    records: Sequence[dict[str, Any]],
    *,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
) -> TrainingBatches:
    """Return the training batches of a config.

    Args:
        cfg: ``DATALOADER.SAMPLER_TRAIN`` chooses the order of the images.
        records: all training images; Detectron2's dicts can be used too. "annotations", "width" and
            "height" may be missing.
        seed: the seed of the order.
        rank, world_size: index of this process, and number of processes. Each process gets its part
            of every batch.

    Raises:
        ConfigError: the sampler is unknown.
        DatasetError: the sampler needs boxes, and there are none.
    """
    loader = cfg.DATALOADER
    shared: dict[str, Any] = {
        "groups": shape_groups(records, grouped=loader.ASPECT_RATIO_GROUPING),
        "batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "seed": seed,
        "rank": rank,
        "world_size": world_size,
    }
    batches: InfiniteBatchSampler | RepeatFactorBatchSampler
    if loader.SAMPLER_TRAIN == "TrainingSampler":
        batches = InfiniteBatchSampler(**shared)
    elif loader.SAMPLER_TRAIN == "ClassAwareSampler":
        batches = InfiniteBatchSampler(**shared, epoch=class_aware_epoch(records))
    elif loader.SAMPLER_TRAIN == "RepeatFactorTrainingSampler":
        factors = repeat_factors(
            records, threshold=loader.REPEAT_THRESHOLD, root=loader.REPEAT_SQRT
        )
        batches = RepeatFactorBatchSampler(**shared, factors=factors)
    else:
        raise ConfigError(
            f"DATALOADER.SAMPLER_TRAIN: expected {', '.join(SAMPLERS[:-1])} or {SAMPLERS[-1]}, "
            f"found {loader.SAMPLER_TRAIN!r}"
        )
    return TrainingBatches(batches, steps=cfg.SOLVER.MAX_ITER)
