"""Non-maximum suppression from torchvision, imported on first use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

OPERATOR = "torchvision::"  # prefix of every operator that torchvision registers in torch


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Apply greedy non-maximum suppression within each group.

    Args:
        boxes: (M, 4) XYXY pixels.
        scores: (M,).
        groups: (M,) int64; boxes of different groups never suppress each other.
        iou_threshold: a box is suppressed if its IoU with a higher-scoring box of its group is
            above this value.

    Returns:
        (k,) int64 indices of the boxes that are kept, highest score first; empty when M is 0.

    Raises:
        ImportError: if torchvision is missing, does not match the installed torch, or has no NMS
            for the device of the boxes.
    """
    nms = _import_nms()
    # Shift each group so far that it cannot overlap another group. A group is a class in an image,
    # so there are often hundreds. At such offsets, float32 would resolve only tenths of a pixel, so
    # use float64. The added row of zeros gives max() and min() a value if there are no boxes;
    # torch.jit.trace could not record a branch for this case.
    boxes = boxes.double()
    corners = torch.cat([boxes, boxes.new_zeros(1, 4)])
    offset = corners.max() - corners.min() + 1
    try:
        return nms(boxes + (groups * offset)[:, None], scores.double(), iou_threshold)
    # raised, for example, if torchvision was built for CPUs and torch for GPUs
    except NotImplementedError as error:
        if OPERATOR not in str(error):
            raise
        cause = f"it has no NMS for {boxes.device.type}: {str(error).splitlines()[0]}"
        raise _unusable(cause) from error


def _import_nms() -> Callable[..., Tensor]:
    """Import ``torchvision.ops.nms``.

    Raises:
        ImportError: if torchvision is missing or does not match the installed torch. Any other
            RuntimeError of the import is passed on unchanged.
    """
    try:
        from torchvision.ops import nms
    except ImportError as error:
        raise _unusable(str(error)) from error
    except RuntimeError as error:  # torchvision was built for another version of torch
        if OPERATOR not in str(error):
            raise
        raise _unusable(str(error)) from error
    function: Callable[..., Tensor] = nms
    return function


def _unusable(cause: str) -> ImportError:
    return ImportError(
        f"torchvision's NMS cannot be used ({cause}). Install torch and torchvision of the "
        "same release: pip install --upgrade torch torchvision"
    )
