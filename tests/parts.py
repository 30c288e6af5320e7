"""Call parts of the detector without a model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from retina_plugin.losses import BOX_LOSSES
from retina_plugin.modeling.box_coders import DeltaCoder
from retina_plugin.modeling.postprocessing import PostProcessor
from retina_plugin.modeling.structures import Anchors, Detections, Predictions
from retina_plugin.modeling.suppressors import NMS


def anchors_of(*levels: Tensor) -> Anchors:
    """Combine the anchors (R, 4) of each level into ``Anchors``."""
    counts = tuple(map(len, levels))
    return Anchors(torch.cat(levels), counts, tuple(8 * 2**i for i in range(len(levels))), 1)


def box_loss(
    name: str,
    deltas: Tensor,
    anchors: Tensor,
    targets: Tensor,
    *,
    beta: float,
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
) -> Tensor:
    """Sum of a box loss over deltas, anchors and targets, each (P, 4)."""
    part, coder = BOX_LOSSES.get(name), DeltaCoder(weights=weights)
    loss = part(beta=beta) if name == "smooth_l1" else part()
    if loss.compares == "deltas":
        return loss(deltas, coder.encode(targets, anchors_of(anchors))).sum()
    return loss(coder.decode(deltas, anchors_of(anchors)), targets).sum()


def detect(
    anchors: Sequence[Tensor],
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    *,
    score_threshold: float,
    topk: int,
    nms_threshold: float,
    max_detections: int,
) -> list[Detections]:
    """Detections for anchors (R, 4), logits (N, R, K) and deltas (N, R, 4) of each level."""
    postprocessor = PostProcessor(
        box_coder=DeltaCoder(weights=(1.0, 1.0, 1.0, 1.0)),
        suppressor=NMS(threshold=nms_threshold),
        score_threshold=score_threshold,
        topk_candidates=topk,
        max_detections=max_detections,
    )
    predictions = Predictions(torch.cat(list(logits), dim=1), torch.cat(list(deltas), dim=1))
    return postprocessor(predictions, anchors_of(*anchors))
