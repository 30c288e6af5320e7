"""Benchmark the loading of training samples: reading, decoding and resizing, on one thread."""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import os
import tempfile
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.testing import assert_close

from benchmarks.measure import Comparison, Work
from retina_plugin.config import get_cfg
from retina_plugin.data.decode import has_fast_decoder
from retina_plugin.data.samples import TrainingDataset

COUNT = 16
LARGEST_DIFFERENCE = 2  # of 255, between Pillow's and torch's resized pixels
Record = dict[str, Any]


def comparisons(args: argparse.Namespace) -> list[Comparison]:
    """Compare the samples of 16 JPEG files of 640x480, resized to two sizes, without random
    transforms."""
    sizes = (64,) if args.quick else (800, 400)
    return [_comparison(size, (64, 48) if args.quick else (640, 480)) for size in sizes]


def _comparison(size: int, shape: tuple[int, int]) -> Comparison:
    works: dict[str, Any] = {
        f"retina_plugin, RESIZER {resizer}": partial(_ours, size, shape, resizer)
        for resizer in ("torch", "pillow")
    }
    absent = [] if has_fast_decoder() else ["simplejpeg is not installed"]
    if importlib.util.find_spec("detectron2"):
        works["Detectron2's mapper"] = partial(_detectron2, size, shape)
    else:
        absent.append("Detectron2 is not installed")
    width, height = shape
    title = f"input, {COUNT} JPEG files of {width}x{height}, shorter side {size}"
    return Comparison(title, works, _check_equal, absent)


def _records(shape: tuple[int, int]) -> list[Record]:
    """Write images that compress like photographs, and return their records. The folder is removed
    at the end of the process."""
    folder = _FOLDERS.enter_context(tempfile.TemporaryDirectory())
    numbers, records = np.random.default_rng(0), []
    width, height = shape
    for index in range(COUNT):
        coarse = numbers.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize(shape, Image.Resampling.BICUBIC))
        image = (image + numbers.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
        path = os.path.join(folder, f"{index}.jpg")
        Image.fromarray(image).save(path, quality=90)
        corners = numbers.uniform(0, min(shape) / 2, (7, 2))
        boxes = np.concatenate([corners, corners + min(shape) / 3], axis=1).tolist()
        annotations = [{"bbox": box, "category_id": 0, "iscrowd": 0} for box in boxes]
        record = {"file_name": path, "image_id": index, "height": height, "width": width}
        records.append({**record, "annotations": annotations})
    return records


_FOLDERS = contextlib.ExitStack()


def _set_up(cfg: Any, size: int) -> Any:
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (size,), 1333
    cfg.INPUT.RANDOM_FLIP, cfg.MODEL.META_ARCHITECTURE = "none", "FocalRetinaNet"
    return cfg


def _ours(size: int, shape: tuple[int, int], resizer: str) -> Work:
    cfg = _set_up(get_cfg(), size)
    cfg.MODEL.RETINA_PLUGIN.INPUT.RESIZER = resizer
    images = TrainingDataset.from_config(cfg, _records(shape), seed=0)

    def load() -> list[tuple[torch.Tensor, torch.Tensor]]:
        samples = [images[index, index] for index in range(COUNT)]
        return [(sample["image"], sample["boxes"]) for sample in samples]

    return load


def _detectron2(size: int, shape: tuple[int, int]) -> Work:
    from detectron2.config import get_cfg as detectron2_cfg
    from detectron2.data import DatasetMapper
    from detectron2.structures import BoxMode

    mapper, records = DatasetMapper(_set_up(detectron2_cfg(), size)), _records(shape)
    for record in records:
        for annotation in record["annotations"]:
            annotation["bbox_mode"] = BoxMode.XYXY_ABS

    def load() -> list[tuple[torch.Tensor, torch.Tensor]]:
        samples = [mapper(copy.copy(record)) for record in records]
        return [(sample["image"], sample["instances"].gt_boxes.tensor) for sample in samples]

    return load


def _check_equal(found: Any, expected: Any) -> None:
    for (image, boxes), (other, expected_boxes) in zip(found, expected, strict=True):
        assert_close(boxes, expected_boxes)
        difference = (image.int() - other.int()).abs().max()
        assert difference <= LARGEST_DIFFERENCE, f"pixels differ by {difference}"
