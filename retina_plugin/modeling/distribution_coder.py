"""The box coder of generalised focal loss (GFL, arXiv 2006.04388): a distribution for each side.

Axes: P pairs of a box and an anchor, B + 1 bins of each of the four sides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retina_plugin.losses.distribution import distribution_focal_loss, two_bins
from retina_plugin.modeling.box_coders import BOX_CODERS
from retina_plugin.modeling.structures import Anchors

# Target distances are clamped to the last bin minus this margin, as in MMDetection.
LAST_BIN_MARGIN = 0.1


@BOX_CODERS.register(reads={"bins": "MODEL.RETINA_PLUGIN.BOX_CODER.DistributionCoder.BINS"})
class DistributionCoder:
    """Encodes a box as its four distances from the centre of the anchor: left, top, right, bottom.

    The unit is the stride of the anchor's level. For each distance, the logits of a distribution
    over 0, 1, ..., B are predicted; the mean of the distribution is the distance. So a box extends
    at most B strides to each side. The size of the anchor is not used.
    """

    def __init__(self, *, bins: int) -> None:
        """
        Args:
            bins: B, the largest distance in strides, at least 1; 16 in the paper.
        """
        self.bins = bins
        self.dim = 4 * (bins + 1)

    def encode(self, boxes: Tensor, anchors: Anchors) -> Tensor:
        """Encode boxes (P, 4) as logits (P, 4 * (B + 1)): the logarithms of the weights of the two
        bins around each distance."""
        weights = two_bins(self.distances(boxes, anchors), self.bins + 1)
        return weights.clamp(min=torch.finfo(weights.dtype).tiny).log().flatten(1)

    def decode(self, deltas: Tensor, anchors: Anchors) -> Tensor:
        """Decode logits (P, 4 * (B + 1)) to boxes (P, 4), in float32 or float64."""
        deltas = deltas.to(torch.promote_types(deltas.dtype, torch.float32))
        scores = deltas.view(-1, 4, self.bins + 1).softmax(dim=-1)
        bins = torch.arange(self.bins + 1, dtype=scores.dtype, device=scores.device)
        # not a matrix product, which autocast would compute in half precision
        distances = (scores * bins).sum(dim=-1) * anchors.stride_of_each[:, None]
        centres = _centres(anchors).to(scores.dtype)
        return torch.cat([centres - distances[:, :2], centres + distances[:, 2:]], dim=1)

    def distribution_loss(self, deltas: Tensor, boxes: Tensor, anchors: Anchors) -> Tensor:
        """Return the distribution focal loss of logits (P, 4 * (B + 1)) and boxes (P, 4): (P,)."""
        distances = self.distances(boxes, anchors)
        return distribution_focal_loss(deltas.view(-1, 4, self.bins + 1), distances)

    def distances(self, boxes: Tensor, anchors: Anchors) -> Tensor:
        """Return the distances of the sides of boxes (P, 4) in strides, (P, 4) in 0..B - 0.1."""
        centres, stride = _centres(anchors), anchors.stride_of_each[:, None]
        distances = torch.cat([centres - boxes[:, :2], boxes[:, 2:] - centres], dim=1) / stride
        return distances.clamp(min=0, max=self.bins - LAST_BIN_MARGIN)


def _centres(anchors: Anchors) -> Tensor:
    """Return the centres of anchors, (P, 2)."""
    return (anchors.boxes[:, :2] + anchors.boxes[:, 2:]) / 2
