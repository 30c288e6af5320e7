"""Describe why a checkpoint does not match a model, and which config key probably differs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from retina_plugin.checkpoint.match import CheckpointMatch

BOXES, SCORES = "head.bbox_pred.bias", "head.cls_score.bias"


def describe_mismatch(found: CheckpointMatch, *, only: str = "") -> str:
    """Return a message that lists the mismatched parameters and says what to change.

    Args:
        found: from :func:`retina_plugin.checkpoint.match.compare_parameters`.
        only: prefix of the names to list; "" for all.
    """
    lines = [f"{found.path} does not fit this model. It was read as: {found.title}."]
    missing, unexpected, shapes = (
        [n for n in names if n.startswith(only)]
        for names in (found.missing, found.unexpected, found.shape_mismatches)
    )
    for title, names in (("lacks", missing), ("has unexpected", unexpected)):
        if names:
            lines.append(
                f"  {title} ({len(names)}): "
                + ", ".join(names[:4])
                + (", ..." if len(names) > 4 else "")
            )
    if shapes:
        lines.append(f"  has other shapes ({len(shapes)}):")
        lines += [
            "    {}: {} in the file, {} in the model".format(name, *found.shape_mismatches[name])
            for name in shapes[:12]
        ]
        lines += ["    ..."] * (len(shapes) > 12)
    return "\n".join([*lines, "  " + _advice(found, [*missing, *unexpected, *shapes])])


def _advice(found: CheckpointMatch, mismatches: list[str]) -> str:
    """Say which config key most likely differs from the checkpoint's training."""
    if not found.matched and not found.shape_mismatches:
        return (
            "The model has none of the file's parameter names: "
            f"{', '.join([*found.unexpected, *found.unused][:3])}, ..."
        )
    if not any(name.startswith(found.backbone) for name in mismatches) and not found.detector:
        return "The file has only a backbone: training can start from it, but it cannot detect."
    branch = [name for name in mismatches if name.startswith("head.quality_pred.")]
    if branch:
        in_file = any(name in found.state for name in branch)
        return (
            f"{'The file' if in_file else 'Only the model'} has a quality branch in its head: set "
            f"MODEL.RETINA_PLUGIN.HEAD.QUALITY to {'centerness or iou' if in_file else 'none'}, as "
            "in the file's training."
        )
    numbers = _numbers_of_a_box(found)
    if numbers is not None:
        return (
            f"The file has {numbers[0]} numbers for the box of an anchor, the model has "
            f"{numbers[1]}: change MODEL.RETINA_PLUGIN.BOX_CODER.NAME (4 is DeltaCoder, a larger "
            "number DistributionCoder with BINS)."
        )
    if BOXES in found.shape_mismatches:
        theirs, ours = map(_anchors_per_cell, _sizes(found, BOXES), _sizes(found, SCORES))
        return (
            f"The file has {theirs} anchors per cell, the model has {ours}: change "
            "MODEL.ANCHOR_GENERATOR.SIZES or ASPECT_RATIOS."
        )
    of_scores = [name for name in mismatches if name.startswith("head.cls_score.")]
    if of_scores == mismatches and not found.shape_mismatches:
        return (
            "The file lacks parameters of the class head, so it was not saved completely. Use "
            "another checkpoint of this training."
        )
    if of_scores == mismatches:
        return (
            "Only the class head differs: this file was trained with another "
            f"MODEL.RETINANET.NUM_CLASSES{_class_counts(found)}. To start training with a newly "
            "initialised class head, set MODEL.RETINA_PLUGIN.FINE_TUNE True."
        )
    file_blocks = _count_blocks(found.state, found.backbone)
    model_blocks = _count_blocks(
        [*found.matched, *found.missing, *found.shape_mismatches], found.backbone
    )
    if file_blocks and model_blocks and file_blocks[: len(model_blocks)] != model_blocks:
        return (
            f"The file has a ResNet with {file_blocks} blocks per stage, the model has "
            f"{model_blocks}: change MODEL.RESNETS.DEPTH."
        )
    if all(".norm." in name for name in mismatches):
        return (
            "The normalisation differs: change MODEL.RESNETS.NORM, MODEL.FPN.NORM or "
            "MODEL.RETINANET.NORM."
        )
    p6 = found.shape_mismatches.get("backbone.top_block.p6.weight")
    if p6 is not None and p6[0][:1] == p6[1][:1]:  # only the input channels differ
        return "P6 is computed from another feature map: change MODEL.RETINA_PLUGIN.P6_FROM."
    if not found.detector:
        return (
            "The file has another backbone: change MODEL.BACKBONE.NAME, "
            "MODEL.RETINA_PLUGIN.TIMM.NAME or the keys of MODEL.RESNETS."
        )
    return (
        "Use the config of the checkpoint's training: the config.yaml in its folder, or the same "
        "--config-file."
    )


def _sizes(found: CheckpointMatch, name: str) -> tuple[int, int]:
    """Return how many elements a parameter has in the file and in the model; 0 where it is
    missing."""
    if name in found.shape_mismatches:
        theirs, ours = map(math.prod, found.shape_mismatches[name])
        return theirs, ours
    in_file = found.state[name].numel() if name in found.state else 0
    return in_file, in_file if name in found.matched else 0


def _anchors_per_cell(boxes: int, *scores: int) -> int:
    """Return the probable number A of anchors per cell, from the numbers of outputs of the head:
    a multiple of 4 A for boxes (of 4 A (BINS + 1) with a DistributionCoder), and of A for scores.
    """
    return max(math.gcd(boxes // 4, *scores), 1)


def _numbers_of_a_box(found: CheckpointMatch) -> tuple[int, int] | None:
    """Return how many numbers encode a box in the file and in the model; None if they are equal."""
    boxes, scores = _sizes(found, BOXES), _sizes(found, SCORES)
    if BOXES not in found.shape_mismatches or not all(scores):
        return None
    if SCORES in found.matched:  # equal numbers of anchors and classes
        anchors = (_anchors_per_cell(*boxes),) * 2
    else:
        anchors = _anchors_per_cell(boxes[0], scores[0]), _anchors_per_cell(boxes[1], scores[1])
    theirs, ours = boxes[0] // anchors[0], boxes[1] // anchors[1]
    return None if theirs == ours else (theirs, ours)


def _class_counts(found: CheckpointMatch) -> str:
    """Return for example ": 80 in the file, 3 in the model", computed from the sizes of the head's
    biases; "" if the file lacks one of them."""
    boxes, scores = _sizes(found, BOXES), _sizes(found, SCORES)
    if BOXES not in found.matched or SCORES not in found.shape_mismatches:
        return ""
    anchors = _anchors_per_cell(boxes[0], *scores)
    return f": {scores[0] // anchors} in the file, {scores[1] // anchors} in the model"


def _count_blocks(names: Iterable[str], backbone: str) -> list[int]:
    """Count the blocks of each stage of a ResNet; empty for other backbones."""
    counts: dict[str, set[str]] = {}
    for name in names:
        block = re.match(rf"{re.escape(backbone)}(res\d)\.(\d+)\.", name)
        if block:
            counts.setdefault(block[1], set()).add(block[2])
    return [len(counts[stage]) for stage in sorted(counts)]
