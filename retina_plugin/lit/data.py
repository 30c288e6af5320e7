"""Data loaders: endless, reproducible batches for training, single images for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from retina_plugin.data import load_dataset, read_record, reading, require_boxes
from retina_plugin.data.sampler import TrainingBatches, shape_groups
from retina_plugin.data.transforms import augment, resize
from retina_plugin.engine import stopping

Record = dict[str, Any]


class TrainingImages(Dataset):
    """(place in the run, index) -> augmented sample {"image" (3, H, W) uint8, "boxes" (M, 4),
    "labels" (M,), "file_name"}."""

    def __init__(
        self,
        records: list[Record],
        *,
        inputs: Any,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            records: see :class:`retina_plugin.data.Dataset`.
            inputs: the ``INPUT`` node of a config.
            seed: of the augmentation.
            options: from :func:`retina_plugin.data.reading`.
        """
        self.records, self.inputs, self.seed, self.options = (
            records,
            inputs,
            seed,
            dict(options or {}),
        )

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        place, index = key
        record = self.records[index]
        objects = [a for a in record["annotations"] if not a["iscrowd"]]
        boxes = np.array([a["bbox"] for a in objects], dtype=np.float64).reshape(-1, 4)
        rng = np.random.default_rng((self.seed, place))
        image, boxes = augment(
            read_record(record, **self.options), boxes, inputs=self.inputs, rng=rng
        )
        keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        labels = np.array([a["category_id"] for a in objects], dtype=np.int64)[keep]
        return {
            "image": to_tensor(image, self.inputs.FORMAT),
            "boxes": torch.from_numpy(boxes[keep].astype(np.float32)),
            "labels": torch.from_numpy(labels),
            "file_name": record["file_name"],
        }


class TestImages(Dataset):
    """Index -> {"image" (3, H, W) uint8, "height", "width" of the original, "image_id",
    "file_name"}."""

    def __init__(
        self, records: list[Record], *, inputs: Any, options: Mapping[str, Any] | None = None
    ) -> None:
        """Arguments as those of :class:`TrainingImages`."""
        self.records, self.inputs, self.options = records, inputs, dict(options or {})

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        original = read_record(record, **self.options)
        sizes = {"min_size": self.inputs.MIN_SIZE_TEST, "max_size": self.inputs.MAX_SIZE_TEST}
        image, _ = resize(original, np.zeros((0, 4)), **sizes)
        size = {"height": original.shape[0], "width": original.shape[1]}
        return {
            "image": to_tensor(image, self.inputs.FORMAT),
            "image_id": record["image_id"],
            "file_name": record["file_name"],
            **size,
        }


def to_tensor(image: np.ndarray, input_format: str) -> Tensor:
    """(H, W, 3) RGB array -> (3, H, W) tensor in the config's order of channels."""
    return torch.from_numpy(
        np.ascontiguousarray(image[..., :: -1 if input_format == "BGR" else 1].transpose(2, 0, 1))
    )


def training_records(cfg: Any) -> list[Record]:
    """Images of all training sets that can be trained on.

    Raises:
        DatasetError: there is no box to learn from.
    """
    datasets = [load_dataset(name) for name in cfg.DATASETS.TRAIN]
    require_boxes(*datasets)  # one of several may be of background only
    records = [record for dataset in datasets for record in dataset.records]
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        records = [r for r in records if any(not a["iscrowd"] for a in r["annotations"])]
    return records


def training_samples(cfg: Any) -> Iterator[dict[str, Any]]:
    """What the training loader feeds, one sample after the other, "image" in RGB; for looking at
    it."""
    seed = max(cfg.SEED, 0)
    images = TrainingImages(
        training_records(cfg), inputs=cfg.INPUT, seed=seed, options=reading(cfg)
    )
    for place in chain.from_iterable(_batches(cfg, images)):
        sample = images[place]
        yield {
            **sample,
            "image": sample["image"].flip(0) if cfg.INPUT.FORMAT == "BGR" else sample["image"],
        }


def _batches(cfg: Any, images: TrainingImages, **start: int) -> TrainingBatches:
    groups = shape_groups(images.records, grouped=cfg.DATALOADER.ASPECT_RATIO_GROUPING)
    return TrainingBatches(
        groups=groups, batch_size=cfg.SOLVER.IMS_PER_BATCH, seed=images.seed, **start
    )


class Data(lightning.LightningDataModule):
    """The loaders of a config."""

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self.cfg = cfg

    def train_dataloader(self) -> DataLoader:
        cfg, trainer = self.cfg, self.trainer
        seed = trainer.lightning_module.seed
        images = TrainingImages(
            training_records(cfg), inputs=cfg.INPUT, seed=seed, options=reading(cfg)
        )
        place = {
            "first_step": trainer.global_step,
            "rank": trainer.global_rank,
            "ranks": trainer.world_size,
        }
        return self._loader(images, batch_sampler=_batches(cfg, images, **place))

    def val_dataloader(self) -> list[stopping.UntilStopped]:
        share = slice(self.trainer.global_rank, None, self.trainer.world_size)
        loaders = []
        for name in self.cfg.DATASETS.TEST:
            records = load_dataset(name).records
            share_of_rank = records[share] or records[:1]  # no rank may be idle
            images = TestImages(share_of_rank, inputs=self.cfg.INPUT, options=reading(self.cfg))
            loaders.append(stopping.UntilStopped(self._loader(images, batch_size=1)))
        return loaders

    def _loader(self, images: Dataset, **kwargs: Any) -> DataLoader:
        workers = self.cfg.DATALOADER.NUM_WORKERS
        return DataLoader(
            images,
            collate_fn=list,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=stopping.shield_worker,
            **kwargs,
        )
