"""What the losses are divided by: a moving average of the number of positive anchors of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist

MOMENTUM = 0.9
# Detectron2's, about the positives of one image, so that the first steps are neither huge nor tiny
INITIAL = 100.0


@torch.no_grad()
def update_normalizer(average: Tensor, num_positives: Tensor) -> Tensor:
    """Update the moving average in place and return what this rank divides its summed losses by.

    The number of positives of a small batch varies a lot, and dividing by it alone costs accuracy;
    the average steadies it. It counts all ranks of distributed training: R ranks then take the same
    step as one rank with their joint batch. The average is a buffer of the model, so that a resumed
    run goes on with it.

    Args:
        average: scalar, the average over all ranks; changed.
        num_positives: scalar, positives of this rank's batch; a joint count of 0 is taken as 1.

    Returns:
        Scalar above 0: the average divided by the number of ranks, because gradients are averaged
        over ranks.
    """
    count = num_positives.to(average.dtype, copy=True)
    if _distributed():
        dist.all_reduce(count)
    average.mul_(MOMENTUM).add_(count.clamp(min=1), alpha=1 - MOMENTUM)
    return rank_normalizer(average)


def rank_normalizer(average: Tensor) -> Tensor:
    """What a rank divides its summed losses by at a moving average as it stands; evaluation leaves
    the average to training."""
    return average / (dist.get_world_size() if _distributed() else 1)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
