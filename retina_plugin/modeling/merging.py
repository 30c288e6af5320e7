"""Merge the detections of several views of an image.

Axes: M detections of one image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from retina_plugin.layers.box_fusion import weighted_box_fusion
from retina_plugin.layers.greedy_merge import greedy_merge
from retina_plugin.modeling.structures import Detections
from retina_plugin.modeling.suppressors import Suppressor


def merge_greedily(
    parts: Sequence[Detections],
    *,
    threshold: float,
    max_detections: int,
    groups_of: Callable[[Tensor], Tensor] = torch.clone,
) -> Detections:
    """Merge the detections of slices; see :func:`retina_plugin.layers.greedy_merge.greedy_merge`.

    Args:
        parts: the detections of each slice.
        threshold, max_detections: see there.
        groups_of: returns the group (M,) of each label (M,); by default each class is a group.
    """
    found = concatenate(parts)
    rows, boxes = greedy_merge(
        found["boxes"],
        found["scores"],
        groups_of(found["labels"]),
        threshold=threshold,
        max_kept=max_detections,
    )
    return {"boxes": boxes, "scores": found["scores"][rows], "labels": found["labels"][rows]}


def fuse(parts: Sequence[Detections], *, threshold: float, max_detections: int) -> Detections:
    """Average the detections of all versions of an image within each class; see
    :func:`retina_plugin.layers.box_fusion.weighted_box_fusion`."""
    together = concatenate(parts)
    boxes, scores, labels = weighted_box_fusion(
        together["boxes"],
        together["scores"],
        together["labels"],
        num_views=len(parts),
        iou_threshold=threshold,
    )
    found = {"boxes": boxes, "scores": scores, "labels": labels}
    return {name: x[:max_detections] for name, x in found.items()}


def fuse_and_suppress(
    parts: Sequence[Detections], *, threshold: float, suppressor: Suppressor, max_detections: int
) -> Detections:
    """Apply :func:`fuse`, and the suppressor to the result, for one that acts across classes."""
    everything = sum(len(part["scores"]) for part in parts)
    fused = fuse(parts, threshold=threshold, max_detections=everything)
    return suppressor([fused], max_detections=max_detections)[0]


def suppress_together(
    parts: Sequence[Detections], *, suppressor: Suppressor, max_detections: int
) -> Detections:
    """Apply the suppressor to the detections of all views."""
    return suppressor([concatenate(parts)], max_detections=max_detections)[0]


def concatenate(parts: Sequence[Detections]) -> Detections:
    """Return the detections of all views, highest score first."""
    together = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    order = together["scores"].sort(descending=True, stable=True).indices
    return {name: x[order] for name, x in together.items()}
