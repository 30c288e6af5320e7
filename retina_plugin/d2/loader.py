"""Detectron2's training data in an order that a resumed run continues; see
:mod:`retina_plugin.data.sampler`."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from retina_plugin.data.sampler import Place, TrainingBatches, shape_groups

Record = dict[str, Any]


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


class TrainingDataset(Dataset):
    """(place in the run, index) -> what the mapper makes of the record; chance depends on the seed
    and the place alone."""

    def __init__(
        self, records: Sequence[Record], mapper: Callable[[Record], Record], *, seed: int
    ) -> None:
        self.records, self.mapper, self.seed = records, mapper, seed

    def __getitem__(self, key: Place) -> Record:
        place, index = key
        with seeded(self.seed, place):
            return self.mapper(self.records[index])


class TrainingLoader(DataLoader):
    """Endless lists of samples, this process's share of each batch. Checkpoints keep its seed, as
    Lightning's do."""

    def __init__(
        self, records: Sequence[Record], mapper: Callable[[Record], Record], cfg: Any
    ) -> None:
        """
        Args:
            records: in Detectron2's format.
            mapper: record -> sample.
            cfg: with ``SEED``; a negative one takes another seed each time, the same in all
                processes.
        """
        seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        batches = TrainingBatches(
            groups=shape_groups(records, grouped=cfg.DATALOADER.ASPECT_RATIO_GROUPING),
            batch_size=cfg.SOLVER.IMS_PER_BATCH,
            seed=seed,
            rank=comm.get_rank(),
            ranks=comm.get_world_size(),
        )
        super().__init__(
            TrainingDataset(records, mapper, seed=seed),
            batch_sampler=batches,
            collate_fn=list,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )

    def start_at(self, step: int) -> None:
        """Begin with the batch of ``step``; to be called before the first batch is taken."""
        self.batch_sampler.first_step = step

    def state_dict(self) -> int:
        return self.dataset.seed

    def load_state_dict(self, seed: int) -> None:
        """Go on with the seed of a checkpoint."""
        self.dataset.seed = self.batch_sampler.seed = seed
