"""The order of training images, for both hosts: endless batches of similar shapes, the same from
any step on.

Axes: B images of a step, over all processes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any

import torch
from torch.utils.data import Sampler

SampleKey = tuple[
    int, int
]  # place in the run, which seeds the augmentation, and index of the image


def shape_groups(records: Sequence[dict[str, Any]], *, grouped: bool) -> list[Hashable]:
    """The group of each image: wide, or square and tall, as in Detectron2; one of its own where the
    record gives no size.

    Args:
        records: with "width" and "height" of the file, if they are known.
        grouped: ``DATALOADER.ASPECT_RATIO_GROUPING``; False puts all images into one group.
    """
    if not grouped:
        return [None] * len(records)
    return [r["width"] > r["height"] if "width" in r and "height" in r else None for r in records]


class InfiniteBatchSampler(Sampler):
    """Batches of (place in the run, index of the image), for ever, from any step on.

    The images come in passes, each in an order of its own; passes follow one another without a gap,
    and the position in this row is an image's place. The row is cut into windows of whole batches,
    about a pass each. Within a window, a batch is complete when B images of one group have come;
    what is left of the groups at the window's end makes at most one batch fewer than there are
    groups. So no image waits longer than a window, none is lost, and a batch is known from the seed
    and its number, without those before its window.

    It has no length: training ends with ``SOLVER.MAX_ITER``, not with a pass over the data.
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
    ) -> None:
        """
        Args:
            groups: of each image, from :func:`shape_groups`; images of one group share batches.
            batch_size: B.
            seed: of the order.
            first_step: number of the first batch; may be set until iteration begins.
            rank, world_size: of several processes each takes its share of every batch.
        """
        self.groups, self.batch_size, self.seed = groups, batch_size, seed
        self.first_step, self.rank, self.world_size = first_step, rank, world_size

    def __iter__(self) -> Iterator[list[SampleKey]]:
        batches_per_window = max(len(self.groups) // self.batch_size, 1)
        window, begun = divmod(self.first_step, batches_per_window)
        size = batches_per_window * self.batch_size
        row = self._row(window * size)
        while True:
            for batch in islice(self._batches(islice(row, size)), begun, None):
                yield batch[self.rank :: self.world_size]
            begun = 0

    def _row(self, place: int) -> Iterator[SampleKey]:
        """All images of all passes, from a place on."""
        num_images = len(self.groups)
        number, skipped = divmod(place, num_images)
        while True:
            generator = torch.Generator().manual_seed(self.seed + number)
            permutation = torch.randperm(num_images, generator=generator).tolist()
            yield from islice(zip(count(number * num_images), permutation), skipped, None)
            number, skipped = number + 1, 0

    def _batches(self, window: Iterable[SampleKey]) -> Iterator[list[SampleKey]]:
        waiting: dict[Hashable, list[SampleKey]] = {}
        for place, index in window:
            group = waiting.setdefault(self.groups[index], [])
            group.append((place, index))
            if len(group) == self.batch_size:
                yield waiting.pop(self.groups[index])
        left = [pair for group in waiting.values() for pair in group]
        for start in range(0, len(left), self.batch_size):
            yield left[start : start + self.batch_size]
