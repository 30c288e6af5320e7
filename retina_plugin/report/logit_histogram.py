"""Count logits in fine bins, because all logits of some images may not fit into memory."""

from __future__ import annotations

import torch
from torch import Tensor

LIMIT = 64.0  # larger absolute values share the last bins
IN_ONE = 512  # number of bins in an interval of 1
BINS = round(2 * LIMIT * IN_ONE)


class LogitHistogram:
    """Numbers and means of logits in bins of width 1 / 512, by group.

    A smooth function is summed as its value at the mean of each bin times the number of logits. The
    relative error is about 1e-7 for focal loss. Equal logits have no error.

    Attributes:
        counts: (groups, bins) float64, number of logits.
    """

    def __init__(self, groups: int) -> None:
        self.counts = torch.zeros(groups, BINS, dtype=torch.float64)
        self._sums = torch.zeros(groups, BINS, dtype=torch.float64)

    def add(self, z: Tensor, group: Tensor) -> None:
        """Add logits.

        Args:
            z: (S,).
            group: (S,) int64.
        """
        places = ((z + LIMIT) * IN_ONE).long().clamp_(0, BINS - 1).add_(group, alpha=BINS)
        size = self.counts.numel()
        self.counts += torch.bincount(places, minlength=size).view_as(self.counts)
        self._sums += torch.bincount(places, weights=z, minlength=size).view_as(self._sums)

    @property
    def values(self) -> Tensor:
        """(groups, bins) mean logit of each bin; 0 for an empty bin."""
        return self._sums / self.counts.clamp(min=1)

    def ascending(self, groups: slice) -> tuple[Tensor, Tensor]:
        """Return the counts and the mean logits of the bins of some groups that are not empty, by
        ascending logit."""
        counts, values = self.counts[groups].flatten(), self.values[groups].flatten()
        used = counts > 0
        counts, values = counts[used], values[used]
        order = values.argsort(stable=True)
        return counts[order], values[order]
