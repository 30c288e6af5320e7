"""A run whose numbers became infinite or NaN ends with advice, before it writes or evaluates a
model that is of no use."""

from __future__ import annotations

from typing import Any

import torch

from retina_plugin.modeling.retinanet import RetinaNet, evaluation_mode

DEFAULT_WARMUP = 1000  # steps, Detectron2's default; a longer one hardly helps


def divergence_error(what: str, *, iteration: int, lr: float, cfg: Any) -> FloatingPointError:
    """The error that ends such a run.

    Args:
        what: became what, for example "The loss became nan".
        iteration: the step.
        lr: its learning rate.
        cfg: the config of the run; the advice does not recommend what it already has.
    """
    return FloatingPointError(
        f"{what} at iteration {iteration}, where the learning rate was {lr:g}. {_advice(cfg)} What "
        f"lies in {cfg.OUTPUT_DIR} is "
        "whole: with that, --resume continues from its last checkpoint, and --overwrite starts "
        "again."
    )


def _advice(cfg: Any) -> str:
    """What to change, as one sentence: the learning rate always, other settings only where they
    leave room."""
    solver, clip = cfg.SOLVER, cfg.SOLVER.CLIP_GRADIENTS
    changes = [f"lower SOLVER.BASE_LR (it is {solver.BASE_LR:g})"]
    if solver.WARMUP_FACTOR >= 1 and solver.WARMUP_ITERS > 0:
        changes.append(
            f"set SOLVER.WARMUP_FACTOR to 0.001 (it is {solver.WARMUP_FACTOR:g}: no warm-up)"
        )
    elif min(DEFAULT_WARMUP, solver.MAX_ITER // 2) > solver.WARMUP_ITERS:
        changes.append(f"lengthen SOLVER.WARMUP_ITERS (it is {solver.WARMUP_ITERS})")
    if clip.ENABLED:
        changes.append(f"lower SOLVER.CLIP_GRADIENTS.CLIP_VALUE (it is {clip.CLIP_VALUE:g})")
    else:
        changes.append("set SOLVER.CLIP_GRADIENTS.ENABLED to True")
    if solver.AMP.ENABLED:
        changes.append("set SOLVER.AMP.ENABLED to False")
    text = ", ".join(changes[:-1]) + (" or " if len(changes) > 1 else "") + changes[-1]
    return text[0].upper() + text[1:] + "."


@torch.no_grad()
def has_finite_predictions(model: RetinaNet) -> bool:
    """Whether a model still answers with numbers.

    A step that goes wrong shows in the loss of the next one, and the last step has none. Parameters
    may be finite and yet so large that nothing comes out of them, so a small picture is sent
    through the network as at test time.
    """
    side = max(model.backbone.size_divisibility, 32)
    picture = torch.linspace(0, 255, len(model.pixel_mean) * side**2).view(-1, side, side)
    with evaluation_mode(model):
        predictions, _ = model.predict_anchors(model.preprocess([picture])[0])
    return all(bool(x.isfinite().all()) for x in predictions if x is not None)
