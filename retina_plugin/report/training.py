"""Draw training images with ground truth and detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from retina_plugin.data.training import to_rgb
from retina_plugin.modeling.retinanet import RetinaNet, evaluation_mode
from retina_plugin.report.grid import side_by_side

SHOWN = 20  # number of detections


@torch.no_grad()
def draw_training_image(
    model: RetinaNet,
    image: Tensor,
    target: Mapping[str, Tensor],
    *,
    class_names: Sequence[str] | None,
) -> np.ndarray:
    """Draw ground truth beside the 20 best detections of a transformed training image.

    Args:
        model: its mode is not changed.
        image: (3, H, W), 0..255 in the model's order of channels.
        target: "boxes" (M, 4) XYXY and "labels" (M,); M may be 0.
        class_names: K names; None shows class indices.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    # in training mode, batch normalization would update its statistics with this image
    with evaluation_mode(model):
        found = model.detect_images([image])[0]
    pixels = to_rgb(image.to(torch.uint8), model.input_format).permute(1, 2, 0).cpu().numpy()
    return side_by_side(
        np.ascontiguousarray(pixels),
        _to_entries(target, ("boxes", "labels")),
        _to_entries({name: x[:SHOWN] for name, x in found.items()}, ("boxes", "labels", "scores")),
        class_names=class_names or [str(number) for number in range(model.num_classes)],
        caption="training",
    )


def _to_entries(found: Mapping[str, Tensor], names: Sequence[str]) -> list[dict[str, object]]:
    """Convert tensors to the entries of :func:`retina_plugin.report.side_by_side`."""
    keys = [{"boxes": "bbox", "labels": "category_id", "scores": "score"}[name] for name in names]
    rows = zip(*(found[name].tolist() for name in names), strict=True)
    return [dict(zip(keys, row, strict=True)) for row in rows]
