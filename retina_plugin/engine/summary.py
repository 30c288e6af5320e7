"""Texts that a run prints: model size, training settings, evaluation results, class weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retina_plugin.modeling.retinanet import RetinaNet

LOG_PERIOD = 20  # steps between two lines of metrics.json, as in Detectron2


def model_summary(model: RetinaNet) -> str:
    """Return one line with the size of the head's output and the number of parameters."""
    classes, anchors = model.num_classes, model.anchor_generator.num_anchors
    parameters = [(p.numel(), p.requires_grad) for p in model.parameters()]
    total, trainable = sum(n for n, _ in parameters), sum(n for n, grad in parameters if grad)
    return (
        f"model: K = {classes} classes, A = {anchors} anchors per cell of "
        f"{', '.join(model.in_features)}; the head gives K x A = "
        f"{classes * anchors} class logits and 4 x A = {4 * anchors} box deltas per cell; "
        f"{total / 1e6:.2f} M parameters, {trainable / 1e6:.2f} M of them trainable"
    )


def step_summary(cfg: Any, *, processes: int) -> str:
    """Return one line with batch size, optimizer and learning rate.

    It has the learning rate per image too, because the best rate grows with the batch size.

    Args:
        cfg: the config of the run.
        processes: the number of processes that share a batch.
    """
    solver, plugin = cfg.SOLVER, cfg.MODEL.RETINA_PLUGIN.SOLVER
    length = f"{plugin.MINUTES:g} minutes in all, first estimate " if plugin.MINUTES else ""
    factors = (
        ""
        if plugin.BACKBONE_LR_FACTOR == plugin.LAYER_DECAY == 1
        else f", x {plugin.BACKBONE_LR_FACTOR:g} for the last stage of the backbone and x "
        f"{plugin.LAYER_DECAY:g} for each stage before it"
    )
    return (
        f"training: {length}{solver.MAX_ITER} steps of {solver.IMS_PER_BATCH} images "
        f"({processes} x {solver.IMS_PER_BATCH // processes}); "
        f"{cfg.MODEL.RETINA_PLUGIN.OPTIMIZER}, learning rate {solver.BASE_LR:g} "
        f"(for another SOLVER.IMS_PER_BATCH: {solver.BASE_LR / solver.IMS_PER_BATCH:g} per image)"
        f"{factors}, {solver.LR_SCHEDULER_NAME} after {solver.WARMUP_ITERS} steps of warm-up"
    )


def print_evaluation(results: Mapping[str, Any], *, step: int, steps: int) -> None:
    """Print :func:`evaluation_summary`, except after the last step.

    The evaluation after the last step is printed as a table at the end of the run. Nothing is
    printed without ground truth.
    """
    line = evaluation_summary(results, step=step, steps=steps)
    if line and step < steps:
        print(line, flush=True)


def evaluation_summary(results: Mapping[str, Any], *, step: int, steps: int) -> str:
    """Return a line with AP, AP50, AP75 and the loss for each set of an evaluation during training.

    Args:
        results: ``{"bbox": {"AP": 45.2, ...}}`` in percent, or a dict from the names of several
            test sets to such dicts. A set without ground truth has no "bbox" and gets no line.
        step: the number of completed steps.
        steps: ``SOLVER.MAX_ITER``.
    """
    of_sets = {"": results} if "bbox" in results else results
    return "\n".join(
        f"evaluation after step {step} of {steps}: {f'{name} ' if name else ''}"
        + ", ".join(f"{key} {found['bbox'][key]:.1f}" for key in ("AP", "AP50", "AP75"))
        + (f", loss {found['validation']['total_loss']:.3f}" if "validation" in found else "")
        for name, found in of_sets.items()
        if "bbox" in found
    )


def flatten_results(results: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten nested dicts: ``{"bbox": {"AP": 45.2}}`` becomes ``{"bbox/AP": 45.2}``."""
    pairs: dict[str, float] = {}
    for name, value in results.items():
        pairs |= (
            flatten_results(value, f"{prefix}{name}/")
            if isinstance(value, Mapping)
            else {prefix + name: value}
        )
    return pairs


def alpha_summary(
    class_names: Sequence[str], counts: Sequence[int], alpha: Sequence[float], *, most: int = 40
) -> str:
    """Return a table of the classes, rarest first: boxes, share of all boxes, weight of positives.

    Args:
        class_names: K names.
        counts: the number of boxes of each class.
        alpha: the weight of the positives of each class.
        most: the largest number of rows; of more classes, the middle ones are not shown.
    """
    title = "weights of positives, from the boxes of the training set (FOCAL_LOSS_ALPHA auto):"
    return _class_table(title, "alpha", class_names, counts, alpha, most)


def prior_summary(
    class_names: Sequence[str], counts: Sequence[int], prior: Sequence[float], *, most: int = 40
) -> str:
    """Return the same table with the score that anchors have for each class before training.

    Args:
        class_names, counts, most: see :func:`alpha_summary`.
        prior: the score of each class.
    """
    title = "scores before training, from the boxes of the training set (PRIOR_PROB auto):"
    return _class_table(title, "prior", class_names, counts, prior, most)


def _class_table(
    title: str,
    column: str,
    class_names: Sequence[str],
    counts: Sequence[int],
    values: Sequence[float],
    most: int,
) -> str:
    total, width = max(sum(counts), 1), max(map(len, ("class", *class_names)))
    rows = sorted(zip(counts, class_names, values, strict=True), key=lambda row: row[0])
    lines = [
        f"  {name:<{width}} {count:>9} {count / total:>8.2%} {value:>7.4f}"
        for count, name, value in rows
    ]
    if len(lines) > most:
        lines[most // 2 : -(most // 2)] = [f"  ... {len(lines) - most} classes between ..."]
    return "\n".join([title, f"  {'class':<{width}} {'boxes':>9} {'share':>8} {column:>7}", *lines])
