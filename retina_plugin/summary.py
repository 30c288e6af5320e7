"""What a run says of itself at its start: the model in numbers, and what a step and its learning rate are."""

from __future__ import annotations

from typing import Any

from retina_plugin.model import RetinaNet


def model_summary(model: RetinaNet) -> str:
    """One line on the size of the head's output, which is asked about so often, and of the whole."""
    classes, anchors = model.num_classes, model.anchor_generator.num_anchors
    parameters = [(p.numel(), p.requires_grad) for p in model.parameters()]
    total, learning = sum(n for n, _ in parameters), sum(n for n, learns in parameters if learns)
    return (
        f"model: K = {classes} classes, A = {anchors} anchors per cell of {', '.join(model.in_features)}; the head gives K x A = "
        f"{classes * anchors} class logits and 4 x A = {4 * anchors} box deltas per cell; {total / 1e6:.2f} M parameters, "
        f"{learning / 1e6:.2f} M of them learn"
    )


def step_summary(cfg: Any, *, processes: int) -> str:
    """One line on what decides the learning rate that is right: it grows with the number of images of a step."""
    solver = cfg.SOLVER
    return (
        f"training: {solver.MAX_ITER} steps of {solver.IMS_PER_BATCH} images ({processes} x {solver.IMS_PER_BATCH // processes}); "
        f"{cfg.MODEL.RETINA_PLUGIN.OPTIMIZER}, learning rate {solver.BASE_LR:g} (for another SOLVER.IMS_PER_BATCH: "
        f"{solver.BASE_LR / solver.IMS_PER_BATCH:g} per image), {solver.LR_SCHEDULER_NAME} after {solver.WARMUP_ITERS} steps of warm-up"
    )
