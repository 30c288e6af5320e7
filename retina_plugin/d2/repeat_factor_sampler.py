"""A batch sampler that repeats images of rare classes, with Detectron2's repeat factors."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import count, islice

from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.utils import comm
from torch import Tensor
from torch.utils.data import Sampler

from retina_plugin.data.sampler import SampleKey


class RepeatFactorBatchSampler(Sampler[list[SampleKey]]):
    """Yields this process's share of each batch, endlessly, as pairs (number of the sample in the
    run, index of the image).

    The images come in the order of Detectron2's ``RepeatFactorTrainingSampler``. All images of a
    batch are of one group.
    """

    def __init__(
        self, *, factors: Tensor, groups: Sequence[Hashable], batch_size: int, seed: int
    ) -> None:
        """
        Args:
            factors: (N,); how often each image comes in an epoch.
            groups: the group of each image, from
                :func:`retina_plugin.data.sampler.shape_groups`.
            batch_size: the number of images of a step, all processes together.
            seed: the seed of the order.
        """
        self.factors, self.groups, self.seed, self.first_step = factors, groups, seed, 0
        self.batch_size = batch_size // comm.get_world_size()

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order = RepeatFactorTrainingSampler(self.factors, seed=self.seed)  # this process's share
        sample_keys = zip(count(comm.get_rank(), comm.get_world_size()), order)
        yield from islice(self._batches(sample_keys), self.first_step, None)

    def _batches(self, sample_keys: Iterable[SampleKey]) -> Iterator[list[SampleKey]]:
        incomplete: dict[Hashable, list[SampleKey]] = {}
        for sample_number, index in sample_keys:
            batch = incomplete.setdefault(self.groups[index], [])
            batch.append((sample_number, index))
            if len(batch) == self.batch_size:
                yield incomplete.pop(self.groups[index])
