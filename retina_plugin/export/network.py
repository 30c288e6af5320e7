"""The networks that are written into files: a model without preprocessing and suppression.

Axes: N images, R anchors per image, K classes, D numbers that encode a box, C candidates.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.layers.norms import Conv2d, can_fold, scale_and_shift
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import Anchors, Predictions

RAW, BOXES, DETECTIONS = "raw", "boxes", "detections"  # values of --outputs


class _Network(nn.Module):
    """Computes named outputs from a batch in the format of :meth:`RetinaNet.preprocess`."""

    def __init__(self, model: RetinaNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs from normalised images (N, 3, H, W)."""
        return tuple(self.outputs(*self.model.predict_dense(images)).values())

    def outputs(self, predictions: Predictions, anchors: Anchors) -> dict[str, Tensor]:
        """Compute the outputs by name from the output of the head."""
        raise NotImplementedError


class RawNetwork(_Network):
    """Outputs of the head, and the anchors: "logits" (N, R, K), "deltas" (N, R, D), "anchors"
    (R, 4) and, if the head has a quality branch, "quality" (N, R)."""

    def outputs(self, predictions: Predictions, anchors: Anchors) -> dict[str, Tensor]:
        found = {"logits": predictions.logits, "deltas": predictions.deltas}
        found["anchors"] = anchors.boxes
        if predictions.quality is not None:
            found["quality"] = predictions.quality
        return found


class BoxNetwork(_Network):
    """All anchors as boxes: "boxes" (N, R, 4) XYXY, "scores" (N, R, K) in 0..1 and, if the head has
    a quality branch, "quality" (N, R) in 0..1, the factor of the scores after the threshold."""

    def outputs(self, predictions: Predictions, anchors: Anchors) -> dict[str, Tensor]:
        found = {
            "boxes": decode_batch(self.model, predictions.deltas, anchors),
            "scores": predictions.logits.sigmoid(),
        }
        if predictions.quality is not None:
            found["quality"] = predictions.quality.sigmoid()
        return found


class CandidateNetwork(_Network):
    """The candidates of :class:`retina_plugin.modeling.postprocessing.PostProcessor`, with fixed
    shapes: "boxes" (N, C, 4), "scores" (N, C) and "labels" (N, C) int64.

    C is the sum over levels of the largest number of candidates. The score of a place without a
    candidate is 0.
    """

    def outputs(self, predictions: Predictions, anchors: Anchors) -> dict[str, Tensor]:
        chosen, start = [], 0
        for logits in predictions.logits.split_with_sizes(list(anchors.counts), dim=1):
            rows, labels, scores = self._select(logits)
            chosen.append((rows + start, labels, scores))
            start += logits.shape[1]
        rows, labels, scores = (torch.cat(parts, dim=1) for parts in zip(*chosen, strict=True))
        if predictions.quality is not None:
            scores = scores * predictions.quality.gather(1, rows).sigmoid()
        dim = predictions.deltas.shape[-1]
        deltas = predictions.deltas.gather(1, rows[..., None].expand(-1, -1, dim))
        coder = self.model.postprocessor.box_coder
        boxes = coder.decode(deltas.flatten(0, 1), anchors.at(rows.flatten()))
        return {"boxes": boxes.view(*rows.shape, 4), "scores": scores, "labels": labels}

    def _select(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return anchors, classes and scores (N, k) of the highest logits (N, R, K) of a level."""
        select = self.model.postprocessor
        threshold = select.score_threshold
        lowest = math.log(threshold / (1 - threshold)) if threshold > 0 else -math.inf
        flat = logits.flatten(1)
        values, order = flat.topk(min(select.topk_candidates, flat.shape[1]), dim=1)
        scores = torch.where(values > lowest, values.sigmoid(), 0.0)
        return order // logits.shape[2], order % logits.shape[2], scores


NETWORKS: dict[str, type[_Network]] = {
    RAW: RawNetwork,
    BOXES: BoxNetwork,
    DETECTIONS: CandidateNetwork,
}


def decode_batch(model: RetinaNet, deltas: Tensor, anchors: Anchors) -> Tensor:
    """Decode the deltas (N, R, D) of all anchors to boxes (N, R, 4)."""
    number, length = deltas.shape[:2]
    rows = torch.arange(length, device=deltas.device).repeat(number)
    coder: Any = model.postprocessor.box_coder
    boxes: Tensor = coder.decode(deltas.flatten(0, 1), anchors.at(rows))
    return boxes.view(number, length, 4)


def build_network(model: RetinaNet, outputs: str) -> _Network:
    """Return the network with the given outputs, in evaluation mode on the CPU.

    It is a copy of the model with norms folded into the convolutions.
    """
    plain = copy.deepcopy(model).float().cpu().eval().requires_grad_(False)
    with torch.no_grad():
        for layer in plain.modules():
            if isinstance(layer, Conv2d):
                _fold(layer)
    return NETWORKS[outputs](plain).eval()


def _fold(layer: Conv2d) -> None:
    """Write the kernel that a convolution computes, with its norm if possible, into its weights."""
    kernel, bias = layer.kernel(), layer.bias
    if can_fold(layer.norm):
        scale, shift = scale_and_shift(layer.norm)
        kernel = kernel * scale[:, None, None, None]
        bias = shift if bias is None else bias * scale + shift
        layer.norm = None
    layer.weight = nn.Parameter(kernel.contiguous(), requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    layer.__class__ = Conv2d  # a subclass would compute its kernel again
