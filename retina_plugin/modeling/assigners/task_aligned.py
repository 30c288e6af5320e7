"""Task-aligned assignment (TOOD, arXiv 2108.07755, section 3.2), from the model's predictions.

Axes: N images, R anchors, M boxes of all images, C candidates of a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from retina_plugin.layers.tracing import needs_fixed_shapes
from retina_plugin.modeling.assigners.alignment import (
    Aligned,
    Rule,
    align_in_tiles,
    align_with_all,
)
from retina_plugin.modeling.assigners.all_boxes import (
    AllBoxes,
    centres_inside,
    collect_boxes,
    flat_indices,
    matches_by_iou,
)
from retina_plugin.modeling.assigners.registry import ASSIGNER_REGISTRY
from retina_plugin.modeling.structures import Anchors, Assignment, Predictions, Target

NODE = "MODEL.RETINA_PLUGIN.ASSIGNER.TaskAlignedAssigner"
EPS = 1e-7  # as in MMDetection


@ASSIGNER_REGISTRY.register(
    reads={"topk": f"{NODE}.TOPK", "alpha": f"{NODE}.ALPHA", "beta": f"{NODE}.BETA"}
)
class TaskAlignedAssigner:
    """Selects for each box the anchors whose predictions fit its class and its position best.

    The candidates of a box are the ``topk`` anchors of all levels with the highest alignment, see
    :mod:`retina_plugin.modeling.assigners.alignment`. A candidate is positive if its alignment is
    above 0 and its centre is inside the box. An anchor that is positive for several boxes is
    assigned to the one whose IoU with the predicted box is highest.

    The soft class target of a positive is its alignment, scaled so that the highest target of a box
    equals the highest IoU of its positives. This needs a class loss with soft targets:
    quality_focal or varifocal.
    """

    def __init__(self, *, topk: int, alpha: float, beta: float, box_coder: Any) -> None:
        """
        Args:
            topk: number of candidates of a box, at least 1; 13 in the paper.
            alpha: exponent of the score, at least 0; 1 in the paper.
            beta: exponent of the IoU, above 0; 6 in the paper.
            box_coder: a part of :data:`retina_plugin.modeling.BOX_CODERS`, which decodes the
                predictions.
        """
        self.rule, self.box_coder = Rule(topk, alpha, beta), box_coder

    @torch.no_grad()
    def __call__(
        self, anchors: Anchors, targets: Sequence[Target], predictions: Predictions | None = None
    ) -> Assignment:
        """See :class:`retina_plugin.modeling.assigners.Assigner`; the predictions are required.

        Raises:
            ValueError: if there are no predictions.
        """
        if predictions is None:
            raise ValueError("TaskAlignedAssigner needs the predictions of the head")
        boxes = collect_boxes(targets, like=anchors.boxes)
        aligned = self._best(anchors, boxes, predictions)
        candidates, iou = aligned.candidates, aligned.iou
        positive = aligned.alignment > 0
        positive = positive & centres_inside(boxes.boxes, anchors.boxes[candidates])
        if boxes.valid is not None:
            positive = positive & boxes.valid[:, None]
        count = len(anchors.boxes)
        matches = matches_by_iou(boxes, candidates, positive, iou, num_anchors=count)
        place = flat_indices(boxes, candidates, count)
        matched = positive & (matches.flatten()[place] == boxes.number[:, None])
        quality = _soft_targets(aligned.alignment, iou, matched)
        spread = quality.new_zeros(matches.numel())
        spread = spread.scatter_reduce(0, place.flatten(), quality.flatten(), "amax")
        return Assignment(matches, quality=spread.view_as(matches))

    def _best(self, anchors: Anchors, boxes: AllBoxes, predictions: Predictions) -> Aligned:
        """Return the candidates of all boxes, image by image."""
        images = zip(boxes.split(), predictions.logits, predictions.deltas, strict=True)
        found = [self._best_of_image(anchors, *image) for image in images]
        return Aligned(*(torch.cat(column) for column in zip(*found, strict=True)))

    def _best_of_image(
        self, anchors: Anchors, boxes: tuple[Tensor, Tensor], logits: Tensor, deltas: Tensor
    ) -> Aligned:
        """Return the candidates of boxes and labels of one image, from logits (R, K) and deltas
        (R, D)."""
        rows = torch.arange(len(deltas), device=deltas.device)

        def decode(part: slice) -> Tensor:
            some = anchors._replace(boxes=anchors.boxes[part], rows=rows[part])
            predicted: Tensor = self.box_coder.decode(deltas[part], some)
            return predicted.to(anchors.boxes.dtype)

        if needs_fixed_shapes(anchors.boxes):
            return align_with_all(logits, decode(slice(None)), *boxes, self.rule)
        return align_in_tiles(logits, decode, *boxes, self.rule)


def _soft_targets(alignment: Tensor, iou: Tensor, matched: Tensor) -> Tensor:
    """Scale the alignments (M, C) of matched candidates; those of other candidates become 0.

    After scaling, the highest alignment of a box is the highest IoU of its matched candidates.
    """
    alignment, iou = alignment.where(matched, 0), iou.where(matched, 0)
    highest, best_iou = (x.amax(dim=1, keepdim=True) for x in (alignment, iou))
    return alignment / (highest + EPS) * best_iou
