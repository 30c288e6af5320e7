"""Batches in which images of rare classes come more often, by Detectron2's repeat factors."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import count, islice

from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.utils import comm
from torch import Tensor
from torch.utils.data import Sampler

from retina_plugin.data.sampler import SampleKey


class RepeatFactorBatchSampler(Sampler):
    """This process's batches of (place in the run, index) in the order of Detectron2's
    RepeatFactorTrainingSampler, for ever; images of one group share batches."""

    def __init__(
        self, *, factors: Tensor, groups: Sequence[Hashable], batch_size: int, seed: int
    ) -> None:
        """
        Args:
            factors: how often each image comes in a pass.
            groups: of each image, from :func:`retina_plugin.data.sampler.shape_groups`.
            batch_size: images of a step over all processes.
            seed: of the order.
        """
        self.factors, self.groups, self.seed, self.first_step = factors, groups, seed, 0
        self.batch_size = batch_size // comm.get_world_size()

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order = RepeatFactorTrainingSampler(self.factors, seed=self.seed)  # this process's share
        places = zip(count(comm.get_rank(), comm.get_world_size()), order)
        yield from islice(self._batches(places), self.first_step, None)

    def _batches(self, places: Iterable[SampleKey]) -> Iterator[list[SampleKey]]:
        waiting: dict[Hashable, list[SampleKey]] = {}
        for place, index in places:
            group = waiting.setdefault(self.groups[index], [])
            group.append((place, index))
            if len(group) == self.batch_size:
                yield waiting.pop(self.groups[index])
