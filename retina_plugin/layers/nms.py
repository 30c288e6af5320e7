"""Non-maximum suppression from torchvision, imported on first use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

OPERATOR = "torchvision::"  # names every operator that torchvision registers in torch


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
        ImportError: torchvision is missing, does not fit the installed torch, or has no NMS for the
            device of the boxes.
    """
    nms = _load()
    # Each group has a place of its own, out of reach of the others. In float64, because hundreds of
    # groups, as many as there are classes in all images, would leave float32 with tenths of a
    # pixel. The origin is there even if no box is, and a tracer, which records no branch, needs no
    # other way for that.
    boxes = boxes.double()
    corners = torch.cat([boxes, boxes.new_zeros(1, 4)])
    reach = corners.max() - corners.min() + 1
    try:
        return nms(boxes + (groups * reach)[:, None], scores.double(), iou_threshold)
    # a torchvision for CPUs beside a torch for GPUs, for instance
    except NotImplementedError as error:
        if OPERATOR not in str(error):
            raise
        cause = f"it has no NMS for {boxes.device.type}: {str(error).splitlines()[0]}"
        raise _unusable(cause) from error


def _load() -> Callable[..., Tensor]:
    """Import ``torchvision.ops.nms``.

    Only a failed import and a missing operator are torchvision's fault; any other RuntimeError
    passes with its own words.
    """
    try:
        from torchvision.ops import nms
    except ImportError as error:
        raise _unusable(str(error)) from error
    except RuntimeError as error:  # a torchvision that was built for another torch
        if OPERATOR not in str(error):
            raise
        raise _unusable(str(error)) from error
    return nms


def _unusable(cause: str) -> ImportError:
    return ImportError(
        f"torchvision's NMS cannot be used ({cause}). Install torch and torchvision of one "
        "release: "
        "pip install --upgrade torch torchvision"
    )
