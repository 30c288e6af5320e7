"""Loaders of Detectron2's trainer, in an order that a resumed run continues; see
:mod:`retina_plugin.data.sampler`.

FocalRetinaNet is fed with the samples of :mod:`retina_plugin.data.samples`, as on the other host;
other meta-architectures with those of Detectron2's own mapper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from detectron2.data import (
    DatasetFromList,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data.samplers import InferenceSampler, RepeatFactorTrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from retina_plugin.config.errors import ConfigError
from retina_plugin.d2.datasets import dataset_errors, register_datasets, training_dicts
from retina_plugin.d2.mapper import MappedDataset, RetinaDatasetMapper
from retina_plugin.d2.repeat_factor_sampler import RepeatFactorBatchSampler
from retina_plugin.d2.samples import RecordsOfDicts, from_detectron2, to_detectron2
from retina_plugin.data import load_dataset
from retina_plugin.data.sampler import InfiniteBatchSampler, shape_groups
from retina_plugin.data.samples import EvaluationDataset, TrainingDataset
from retina_plugin.data.training import filter_empty_records, samples_in_rgb
from retina_plugin.engine import stopping

Record = dict[str, Any]


class TrainingLoader(DataLoader):
    """Endless lists of samples, this process's share of each batch. Checkpoints keep its seed, as
    Lightning's do."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        batches: Sampler,
        num_workers: int,
        collate: Callable[[list[Any]], list[Record]],
    ) -> None:
        """
        Args:
            dataset: (place, index) -> sample, with the attribute ``seed``.
            batches: of (place, index), with the attributes ``seed`` and ``first_step``.
            num_workers: processes that load images.
            collate: turns samples into Detectron2's dicts.
        """
        super().__init__(
            dataset,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=num_workers,
            worker_init_fn=stopping.protect_worker_from_signals,
        )

    def start_at(self, step: int) -> None:
        """Begin with the batch of ``step``; to be called before the first batch is taken."""
        self.batch_sampler.first_step = step

    def state_dict(self) -> int:
        return self.dataset.seed

    def load_state_dict(self, seed: int) -> None:
        """Go on with the seed of a checkpoint."""
        self.dataset.seed = self.batch_sampler.seed = seed


def training_loader(cfg: Any) -> Any:
    """The training loader of a config.

    A negative ``SEED`` takes another seed each time, the same in all processes.

    Raises:
        DatasetError: the training sets cannot be used.
        ConfigError: a ``DATALOADER.SAMPLER_TRAIN`` that FocalRetinaNet is not trained with.
    """
    ours = cfg.MODEL.META_ARCHITECTURE == "FocalRetinaNet"
    if not ours and cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        return _detectron2_loader(cfg)
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    dicts = training_dicts(cfg, filter_empty=not ours and cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
    if ours:
        dicts = filter_empty_records(cfg, dicts)
    batches = _batches(cfg, dicts, seed)
    records = DatasetFromList(dicts, copy=False)  # serialized, so that workers share the memory
    if not ours:
        dataset, collate = (
            MappedDataset(records, RetinaDatasetMapper(cfg, is_train=True), seed=seed),
            list,
        )
    else:
        dataset = TrainingDataset.from_config(cfg, RecordsOfDicts(records), seed=seed)
        collate = to_detectron2
    return TrainingLoader(
        dataset, batches=batches, num_workers=cfg.DATALOADER.NUM_WORKERS, collate=collate
    )


def _batches(cfg: Any, dicts: list[Record], seed: int) -> Sampler:
    name, loader = cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER
    shared = {
        "groups": shape_groups(dicts, grouped=loader.ASPECT_RATIO_GROUPING),
        "batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "seed": seed,
    }
    if name == "TrainingSampler":
        return InfiniteBatchSampler(
            **shared, rank=comm.get_rank(), world_size=comm.get_world_size()
        )
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dicts, loader.REPEAT_THRESHOLD, sqrt=loader.REPEAT_SQRT
        )
        return RepeatFactorBatchSampler(**shared, factors=factors)
    raise ConfigError(
        "DATALOADER.SAMPLER_TRAIN: expected TrainingSampler or RepeatFactorTrainingSampler, "
        f"found {name!r}"
    )


def _detectron2_loader(cfg: Any) -> Any:
    """Detectron2's own loader, for the samplers of its other meta-architectures."""
    if comm.is_main_process():
        print(
            f"DATALOADER.SAMPLER_TRAIN {cfg.DATALOADER.SAMPLER_TRAIN}: a run that is resumed draws "
            "its images anew",
            flush=True,
        )
    with dataset_errors(cfg.DATASETS.TRAIN):
        return build_detection_train_loader(cfg, mapper=RetinaDatasetMapper(cfg, is_train=True))


def evaluation_loader(cfg: Any, name: str) -> DataLoader:
    """One image at a time of a data set, this process's share.

    Raises:
        DatasetError: it cannot be read.
    """
    records, workers = load_dataset(name).records, cfg.DATALOADER.NUM_WORKERS
    if cfg.MODEL.META_ARCHITECTURE != "FocalRetinaNet":
        mapper = RetinaDatasetMapper(cfg, is_train=False)
        return build_detection_test_loader(records, mapper=mapper, num_workers=workers)
    dataset = EvaluationDataset.from_config(cfg, DatasetFromList(records, copy=False))
    return DataLoader(
        dataset,
        sampler=InferenceSampler(len(dataset)),
        collate_fn=list,
        num_workers=workers,
        worker_init_fn=stopping.protect_worker_from_signals,
    )


def training_samples(cfg: Any) -> Iterator[dict[str, Any]]:
    """What Detectron2's training loader feeds, one sample after the other, "image" in RGB; for
    looking at it. It never ends."""
    register_datasets(cfg.DATASETS.TRAIN)
    return samples_in_rgb(cfg, map(from_detectron2, chain.from_iterable(training_loader(cfg))))
