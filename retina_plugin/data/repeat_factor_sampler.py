"""A batch sampler that repeats images of rare classes, in Detectron2's order."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import count, islice

import torch
from torch import Tensor
from torch.utils.data import Sampler

from retina_plugin.data.sampler import SampleKey, complete_batches


class RepeatFactorBatchSampler(Sampler[list[SampleKey]]):
    """Yields endless batches of (position in the run, index of the image), for one process.

    The order is that of Detectron2's ``RepeatFactorTrainingSampler``. Process r of n processes
    takes the images r, r + n, r + 2n, ... All images of a batch are of the same group.
    """

    def __init__(
        self,
        *,
        factors: Tensor,
        groups: Sequence[Hashable],
        batch_size: int,
        seed: int,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """
        Args:
            factors: (N,) how often each image is used in an epoch; see
                :func:`retina_plugin.data.class_balance.repeat_factors`.
            groups: the group of each image, from :func:`retina_plugin.data.sampler.shape_groups`.
            batch_size: the number of images of a step, all processes together.
            seed: the seed of the order.
            first_step: number of the first batch; can be changed until iteration begins.
            rank, world_size: index of this process, and number of processes.
        """
        self.factors, self.groups, self.seed, self.first_step = factors, groups, seed, first_step
        self.rank, self.world_size, self.batch_size = rank, world_size, batch_size // world_size

    def __iter__(self) -> Iterator[list[SampleKey]]:
        sample_keys = islice(zip(count(), self._order()), self.rank, None, self.world_size)
        batches = complete_batches(sample_keys, self.groups, self.batch_size, {})
        yield from islice(batches, self.first_step, None)

    def _order(self) -> Iterator[int]:
        """Yield the images of all epochs.

        An image with the factor 2.3 is used 3 times in an epoch with probability 0.3, else 2 times.
        """
        generator = torch.Generator().manual_seed(self.seed)
        whole = self.factors.trunc()
        while True:
            more = torch.rand(len(whole), generator=generator) < self.factors - whole
            repeats = whole.long() + more.long()
            images = torch.arange(len(whole)).repeat_interleave(repeats)
            yield from images[torch.randperm(len(images), generator=generator)].tolist()
