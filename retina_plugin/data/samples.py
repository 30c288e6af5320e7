"""Datasets of training and evaluation samples, for both hosts.

Axes: M boxes, H, W.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from retina_plugin.data.image_cache import ImageCache
from retina_plugin.data.images import image_options, read_record
from retina_plugin.data.sampler import ProgressKey, SampleKey
from retina_plugin.data.transforms import Sample, TransformChain
from retina_plugin.data.transforms.resize import resize, resize_image
from retina_plugin.data.transforms.sample import clip_boxes
from retina_plugin.data.views import ViewCutter
from retina_plugin.modeling.build_views import uses_views
from retina_plugin.modeling.preprocessing import resized_shape

Record = dict[str, Any]
ReadImage = Callable[[Record], np.ndarray]  # a record -> its image (H, W, 3) uint8 RGB


class TrainingDataset(TorchDataset[dict[str, Any]]):
    """Maps (position in the run, index) or (position, index, progress of the run) to a sample.

    Random transforms depend only on the seed and the position. The progress, 0 by default, decides
    whether transforms with ``until`` are switched off.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        transforms: TransformChain,
        read: ReadImage,
        input_format: str,
        seed: int,
        cache: ImageCache | None = None,
    ) -> None:
        """
        Args:
            records: see :class:`retina_plugin.data.Dataset`.
            transforms: applied to every sample.
            read: reads the image of a record; :func:`read_without_pixels` is enough for boxes.
            input_format: order of the channels of "image", BGR or RGB.
            seed: random seed of the transforms.
            cache: keeps decoded images, for transforms that draw other records.
        """
        self.records, self.transforms, self.read = records, transforms, read
        self.input_format, self.seed = input_format, seed
        self.cache = cache or ImageCache(megabytes=0)

    @classmethod
    def from_config(cls, cfg: Any, records: Sequence[Record], *, seed: int) -> TrainingDataset:
        """Build the dataset from a config.

        Raises:
            DatasetError: a transform needs more images.
            KeyError, ValueError: see :meth:`TransformChain.from_config`.
        """
        transforms = TransformChain.from_config(cfg)
        transforms.require_images(len(records), source=", ".join(cfg.DATASETS.TRAIN))
        megabytes = cfg.MODEL.RETINA_PLUGIN.INPUT.CACHE_MEGABYTES
        return cls(
            records,
            transforms=transforms,
            read=partial(read_record, **image_options(cfg)),
            input_format=cfg.INPUT.FORMAT,
            seed=seed,
            cache=ImageCache(megabytes=megabytes if transforms.draws_images else 0),
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: SampleKey | ProgressKey) -> dict[str, Any]:
        """
        Returns:
            {"image" (3, H, W) uint8; "boxes" (M, 4) float32 XYXY and "labels" (M,) int64, without
            crowds; "height" and "width" of the file; "image_id"; "file_name"}.

        Raises:
            DatasetError: the file cannot be used, or a transform returns an invalid sample.
        """
        position, index, *progress = key
        record, original = self.records[index], self._load(index)
        rng = np.random.default_rng((self.seed, position))
        sample = self._transform(original, index, rng, progress=sum(progress))
        return {
            **_tensors(sample, self.input_format),
            **_metadata(record, original["image"]),
        }

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return the transformed sample of a record; errors as for :meth:`__getitem__`."""
        return self._transform(self._load(index), index, rng, progress=0.0)

    def _transform(
        self, original: Sample, index: int, rng: np.random.Generator, *, progress: float
    ) -> Sample:
        return self.transforms(
            original,
            rng,
            partial(self._draw_other, index),
            file_name=self.records[index]["file_name"],
            progress=progress,
        )

    def _draw_other(self, index: int, rng: np.random.Generator) -> Sample:
        """Return the untransformed sample of a random record; not ``index`` if there are others."""
        others = len(self.records) - 1
        drawn = int(rng.integers(others)) if others else 0
        return self._load(drawn + (others > 0 and drawn >= index))

    def _load(self, index: int) -> Sample:
        record = self.records[index]
        return _load(record, lambda found: self.cache.get(index, partial(self.read, found)))


def read_without_pixels(record: Record) -> np.ndarray:
    """Return an image (H, W, 0) of the record's size without reading a file."""
    return np.empty((record["height"], record["width"], 0), dtype=np.uint8)


