"""Data sets as loaders: an endless, reproducible stream for training, one image at a time for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from retina_plugin.data import load_dataset, read_record, require_boxes
from retina_plugin.lit.augment import augment, resize

Record = dict[str, Any]


class Stream(Sampler):
    """Batches of (place in the run, index of the image): a new permutation for each pass, for ever, from any step on.

    It has no length: training ends with ``SOLVER.MAX_ITER``, not with a pass over the data.
    """

    def __init__(self, *, num_images: int, batch_size: int, first_step: int, seed: int, rank: int, ranks: int) -> None:
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        self.first_step, self.rank, self.ranks = first_step, rank, ranks

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        place = self.first_step * self.batch_size
        permutation, number = torch.empty(0), -1
        while True:
            batch = []
            for position in range(place, place + self.batch_size):
                if position // self.num_images != number:
                    number = position // self.num_images
                    generator = torch.Generator().manual_seed(self.seed + number)
                    permutation = torch.randperm(self.num_images, generator=generator)
                batch.append((position, int(permutation[position % self.num_images])))
            place += self.batch_size
            yield batch[self.rank :: self.ranks]


class TrainingImages(Dataset):
    """(place in the run, index) -> augmented sample {"image" (3, H, W) uint8, "boxes" (M, 4), "labels" (M,), "file_name"}."""

    def __init__(self, records: list[Record], *, inputs: Any, seed: int) -> None:
        self.records, self.inputs, self.seed = records, inputs, seed

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        place, index = key
        record = self.records[index]
        objects = [a for a in record["annotations"] if not a["iscrowd"]]
        boxes = np.array([a["bbox"] for a in objects], dtype=np.float64).reshape(-1, 4)
        rng = np.random.default_rng((self.seed, place))
        image, boxes = augment(read_record(record), boxes, inputs=self.inputs, rng=rng)
        keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        labels = np.array([a["category_id"] for a in objects], dtype=np.int64)[keep]
        return {
            "image": to_tensor(image, self.inputs.FORMAT),
            "boxes": torch.from_numpy(boxes[keep].astype(np.float32)),
            "labels": torch.from_numpy(labels),
            "file_name": record["file_name"],
        }


class TestImages(Dataset):
    """Index -> {"image" (3, H, W) uint8, "height", "width" of the original, "image_id", "file_name"}."""

    def __init__(self, records: list[Record], *, inputs: Any) -> None:
        self.records, self.inputs = records, inputs

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        original = read_record(record)
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
    return torch.from_numpy(np.ascontiguousarray(image[..., :: -1 if input_format == "BGR" else 1].transpose(2, 0, 1)))


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
    """What the training loader feeds, one sample after the other, "image" in RGB; for looking at it."""
    images = TrainingImages(training_records(cfg), inputs=cfg.INPUT, seed=max(cfg.SEED, 0))
    stream = Stream(num_images=len(images.records), batch_size=1, first_step=0, seed=max(cfg.SEED, 0), rank=0, ranks=1)
    for batch in stream:
        sample = images[batch[0]]
        yield {**sample, "image": sample["image"].flip(0) if cfg.INPUT.FORMAT == "BGR" else sample["image"]}


class Data(lightning.LightningDataModule):
    """The loaders of a config."""

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self.cfg = cfg

    def train_dataloader(self) -> DataLoader:
        cfg, seed = self.cfg, self.trainer.lightning_module.seed
        images = TrainingImages(training_records(cfg), inputs=cfg.INPUT, seed=seed)
        stream = Stream(
            num_images=len(images.records),
            batch_size=cfg.SOLVER.IMS_PER_BATCH,
            first_step=self.trainer.global_step,
            seed=seed,
            rank=self.trainer.global_rank,
            ranks=self.trainer.world_size,
        )
        return self._loader(images, batch_sampler=stream)

    def val_dataloader(self) -> list[DataLoader]:
        share = slice(self.trainer.global_rank, None, self.trainer.world_size)
        loaders = []
        for name in self.cfg.DATASETS.TEST:
            records = load_dataset(name).records
            images = TestImages(records[share] or records[:1], inputs=self.cfg.INPUT)  # no rank may be idle
            loaders.append(self._loader(images, batch_size=1))
        return loaders

    def _loader(self, images: Dataset, **kwargs: Any) -> DataLoader:
        workers = self.cfg.DATALOADER.NUM_WORKERS
        return DataLoader(images, collate_fn=list, num_workers=workers, persistent_workers=workers > 0, **kwargs)
