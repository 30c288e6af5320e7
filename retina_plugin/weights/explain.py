"""Words for a checkpoint that does not fit: what differs, shape by shape, and the config key behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from retina_plugin.weights.fit import Fit


def describe(found: Fit, *, only: str = "") -> str:
    """What does not fit, counted and shown, shapes one by one, and what that hints at; of parameters below ``only``."""
    lines = [f"{found.path} does not fit this model. It was read as: {found.title}."]
    missing, surplus = ([n for n in names if n.startswith(only)] for names in (found.missing, found.surplus))
    shapes = {name: pair for name, pair in found.shapes.items() if name.startswith(only)}
    for title, names in (("lacks", missing), ("has more", surplus)):
        if names:
            lines.append(f"  {title} ({len(names)}): " + ", ".join(names[:4]) + (", ..." if len(names) > 4 else ""))
    if shapes:
        lines.append(f"  has other shapes ({len(shapes)}):")
        lines += [f"    {name}: {a} in the file, {b} in the model" for name, (a, b) in list(shapes.items())[:12]]
        lines += ["    ..."] * (len(shapes) > 12)
    return "\n".join([*lines, "  " + advice(found)])


def advice(found: Fit) -> str:
    """The config key that most likely differs."""
    misfits = found.misfits
    if not found.taken and not found.shapes:
        return f"Not one name is known; the file has {', '.join([*found.surplus, *found.unused][:3])}, ..."
    if not found.detector and not any(name.startswith(found.backbone) for name in misfits):
        return "It holds a backbone alone, enough to start training from, not to detect with."
    if "head.bbox_pred.bias" in found.shapes:
        theirs, ours = (shape[0] // 4 for shape in found.shapes["head.bbox_pred.bias"])
        return f"It has {theirs} anchors per cell, the model {ours}: MODEL.ANCHOR_GENERATOR.SIZES and ASPECT_RATIOS."
    if misfits and all(name.startswith("head.cls_score.") for name in misfits) and found.shapes:
        return "Only the class head differs: MODEL.RETINANET.NUM_CLASSES is not that of the training of this file" + (
            _classes(found) + ". To start training with fresh class scores set MODEL.RETINA_PLUGIN.FINE_TUNE True."
        )
    blocks = (
        _blocks(found.state, found.backbone),
        _blocks((*found.taken, *found.missing, *found.shapes), found.backbone),
    )
    if blocks[0] and blocks[1] and blocks[0][: len(blocks[1])] != blocks[1]:
        return f"It is a ResNet of {blocks[0]} blocks, the model has {blocks[1]}: MODEL.RESNETS.DEPTH."
    if misfits and all(".norm." in name for name in misfits) and found.backbone:
        return "The normalisation differs: MODEL.RESNETS.NORM, MODEL.FPN.NORM or MODEL.RETINANET.NORM."
    if any(name.startswith("backbone.top_block.p6.") for name in found.shapes):
        return "P6 has another source: MODEL.RETINA_PLUGIN.P6_FROM."
    return "Use the config that it was trained with: the config.yaml beside it, or the same --config-file."


def _classes(found: Fit) -> str:
    """ ": 80 there, 3 here", from the biases of the two kinds of outputs."""
    anchors = found.state.get("head.bbox_pred.bias")
    if anchors is None or "head.cls_score.bias" not in found.shapes:
        return ""
    theirs, ours = (shape[0] // (len(anchors) // 4) for shape in found.shapes["head.cls_score.bias"])
    return f": {theirs} there, {ours} here"


def _blocks(names: Iterable[str], backbone: str) -> list[int]:
    """Number of blocks of each stage of a ResNet; empty for others."""
    counts: dict[str, set[str]] = {}
    for name in names:
        block = re.match(rf"{re.escape(backbone)}(res\d)\.(\d+)\.", name)
        if block:
            counts.setdefault(block[1], set()).add(block[2])
    return [len(counts[stage]) for stage in sorted(counts)]
