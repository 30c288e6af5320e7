"""The one place where non-maximum suppression comes from: torchvision, imported when it is first needed."""

from __future__ import annotations

import torch
from torch import Tensor


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression within each group.

    Args:
        boxes: (M, 4) XYXY pixels.
        scores: (M,).
        groups: (M,) int64; boxes of different groups never suppress each other.
        iou_threshold: a box goes when it overlaps a better one of its group by more than this.

    Returns:
        (k,) int64 indices of the boxes that stay, best first; empty when M is 0.

    Raises:
        ImportError: torchvision is missing or does not fit the installed torch.
    """
    try:
        from torchvision.ops import nms
    except (ImportError, RuntimeError) as error:  # a torchvision built for another torch raises RuntimeError
        raise ImportError(
            f"torchvision's NMS does not load ({error}). Install torch and torchvision of one release: "
            "pip install --upgrade torch torchvision"
        ) from error
    # Each group has a place of its own, out of reach of the others. In float64, because hundreds of groups, as many as there are
    # classes in all images, would leave float32 with tenths of a pixel. The origin is there even if no box is, and a tracer, which
    # records no branch, needs no other way for that.
    boxes = boxes.double()
    corners = torch.cat([boxes, boxes.new_zeros(1, 4)])
    reach = corners.max() - corners.min() + 1
    return nms(boxes + (groups * reach)[:, None], scores.double(), iou_threshold)
