"""Words for a checkpoint that does not fit: what differs, shape by shape, and the config key behind
it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from retina_plugin.checkpoint.match import CheckpointMatch


def describe_mismatch(found: CheckpointMatch, *, only: str = "") -> str:
    """What does not fit, counted and shown, shapes one by one, and what that hints at; of
    parameters below ``only``."""
    lines = [f"{found.path} does not fit this model. It was read as: {found.title}."]
    missing, unexpected, shapes = (
        [n for n in names if n.startswith(only)]
        for names in (found.missing, found.unexpected, found.shape_mismatches)
    )
    for title, names in (("lacks", missing), ("has more", unexpected)):
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
    """The config key that most likely differs."""
    if not found.matched and not found.shape_mismatches:
        return (
            "Not one name is known; the file has "
            f"{', '.join([*found.unexpected, *found.unused][:3])}, ..."
        )
    if not any(name.startswith(found.backbone) for name in mismatches) and not found.detector:
        return "It holds a backbone alone, enough to start training from, not to detect with."
    if "head.bbox_pred.bias" in found.shape_mismatches:
        theirs, ours = (
            math.prod(shape) // 4 for shape in found.shape_mismatches["head.bbox_pred.bias"]
        )
        return (
            f"It has {theirs} anchors per cell, the model {ours}: MODEL.ANCHOR_GENERATOR.SIZES and "
            "ASPECT_RATIOS."
        )
    of_scores = [name for name in mismatches if name.startswith("head.cls_score.")]
    if of_scores == mismatches and not found.shape_mismatches:
        return (
            "It lacks a part of the class head that its other parameters go with, whatever the "
            "number of classes: it was not saved whole. Take another checkpoint of this training."
        )
    if of_scores == mismatches:
        return (
            "Only the class head differs: MODEL.RETINANET.NUM_CLASSES is not that of the training "
            f"of this file{_classes(found)}. "
            "To start training with fresh class scores set MODEL.RETINA_PLUGIN.FINE_TUNE True."
        )
    theirs, ours = (
        _blocks(names, found.backbone)
        for names in (found.state, [*found.matched, *found.missing, *found.shape_mismatches])
    )
    if theirs and ours and theirs[: len(ours)] != ours:
        return f"It is a ResNet of {theirs} blocks, the model has {ours}: MODEL.RESNETS.DEPTH."
    if all(".norm." in name for name in mismatches):
        return (
            "The normalisation differs: MODEL.RESNETS.NORM, MODEL.FPN.NORM or MODEL.RETINANET.NORM."
        )
    p6 = found.shape_mismatches.get("backbone.top_block.p6.weight")
    if p6 is not None and p6[0][:1] == p6[1][:1]:  # so that only its input differs
        return "P6 has another source: MODEL.RETINA_PLUGIN.P6_FROM."
    if not found.detector:
        return (
            "It is another backbone: MODEL.BACKBONE.NAME, MODEL.RETINA_PLUGIN.TIMM.NAME or the "
            "keys of MODEL.RESNETS."
        )
    return (
        "Use the config that it was trained with: the config.yaml beside it, or the same "
        "--config-file."
    )


def _classes(found: CheckpointMatch) -> str:
    """ ": 80 there, 3 here", from the biases of the two kinds of outputs."""
    anchors = found.state.get("head.bbox_pred.bias")
    if anchors is None or "head.cls_score.bias" not in found.shape_mismatches:
        return ""
    theirs, ours = (
        math.prod(shape) // (len(anchors) // 4)
        for shape in found.shape_mismatches["head.cls_score.bias"]
    )
    return f": {theirs} there, {ours} here"


def _blocks(names: Iterable[str], backbone: str) -> list[int]:
    """Number of blocks of each stage of a ResNet; empty for others."""
    counts: dict[str, set[str]] = {}
    for name in names:
        block = re.match(rf"{re.escape(backbone)}(res\d)\.(\d+)\.", name)
        if block:
            counts.setdefault(block[1], set()).add(block[2])
    return [len(counts[stage]) for stage in sorted(counts)]
