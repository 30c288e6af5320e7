"""A run whose numbers became infinite or NaN ends with advice, before it writes or evaluates a model that is of no use."""

from __future__ import annotations

import torch

from retina_plugin.model import RetinaNet, evaluating


def divergence(what: str, *, iteration: int, lr: float, folder: str) -> FloatingPointError:
    """The error that ends such a run.

    Args:
        what: became what, for example "the loss became nan".
        iteration: the step.
        lr: its learning rate.
        folder: ``OUTPUT_DIR``.
    """
    return FloatingPointError(
        f"{what} at iteration {iteration}. Lower SOLVER.BASE_LR (it is {lr:g}), lengthen SOLVER.WARMUP_ITERS, or set "
        f"SOLVER.CLIP_GRADIENTS.ENABLED True. Start again with that: what lies in {folder} is whole, but a resumed run keeps the "
        "learning rate of its checkpoint."
    )


@torch.no_grad()
def is_finite(model: RetinaNet) -> bool:
    """Whether a model still answers with numbers.

    A step that goes wrong shows in the loss of the next one, and the last step has none. Parameters may be finite and yet so large
    that nothing comes out of them, so a small picture is sent through the network as at test time.
    """
    side = max(model.backbone.size_divisibility, 32)
    picture = torch.linspace(0, 255, len(model.pixel_mean) * side**2).view(-1, side, side)
    with evaluating(model):
        maps = model.backbone(model.preprocess([picture])[0])
        logits, deltas = model.head([maps[name] for name in model.in_features])
    return all(bool(x.isfinite().all()) for x in (*logits, *deltas))