class EvaluationDataset(TorchDataset[dict[str, Any]]):
    """Maps an index to a sample.

    A sample has "image" (3, H, W) uint8, "height" and "width" of the file, "image_id" and
    "file_name". If the config uses several views, it also has "views", a :class:`ViewCutter`.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        min_size: int,
        max_size: int,
        read: ReadImage,
        input_format: str,
        has_views: bool,
    ) -> None:
        """
        Args:
            records, read, input_format: see :class:`TrainingDataset`.
            min_size, max_size: the resized shorter and longer side, see
                :func:`retina_plugin.modeling.preprocessing.resized_shape`.
            has_views: whether samples have "views".
        """
        self.records, self.read, self.input_format = records, read, input_format
        self.min_size, self.max_size, self.has_views = min_size, max_size, has_views

    @classmethod
    def from_config(cls, cfg: Any, records: Sequence[Record]) -> EvaluationDataset:
        """Build the dataset from a config."""
        return cls(
            records,
            min_size=cfg.INPUT.MIN_SIZE_TEST,
            max_size=cfg.INPUT.MAX_SIZE_TEST,
            read=partial(read_record, **image_options(cfg)),
            input_format=cfg.INPUT.FORMAT,
            has_views=uses_views(cfg),
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        original = self.read(record)
        return {**self.of_image(original), **_metadata(record, original)}

    def of_image(self, image: np.ndarray) -> dict[str, Any]:
        """Return the sample of an image (H, W, 3) uint8 RGB, without the entries that name its
        record."""
        height, width = image.shape[:2]
        shape = resized_shape(height, width, self.min_size, self.max_size)
        return {
            "image": to_tensor(resize_image(image, shape), self.input_format),
            "height": height,
            "width": width,
            **self._views(image),
        }

    def _views(self, original: np.ndarray) -> dict[str, ViewCutter]:
        if not self.has_views:
            return {}
        convert = partial(to_tensor, input_format=self.input_format)
        return {"views": ViewCutter(original, to_tensor=convert)}


class ValidationDataset(EvaluationDataset):
    """An :class:`EvaluationDataset` with the ground truth of training, for validation losses.

    Samples also have "boxes" (M, 4) float32 XYXY in pixels of "image", and "labels" (M,) int64,
    without crowds.
    """

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        original = _load(record, self.read)
        height, width = original["image"].shape[:2]
        shape = resized_shape(height, width, self.min_size, self.max_size)
        sample = clip_boxes(resize(original, shape))
        return {
            **_tensors(sample, self.input_format),
            **_metadata(record, original["image"]),
            **self._views(original["image"]),
        }


def _load(record: Record, read: ReadImage) -> Sample:
    objects = [a for a in record["annotations"] if not a["iscrowd"]]
    return {
        "image": read(record),
        "boxes": np.array([a["bbox"] for a in objects], dtype=np.float64).reshape(-1, 4),
        "labels": np.array([a["category_id"] for a in objects], dtype=np.int64),
    }


def _tensors(sample: Sample, input_format: str) -> dict[str, Tensor]:
    return {
        "image": to_tensor(sample["image"], input_format),
        "boxes": torch.from_numpy(sample["boxes"].astype(np.float32)),
        "labels": torch.from_numpy(sample["labels"]),
    }


def _metadata(record: Record, original: np.ndarray) -> dict[str, Any]:
    height, width = original.shape[:2]
    names = {"image_id": record["image_id"], "file_name": record["file_name"]}
    return {**names, "height": height, "width": width}


def to_tensor(image: np.ndarray, input_format: str) -> Tensor:
    """Convert an (H, W, 3) RGB array to a (3, H, W) tensor in the config's order of channels."""
    ordered = image[..., :: -1 if input_format == "BGR" else 1]
    # not ascontiguousarray, which keeps the negative strides of a turned image of 1 x 1 pixel
    return torch.from_numpy(np.array(ordered.transpose(2, 0, 1), order="C"))
