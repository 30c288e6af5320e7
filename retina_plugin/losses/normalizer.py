"""The loss normaliser: a moving average of the number of positive anchors in a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist

MOMENTUM = 0.9
# The initial value, as in Detectron2: about the number of positives in one image, so that the first
# steps are neither too large nor too small.
INITIAL = 100.0


@torch.no_grad()
def update_normalizer(average: Tensor, num_positives: Tensor) -> Tensor:
    """Update the moving average in place and return the loss normaliser of this rank.

    The number of positives in a small batch varies a lot, and dividing by it alone costs accuracy.
    The average counts the positives of all ranks, so that several ranks take the same step as one
    rank with all their images.

    Args:
        average: scalar, the average over all ranks; updated in place.
        num_positives: scalar, the number of positives in this rank's batch. A sum of 0 over all
            ranks is counted as 1.

    Returns:
        A scalar above 0, by which this rank divides its summed losses; see
        :func:`rank_normalizer`.
    """
    count = sum_over_ranks(num_positives.to(average.dtype))
    average.mul_(MOMENTUM).add_(count.clamp(min=1), alpha=1 - MOMENTUM)
    return rank_normalizer(average)


def rank_normalizer(average: Tensor) -> Tensor:
    """Return the average divided by the number of ranks, without updating it.

    The division is needed because distributed training averages the gradients over the ranks.
    """
    return average / (dist.get_world_size() if _distributed() else 1)


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of the values of all ranks. Every rank must call it."""
    total = values.clone()
    if _distributed():
        dist.all_reduce(total)
    return total


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
