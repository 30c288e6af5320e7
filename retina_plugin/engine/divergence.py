"""End a run whose loss or predictions became infinite or NaN, with advice on the settings.

The run ends before it saves or evaluates the useless model.
"""

from __future__ import annotations

from typing import Any

import torch

from retina_plugin.modeling.retinanet import RetinaNet, evaluation_mode

DEFAULT_WARMUP = 1000  # steps; Detectron2's default. The advice never suggests a longer warm-up.


def divergence_error(what: str, *, iteration: int, lr: float, cfg: Any) -> FloatingPointError:
    """Return the error that ends a diverged run.

    Args:
        what: the start of the message, for example "The loss became nan".
        iteration: the step at which it was noticed.
        lr: the learning rate of that step.
        cfg: the config of the run; the advice does not suggest settings that it already has.
    """
    return FloatingPointError(
        f"{what} at iteration {iteration}, where the learning rate was {lr:g}. {_advice(cfg)} The "
        f"files in {cfg.OUTPUT_DIR} are complete: with the new setting, --resume continues from "
        "the last checkpoint, and --overwrite starts again."
    )


def _advice(cfg: Any) -> str:
    """Return a sentence that says which settings to change.

    It always names the learning rate, and other settings only if the run does not have them yet.
    """
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
    """Return whether the model's predictions for a small test image are finite.

    A diverged step shows in the loss of the next step, so after the last step the model itself must
    be checked. Checking the parameters is not enough: finite ones can be so large that the
    predictions overflow.
    """
    side = max(model.preprocessor.size_divisibility, 32)
    image = torch.linspace(0, 255, len(model.pixel_mean) * side**2).view(-1, side, side)
    with evaluation_mode(model):
        predictions, _ = model.predict_dense(model.preprocess([image])[0])
    return all(bool(x.isfinite().all()) for x in predictions if x is not None)
