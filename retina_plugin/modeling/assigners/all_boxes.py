"""The ground-truth boxes of a batch as one list, for assigners that select anchors for each box.

Axes: N images, R anchors of an image, M boxes of all images, C candidates of a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from retina_plugin.layers.tracing import needs_fixed_shapes
from retina_plugin.modeling.structures import BACKGROUND, Target
from retina_plugin.modeling.targets import PaddedTargets, arrange_targets

MARGIN = 0.01  # pixels; the value of the authors' code of ATSS and TOOD


class AllBoxes(NamedTuple):
    """The boxes of N images.

    Attributes:
        boxes: (M, 4) XYXY pixels.
        labels: (M,) int64.
        image: (M,) int64, the image of each box.
        number: (M,) int64, the index of each box in its image.
        valid: (M,) bool, False for padding, whose boxes and labels may have any value; None if
            there is no padding.
        counts: the number of boxes of each image, N numbers.
    """

    boxes: Tensor
    labels: Tensor
    image: Tensor
    number: Tensor
    valid: Tensor | None
    counts: list[int]

    @property
    def num_images(self) -> int:
        """N."""
        return len(self.counts)

    @property
    def centres(self) -> Tensor:
        """(M, 2) x and y."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    def split(self) -> list[tuple[Tensor, Tensor]]:
        """Return boxes and labels of each image; the label of padding is 0."""
        labels = self.labels if self.valid is None else self.labels.where(self.valid, 0)
        columns = (torch.split(column, self.counts) for column in (self.boxes, labels))
        return list(zip(*columns, strict=True))


def collect_boxes(targets: Sequence[Target], *, like: Tensor) -> AllBoxes:
    """List the boxes of all images, in the dtype of ``like``.

    If shapes must be fixed, the list contains the padding of the targets.
    """
    targets = arrange_targets(targets, like=like)
    if isinstance(targets, PaddedTargets):
        n, m = targets.mask.shape
        numbers = [torch.arange(size, device=like.device) for size in (n, m)]
        image, index = torch.meshgrid(*numbers, indexing="ij")
        boxes, labels = targets.boxes.to(like.dtype).flatten(0, 1), targets.labels.flatten()
        mask = targets.mask.flatten()
        return AllBoxes(boxes, labels, image.flatten(), index.flatten(), mask, [m] * n)
    counts = [len(target["labels"]) for target in targets]
    indices = [torch.arange(count, device=like.device) for count in counts]
    images = [torch.full_like(x, number) for number, x in enumerate(indices)]
    return AllBoxes(
        torch.cat([target["boxes"].to(like.dtype) for target in targets]),
        torch.cat([target["labels"].long() for target in targets]),
        torch.cat(images),
        torch.cat(indices),
        None,
        counts,
    )


def matches_by_iou(
    boxes: AllBoxes, candidates: Tensor, positive: Tensor, iou: Tensor, *, num_anchors: int
) -> Tensor:
    """Assign each anchor to the box with the highest IoU among the boxes that selected it.

    Args:
        boxes: the M boxes.
        candidates: (M, C) int64, the candidates of each box, as indices of anchors.
        positive: (M, C) bool, whether the box has selected the candidate.
        iou: (M, C), the IoU of candidate and box, above 0 where ``positive`` is True.
        num_anchors: R.

    Returns:
        (N, R) int64, the index of the box in its image, or :data:`BACKGROUND`. In a tie, the box
        with the lowest index is assigned.
    """
    place = flat_indices(boxes, candidates, num_anchors)
    index = boxes.number[:, None].expand_as(candidates)
    if needs_fixed_shapes(iou):
        place, index, iou = (x.flatten() for x in (place, index, iou.where(positive, -1)))
    else:
        place, index, iou = (x[positive] for x in (place, index, iou))
    size, none = boxes.num_images * num_anchors, torch.iinfo(index.dtype).max
    highest = iou.new_zeros(size).scatter_reduce(0, place, iou, "amax")
    index = index.where(iou == highest[place], none)
    first = index.new_full((size,), none).scatter_reduce(0, place, index, "amin")
    return first.where(first < none, BACKGROUND).view(boxes.num_images, num_anchors)


def flat_indices(boxes: AllBoxes, candidates: Tensor, num_anchors: int) -> Tensor:
    """Return the indices (M, C) of candidates in the flat list of N * R anchors of all images."""
    return boxes.image[:, None] * num_anchors + candidates


def centres_inside(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return whether the centres of anchors (M, C, 4) lie in their boxes (M, 4), more than
    :data:`MARGIN` from the edges: (M, C)."""
    centres = (anchors[..., :2] + anchors[..., 2:]) / 2
    lower, upper = centres - boxes[:, None, :2], boxes[:, None, 2:] - centres
    return torch.minimum(lower, upper).amin(dim=-1) > MARGIN
