"""Detectron2's dataset mapper with this project's image reader, for meta-architectures other than
FocalRetinaNet."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetMapper
from detectron2.data.detection_utils import convert_PIL_to_numpy
from detectron2.data.transforms import AugInput
from PIL import Image
from torch.utils.data import Dataset

from retina_plugin.data import image_options, read_record
from retina_plugin.data.sampler import ProgressKey
from retina_plugin.engine import stopping

Record = dict[str, Any]


class RetinaDatasetMapper(DatasetMapper):
    """Detectron2's mapper with this project's image reader: the same pixel values as on Lightning,
    and errors that name the file."""

    def __init__(self, cfg: Any, is_train: bool = True) -> None:
        super().__init__(cfg, is_train)
        self.options = image_options(cfg)

    def __call__(self, dataset_dict: Record) -> Record:
        if torch.utils.data.get_worker_info() is not None:
            stopping.protect_worker_from_signals()
        sample = copy.deepcopy(dataset_dict)
        image = read_record(sample, **self.options)
        sample.setdefault("height", image.shape[0])
        sample.setdefault("width", image.shape[1])
        augmented = AugInput(convert_PIL_to_numpy(Image.fromarray(image), self.image_format))
        transforms = self.augmentations(augmented)
        sample["image"] = torch.as_tensor(augmented.image.transpose(2, 0, 1).copy())
        if not self.is_train:
            sample.pop("annotations", None)
        elif "annotations" in sample:
            self._transform_annotations(sample, transforms, augmented.image.shape[:2])
        return sample


class MappedDataset(Dataset[Record]):
    """Maps (number of the sample in the run, index of the image, progress) to the mapper's sample.

    Random augmentation depends on the seed and the number of the sample only.
    """

    def __init__(
        self, records: Sequence[Record], mapper: Callable[[Record], Record], *, seed: int
    ) -> None:
        self.records, self.mapper, self.seed = records, mapper, seed

    def __getitem__(self, key: ProgressKey) -> Record:
        sample_number, index, _ = key
        with seeded(self.seed, sample_number):
            return self.mapper(self.records[index])


@contextlib.contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed the global generators of numpy, Python and torch on the CPU from ``numbers``; on exit,
    restore their states.

    Detectron2's augmentations draw from them.
    """
    words = np.random.SeedSequence(numbers).generate_state(4)
    states = np.random.get_state(), random.getstate(), torch.get_rng_state()  # noqa: NPY002
    np.random.seed(words)  # noqa: NPY002
    random.seed(words.tobytes())
    torch.default_generator.manual_seed(int(words[0]))
    try:
        yield
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])
        torch.set_rng_state(states[2])
