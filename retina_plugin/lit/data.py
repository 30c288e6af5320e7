"""Data loaders for Lightning: endless seeded batches for training, single images for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import lightning
from torch.utils.data import DataLoader, Dataset

from retina_plugin.data import load_dataset, training_records
from retina_plugin.data.batches import training_batches
from retina_plugin.data.samples import EvaluationDataset, TrainingDataset, ValidationDataset
from retina_plugin.data.training import samples_in_rgb
from retina_plugin.engine import stopping
from retina_plugin.lit.module import RetinaNetModule


def training_samples(cfg: Any) -> Iterator[dict[str, Any]]:
    """Yield the samples of the training loader, "image" in RGB, endlessly; for visualization."""
    records, seed = training_records(cfg), max(cfg.SEED, 0)
    images = TrainingDataset.from_config(cfg, records, seed=seed)
    sample_keys = chain.from_iterable(training_batches(cfg, records, seed=seed))
    return samples_in_rgb(cfg, map(images.__getitem__, sample_keys))


class DetectionDataModule(lightning.LightningDataModule):
    """The data loaders of a config."""

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self.cfg = cfg

    def train_dataloader(self) -> DataLoader[Any]:
        cfg, trainer = self.cfg, self.trainer
        assert trainer is not None
        assert isinstance(trainer.lightning_module, RetinaNetModule)
        seed, budget = trainer.lightning_module.seed, trainer.lightning_module.budget
        records = training_records(cfg)
        batches = training_batches(
            cfg,
            records,
            seed=seed,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        batches.start_at(trainer.global_step, seed=seed)
        if budget is not None:
            batches.progress = lambda step: budget.progress
        images = TrainingDataset.from_config(cfg, records, seed=seed)
        return self._loader(images, batch_sampler=batches)

    def val_dataloader(self) -> list[stopping.StoppableLoader]:
        assert self.trainer is not None
        assert isinstance(self.trainer.lightning_module, RetinaNetModule)
        module = self.trainer.lightning_module
        kind = ValidationDataset if module.measures_losses else EvaluationDataset
        share = slice(self.trainer.global_rank, None, self.trainer.world_size)
        loaders = []
        for name in module.evaluated_sets:
            records = load_dataset(name).records
            share_of_rank = records[share] or records[:1]  # every rank needs an image
            images = kind.from_config(self.cfg, share_of_rank)
            loaders.append(stopping.StoppableLoader(self._loader(images, batch_size=1)))
        return loaders

    def _loader(self, images: Dataset[Any], **kwargs: Any) -> DataLoader[Any]:
        workers = self.cfg.DATALOADER.NUM_WORKERS
        return DataLoader(
            images,
            collate_fn=list,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=stopping.protect_worker_from_signals,
            **kwargs,
        )
