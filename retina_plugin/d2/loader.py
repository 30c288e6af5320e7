"""Data loaders for Detectron2's trainer. A resumed run continues the order of the images; see
:mod:`retina_plugin.data.sampler`.

FocalRetinaNet gets the samples of :mod:`retina_plugin.data.samples`, as on Lightning. Other
meta-architectures, and ``MODEL.RETINA_PLUGIN.INPUT.MAPPER`` detectron2, get those of Detectron2's
mapper.
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
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader

from retina_plugin.d2.datasets import dataset_errors, register_datasets, training_dicts
from retina_plugin.d2.mapper import MappedDataset, RetinaDatasetMapper
from retina_plugin.d2.samples import RecordsOfDicts, from_detectron2, to_detectron2
from retina_plugin.data import load_dataset
from retina_plugin.data.batches import TrainingBatches, training_batches
from retina_plugin.data.samples import EvaluationDataset, TrainingDataset
from retina_plugin.data.training import filter_empty_records, samples_in_rgb
from retina_plugin.engine import stopping

Record = dict[str, Any]


class TrainingLoader(DataLoader[Any]):
    """Loads this process's share of each training batch, endlessly. Its seed is saved in the
    checkpoints."""

    def __init__(
        self,
        dataset: TrainingDataset | MappedDataset,
        *,
        batches: TrainingBatches,
        num_workers: int,
        collate: Callable[[list[Any]], list[Record]],
    ) -> None:
        """
        Args:
            dataset: returns the sample of (number of the sample in the run, index of the image,
                progress of the run).
            batches: yields lists of such keys.
            num_workers: number of processes that load images.
            collate: converts samples to Detectron2's dicts.
        """
        super().__init__(
            dataset,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=num_workers,
            worker_init_fn=stopping.protect_worker_from_signals,
        )
        self._samples, self._batches = dataset, batches

    def start_at(self, step: int) -> None:
        """Start with the batch of ``step``. Call this before the first batch is loaded."""
        self._batches.start_at(step, seed=self._samples.seed)

    def follow(self, progress: Callable[[], float]) -> None:
        """Use a function that returns the progress of the run, instead of the number of steps."""
        self._batches.progress = lambda step: progress()

    def state_dict(self) -> int:
        return self._samples.seed

    def load_state_dict(self, seed: int) -> None:
        """Continue with the seed of a checkpoint, at the first step."""
        self._samples.seed = seed
        self.start_at(0)


def training_loader(cfg: Any) -> Any:
    """Build the training loader of a config.

    With a negative ``SEED`` each run draws a random seed, the same in all processes.

    Raises:
        DatasetError: the training sets cannot be used.
        ConfigError: FocalRetinaNet cannot be trained with this ``DATALOADER.SAMPLER_TRAIN``.
    """
    is_focal = cfg.MODEL.META_ARCHITECTURE == "FocalRetinaNet"
    if not is_focal and cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        return _detectron2_loader(cfg)
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    filter_empty = not is_focal and cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    dicts = training_dicts(cfg, filter_empty=filter_empty)
    if is_focal:
        dicts = filter_empty_records(cfg, dicts)
    rank, ranks = comm.get_rank(), comm.get_world_size()
    batches = training_batches(cfg, dicts, seed=seed, rank=rank, world_size=ranks)
    records = DatasetFromList(dicts, copy=False)  # serialized, so that workers share the memory
    dataset: TrainingDataset | MappedDataset
    collate: Callable[[list[Any]], list[Record]] = list
    if not is_focal or cfg.MODEL.RETINA_PLUGIN.INPUT.MAPPER == "detectron2":
        dataset = MappedDataset(records, RetinaDatasetMapper(cfg, is_train=True), seed=seed)
    else:
        dataset = TrainingDataset.from_config(cfg, RecordsOfDicts(records), seed=seed)
        collate = to_detectron2
    return TrainingLoader(
        dataset, batches=batches, num_workers=cfg.DATALOADER.NUM_WORKERS, collate=collate
    )


def _detectron2_loader(cfg: Any) -> Any:
    """Build Detectron2's training loader, for its other meta-architectures and samplers."""
    if comm.is_main_process():
        print(
            f"DATALOADER.SAMPLER_TRAIN {cfg.DATALOADER.SAMPLER_TRAIN}: a resumed run does not "
            "continue the order of the images but draws a new one",
            flush=True,
        )
    with dataset_errors(cfg.DATASETS.TRAIN):
        return build_detection_train_loader(cfg, mapper=RetinaDatasetMapper(cfg, is_train=True))


def evaluation_loader(
    cfg: Any, name: str, samples: type[EvaluationDataset] = EvaluationDataset
) -> DataLoader[Any]:
    """Build a loader of single images: this process's share of a data set.

    Args:
        cfg: the config of the run.
        name: the data set.
        samples: the class of the samples for FocalRetinaNet.

    Raises:
        DatasetError: the data set cannot be read.
    """
    records, workers = load_dataset(name).records, cfg.DATALOADER.NUM_WORKERS
    if cfg.MODEL.META_ARCHITECTURE != "FocalRetinaNet":
        mapper = RetinaDatasetMapper(cfg, is_train=False)
        loader: DataLoader[Any] = build_detection_test_loader(
            records, mapper=mapper, num_workers=workers
        )
        return loader
    dataset = samples.from_config(cfg, DatasetFromList(records, copy=False))
    return DataLoader(
        dataset,
        sampler=InferenceSampler(len(dataset)),
        collate_fn=list,
        num_workers=workers,
        worker_init_fn=stopping.protect_worker_from_signals,
    )


def training_samples(cfg: Any) -> Iterator[dict[str, Any]]:
    """Yield the samples of the training loader, "image" in RGB, endlessly; for visualization."""
    register_datasets(cfg.DATASETS.TRAIN)
    return samples_in_rgb(cfg, map(from_detectron2, chain.from_iterable(training_loader(cfg))))
