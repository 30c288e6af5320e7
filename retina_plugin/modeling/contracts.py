"""Checks of the results that the parts of the detector pass to each other.

Shapes and types are checked on every device. Values are checked only on the CPU, because a check
would make the CPU wait for an accelerator. Traced and compiled code contains no checks.

Axes: N images, R anchors per image, K classes, D numbers that encode a box, M boxes of one image,
P positives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from retina_plugin.config.errors import ConfigError
from retina_plugin.layers.tracing import is_jit_tracing, needs_fixed_shapes
from retina_plugin.modeling.structures import (
    IGNORED,
    Anchors,
    Assignment,
    Detections,
    Predictions,
    Target,
)

# The kind of a part -> the config key that chooses the part.
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
    """A part violates its interface.

    The message has the class and the config key of the part, and the expected and the found result.
    """

    def __init__(self, kind: str, part: Any, expected: str, found: str) -> None:
        name = f"{type(part).__module__}.{type(part).__qualname__}"
        super().__init__(f"{KEYS[kind]}: {kind} {name}: expected {expected}, found {found}")


def require_attribute(kind: str, part: Any, name: str, *allowed: Any, meaning: str) -> None:
    """Check an attribute of a part that other parts read.

    Args:
        kind: a key of :data:`KEYS`.
        part: the part.
        name: the name of the attribute.
        allowed: the allowed values; if none are given, every integer above 0 is allowed.
        meaning: the meaning of the attribute, for the message.

    Raises:
        PartError: if the attribute is missing or has another value.
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
    """Check the result of a head.

    Args:
        head: the head that returned ``found``.
        found: the result.
        anchors: all R anchors of an image.
        num_images, num_classes: N and K.
        box_coder: the box coder, which defines D; None if it is unknown.

    Raises:
        PartError: if ``found`` is not :class:`Predictions` with the expected shapes.
    """
    if _is_traced():
        return
    if not isinstance(found, Predictions):
        raise PartError("head", head, "Predictions", _describe(found))
    batch, logits, deltas = (num_images, len(anchors.boxes)), found.logits, found.deltas
    dim = getattr(box_coder, "dim", deltas.shape[-1] if isinstance(deltas, Tensor) else 0)
    _require_tensor("head", head, "logits (N, R, K)", logits, (*batch, num_classes))
    _require_tensor("head", head, "deltas (N, R, D)", deltas, (*batch, dim))
    if found.quality is not None:
        _require_tensor("head", head, "quality (N, R)", found.quality, batch)


def require_assignment(
    assigner: Any, found: Any, anchors: Anchors, targets: Sequence[Target]
) -> None:
    """Check the result of an assigner.

    Raises:
        PartError: if ``found`` is not an :class:`Assignment` with the expected shapes, or contains
            an invalid index of a box.
    """
    if _is_traced():
        return
    if not isinstance(found, Assignment):
        raise PartError("assigner", assigner, "an Assignment", _describe(found))
    batch, matches = (len(targets), len(anchors.boxes)), found.matches
    _require_tensor("assigner", assigner, "matches (N, R)", matches, batch, dtype=torch.int64)
    for name in ("quality", "box_weights"):
        value = getattr(found, name)
        if value is not None:
            _require_tensor("assigner", assigner, f"{name} (N, R)", value, batch)
    if needs_fixed_shapes(matches) or not matches.numel():
        return
    for number, (image_matches, target) in enumerate(zip(matches, targets, strict=True)):
        low, high = image_matches.aminmax()
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
    """Check the result of a criterion.

    Raises:
        PartError: if ``found`` is not a dict of names and scalar tensors, or is empty.
    """
    if _is_traced():
        return
    if not (isinstance(found, Mapping) and found and all(isinstance(name, str) for name in found)):
        raise PartError("criterion", criterion, "a dict of names and losses", _describe(found))
    for name, value in found.items():
        _require_tensor("criterion", criterion, f"scalar {name}", value, ())


def require_values(kind: str, part: Any, what: str, found: Any, *shape: int) -> None:
    """Check a tensor that a loss or a box coder returned.

    Args:
        kind: a key of :data:`KEYS`.
        part: the part that returned ``found``.
        what: the name of the tensor and its axes, for the message.
        found: the tensor.
        shape: the expected shape; empty for a scalar.

    Raises:
        PartError: if ``found`` is not a floating point tensor of this shape.
    """
    if not _is_traced():
        _require_tensor(kind, part, what, found, shape)


def require_detections(
    suppressor: Any, found: Any, *, num_images: int, max_detections: int
) -> None:
    """Check the result of a suppressor.

    Raises:
        PartError: if ``found`` is not a list of N :data:`Detections`, or an image has more than
            ``max_detections`` boxes or different numbers of boxes, scores and labels.
    """
    if _is_traced():
        return
    part = "suppressor", suppressor
    if not (isinstance(found, Sequence) and len(found) == num_images):
        raise PartError(*part, f"a list of detections of {num_images} images", _describe(found))
    for detections in found:
        _require_detections(*part, detections, max_detections)


def _require_detections(kind: str, part: Any, found: Detections, most: int) -> None:
    if not (isinstance(found, Mapping) and {"boxes", "scores", "labels"} <= found.keys()):
        raise PartError(kind, part, "a dict with boxes, scores and labels", _describe(found))
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
    """Check type, shape and dtype; None as ``dtype`` allows every floating point dtype."""
    if not (
        isinstance(found, Tensor)
        and found.shape == shape
        and (found.is_floating_point() if dtype is None else found.dtype == dtype)
    ):
        wanted = "floating point" if dtype is None else str(dtype).removeprefix("torch.")
        raise PartError(kind, part, f"{what} = {tuple(shape)} {wanted}", _describe(found))


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or is_jit_tracing()


def _describe(value: Any) -> str:
    """Describe a value for a message: shape and dtype, names, length or type."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
