"""Sample endless batches of training images; a resumed run continues with the same batches.

Axes: B images in a batch, over all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any

import torch
from torch.utils.data import Sampler

# (position in the run, which seeds the transforms; index of the image)
SampleKey = tuple[int, int]
# the same, and the progress of the run when the sample is loaded, 0 to 1
ProgressKey = tuple[int, int, float]


def shape_groups(records: Sequence[dict[str, Any]], *, grouped: bool) -> list[Hashable]:
    """Return the aspect ratio group of each image.

    As in Detectron2, wide images are one group, square and tall ones another. Images of unknown
    size are a third group.

    Args:
        records: the images; "width" and "height" may be missing.
        grouped: ``DATALOADER.ASPECT_RATIO_GROUPING``; False puts all images into one group.
    """
    if not grouped:
        return [None] * len(records)
    return [r["width"] > r["height"] if "width" in r and "height" in r else None for r in records]


class InfiniteBatchSampler(Sampler[list[SampleKey]]):
    """Yields endless batches of (position in the run, index of the image), from any step on.

    The order is a sequence of epochs, by default random permutations of all images. An image's
    position in this order is its position in the run. The order is cut into windows of about an
    epoch, a whole number of batches each. Within a window, B images of one group form a batch; the
    remaining images at its end form batches of mixed groups. Thus no image is skipped, and a batch
    follows from the seed and its number without generating the windows before.

    The sampler has no length: training ends at ``SOLVER.MAX_ITER``.
    """

    def __init__(
        self,
        *,
        groups: Sequence[Hashable],
        batch_size: int,
        seed: int,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epoch: Callable[[int], list[int]] | None = None,
    ) -> None:
        """
        Args:
            groups: group of each image, see :func:`shape_groups`; images of one group share
                batches.
            batch_size: B.
            seed: random seed of the order.
            first_step: number of the first batch; can be changed until iteration begins.
            rank, world_size: index of this process, and number of processes. Each process gets its
                part of every batch.
            epoch: returns the N images of an epoch for a seed; None permutes all images.
        """
        self.epoch = epoch or self._permutation
        self.groups, self.batch_size, self.seed = groups, batch_size, seed
        self.first_step, self.rank, self.world_size = first_step, rank, world_size

    def __iter__(self) -> Iterator[list[SampleKey]]:
        batches_per_window = max(len(self.groups) // self.batch_size, 1)
        window, skipped_batches = divmod(self.first_step, batches_per_window)
        size = batches_per_window * self.batch_size
        order = self._order(window * size)
        while True:
            for batch in islice(self._batches(islice(order, size)), skipped_batches, None):
                yield batch[self.rank :: self.world_size]
            skipped_batches = 0

    def _order(self, position: int) -> Iterator[SampleKey]:
        """Yield the images of all epochs, from a position on."""
        num_images = len(self.groups)
        number, skipped = divmod(position, num_images)
        while True:
            images = self.epoch(self.seed + number)
            yield from islice(zip(count(number * num_images), images), skipped, None)
            number, skipped = number + 1, 0

    def _permutation(self, seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        images: list[int] = torch.randperm(len(self.groups), generator=generator).tolist()
        return images

    def _batches(self, window: Iterable[SampleKey]) -> Iterator[list[SampleKey]]:
        incomplete: dict[Hashable, list[SampleKey]] = {}
        yield from complete_batches(window, self.groups, self.batch_size, incomplete)
        remaining = [pair for batch in incomplete.values() for pair in batch]
        for start in range(0, len(remaining), self.batch_size):
            yield remaining[start : start + self.batch_size]


def complete_batches(
    sample_keys: Iterable[SampleKey],
    groups: Sequence[Hashable],
    batch_size: int,
    incomplete: dict[Hashable, list[SampleKey]],
) -> Iterator[list[SampleKey]]:
    """Yield batches of images of one group, each as soon as it is complete.

    Args:
        sample_keys: the images in their order.
        groups: group of each image of the data set.
        batch_size: number of images of a batch.
        incomplete: empty; at the end it has the images of each group that fill no batch.
    """
    for position, index in sample_keys:
        batch = incomplete.setdefault(groups[index], [])
        batch.append((position, index))
        if len(batch) == batch_size:
            yield incomplete.pop(groups[index])
