"""What parts of the detector give each other, checked where it passes from one to the next.

Shapes and types are always checked, values on the CPU in eager mode alone: elsewhere they would
have to be waited for. ``torch.compile``, ``torch.export`` and ``torch.jit.trace`` record no check.

Axes: N images, R anchors per image, K classes, D numbers that code a box, M boxes of one image,
P positives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from retina_plugin.config.errors import ConfigError
from retina_plugin.layers.tracing import needs_fixed_shapes
from retina_plugin.modeling.structures import (
    IGNORED,
    Anchors,
    Assignment,
    Detections,
    Predictions,
    Target,
)

# What a part is -> the key that chooses it.
KEYS = {
    "head": "MODEL.RETINA_PLUGIN.HEAD.NAME",
    "assigner": "MODEL.RETINA_PLUGIN.ASSIGNER.NAME",
    "box coder": "MODEL.RETINA_PLUGIN.BOX_CODER.NAME",
    "class loss": "MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME",
    "box loss": "MODEL.RETINANET.BBOX_REG_LOSS_TYPE",
    "criterion": "MODEL.RETINA_PLUGIN.CRITERION.NAME",
    "suppressor": "MODEL.RETINA_PLUGIN.SUPPRESSOR.NAME",
}


class PartError(ConfigError):
    """A part gave what its interface does not allow; the message names its class, its key, what was
    expected and what was found."""

    def __init__(self, kind: str, part: Any, expected: str, found: str) -> None:
        name = f"{type(part).__module__}.{type(part).__qualname__}"
        super().__init__(f"{KEYS[kind]}: {kind} {name}: expected {expected}, found {found}")


def require_attribute(kind: str, part: Any, name: str, *allowed: Any, meaning: str) -> None:
    """Make sure that a part says of itself what others read.

    Args:
        kind: of :data:`KEYS`.
        part: the part.
        name: of its attribute.
        allowed: its values; none for any integer above 0.
        meaning: what the attribute holds, for the message.
    """
    value = getattr(part, name, None)
    fits = value in allowed if allowed else isinstance(value, int) and value > 0
    if not fits:
        wanted = " or ".join(map(repr, allowed)) if allowed else "a whole number above 0"
        found = repr(value) if hasattr(part, name) else "none"
        raise PartError(kind, part, f"the attribute {name!r}, {meaning}, to be {wanted}", found)


def require_predictions(
    head: Any, found: Any, anchors: Anchors, *, num_images: int, num_classes: int, box_coder: Any
) -> None:
    """
    Args:
        head: that gave ``found``.
        anchors: of one image, all R.
        num_images, num_classes: N and K.
        box_coder: which says D; None where it is not known.

    Raises:
        PartError: ``found`` is something else than :class:`Predictions` of these sizes.
    """
    if _is_traced():
        return
    if not isinstance(found, Predictions):
        raise PartError("head", head, "Predictions", _kind(found))
    each, logits, deltas = (num_images, len(anchors.boxes)), found.logits, found.deltas
    dim = getattr(box_coder, "dim", deltas.shape[-1] if isinstance(deltas, Tensor) else 0)
    _require_tensor("head", head, "logits (N, R, K)", logits, (*each, num_classes))
    _require_tensor("head", head, "deltas (N, R, D)", deltas, (*each, dim))
    if found.quality is not None:
        _require_tensor("head", head, "quality (N, R)", found.quality, each)


def require_assignment(
    assigner: Any, found: Any, anchors: Anchors, targets: Sequence[Target]
) -> None:
    """
    Raises:
        PartError: ``found`` is no :class:`Assignment` of these anchors and targets, or one of its
            matches is no box of its image, nor background or ignored.
    """
    if _is_traced():
        return
    if not isinstance(found, Assignment):
        raise PartError("assigner", assigner, "an Assignment", _kind(found))
    each, matches = (len(targets), len(anchors.boxes)), found.matches
    _require_tensor("assigner", assigner, "matches (N, R)", matches, each, dtype=torch.int64)
    for name in ("quality", "box_weights"):
        value = getattr(found, name)
        if value is not None:
            _require_tensor("assigner", assigner, f"{name} (N, R)", value, each)
    if needs_fixed_shapes(matches) or not matches.numel():
        return
    for number, (of_image, target) in enumerate(zip(matches, targets, strict=True)):
        low, high = of_image.aminmax()
        boxes = len(target["boxes"])
        if low < IGNORED or high >= boxes:
            raise PartError(
                "assigner",
                assigner,
                f"matches of image {number} of the batch from {IGNORED} to {boxes - 1}, as it has "
                f"{boxes} boxes",
                f"{low.item()} to {high.item()}",
            )


def require_losses(criterion: Any, found: Any) -> None:
    """
    Raises:
        PartError: ``found`` is no dict of names and scalars.
    """
    if _is_traced():
        return
    if not (isinstance(found, Mapping) and found and all(isinstance(name, str) for name in found)):
        raise PartError("criterion", criterion, "a dict of names and losses", _kind(found))
    for name, value in found.items():
        _require_tensor("criterion", criterion, f"scalar {name}", value, ())


def require_values(kind: str, part: Any, what: str, found: Any, *shape: int) -> None:
    """
    Args:
        kind, part: that gave ``found``; see :data:`KEYS`.
        what: was asked for, with its axes.
        shape: that it must have; none for a scalar.

    Raises:
        PartError: it is no floating point tensor of this shape.
    """
    if not _is_traced():
        _require_tensor(kind, part, what, found, shape)


def require_detections(
    suppressor: Any, found: Any, *, num_images: int, max_detections: int
) -> None:
    """
    Raises:
        PartError: ``found`` is no list of N :data:`Detections` with as many boxes, scores and
            labels, ``max_detections`` at most.
    """
    if _is_traced():
        return
    part = "suppressor", suppressor
    if not (isinstance(found, Sequence) and len(found) == num_images):
        raise PartError(*part, f"a list of detections of {num_images} images", _kind(found))
    for of_image in found:
        _require_detections(*part, of_image, max_detections)


def _require_detections(kind: str, part: Any, found: Detections, most: int) -> None:
    if not (isinstance(found, Mapping) and {"boxes", "scores", "labels"} <= found.keys()):
        raise PartError(kind, part, "a dict with boxes, scores and labels", _kind(found))
    number = len(found["scores"])
    _require_tensor(kind, part, "scores (M,)", found["scores"], (number,))
    _require_tensor(kind, part, "boxes (M, 4)", found["boxes"], (number, 4))
    _require_tensor(kind, part, "labels (M,)", found["labels"], (number,), dtype=torch.int64)
    if number > most:
        raise PartError(kind, part, f"{most} detections of an image at most", str(number))


def _require_tensor(
    kind: str,
    part: Any,
    what: str,
    found: Any,
    shape: tuple[int, ...],
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Of this dtype; None for any floating point."""
    if not (
        isinstance(found, Tensor)
        and found.shape == shape
        and (found.is_floating_point() if dtype is None else found.dtype == dtype)
    ):
        wanted = "floating point" if dtype is None else str(dtype).removeprefix("torch.")
        raise PartError(kind, part, f"{what} = {tuple(shape)} {wanted}", _kind(found))


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
