"""Checks of a config before anything is read or written: the rule of every key, and keys with each
other."""

from __future__ import annotations

import logging
from typing import Any

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.imports import rows_of
from retina_plugin.config.keys import DETECTRON2_KEYS, PIXELS, PLUGIN_KEYS, SHARE, SIZES, STEPS
from retina_plugin.config.rules import Rule, above, at_most, between, list_of, whole
from retina_plugin.config.tree import leaves

logger = logging.getLogger("retina_plugin")

# Keys that only Detectron2 has and that its training with this model reads.
DETECTRON2_RULES: dict[str, Rule] = {
    "DATALOADER.REPEAT_THRESHOLD": SHARE,
    "SOLVER.NUM_DECAYS": between(1, 1000),
    "SOLVER.REFERENCE_WORLD_SIZE": between(0, 100_000),
    "TEST.PRECISE_BN.NUM_ITER": STEPS,
}

# INPUT.CROP.TYPE -> what INPUT.CROP.SIZE must be.
CROP_SIZES: dict[str, Rule] = {
    **dict.fromkeys(
        ("relative", "relative_range"),
        list_of(between(0.01, 1), what="shares of an image", counts=(2,)),
    ),
    "absolute": list_of(PIXELS, what="numbers of pixels", counts=(2,)),
    "absolute_range": list_of(PIXELS, what="numbers of pixels", counts=(2,), rising=True),
}


def check_bounds(cfg: Any) -> None:
    """Compare a config with the rules of its keys, and keys with each other.

    Raises:
        ConfigError: a value out of its bounds; the message names the key, what is expected and what
            was found.
    """
    values = dict(leaves(cfg))
    for key, row in {**DETECTRON2_KEYS, **PLUGIN_KEYS, **rows_of(cfg)}.items():
        if row.rule is not None:
            _check(key, values[key], row.rule)
    for key, rule in DETECTRON2_RULES.items():
        if key in values:
            _check(key, values[key], rule)
    _check_loss(cfg)
    _check_sizes(cfg.INPUT)
    _check_solver(cfg.SOLVER, cfg.MODEL.RETINA_PLUGIN.OPTIMIZER)


def _check_loss(cfg: Any) -> None:
    if cfg.MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME == "focal_star":
        above_0 = Rule(
            above(0).accepts, "above 0, as it divides by it; without focusing, take balanced_ce"
        )
        _check(
            "MODEL.RETINANET.FOCAL_LOSS_GAMMA for CLASS_LOSS focal_star",
            cfg.MODEL.RETINANET.FOCAL_LOSS_GAMMA,
            above_0,
        )


def _check_sizes(inputs: Any) -> None:
    if inputs.MIN_SIZE_TRAIN_SAMPLING == "range":
        pair = list_of(whole(SIZES), counts=(2,), rising=True)
        hint = Rule(pair.accepts, "two rising numbers of pixels; or set the sampling to choice")
        _check(
            "INPUT.MIN_SIZE_TRAIN for INPUT.MIN_SIZE_TRAIN_SAMPLING range",
            inputs.MIN_SIZE_TRAIN,
            hint,
        )
    if inputs.CROP.ENABLED:
        crop = inputs.CROP
        _check(f"INPUT.CROP.SIZE for INPUT.CROP.TYPE {crop.TYPE}", crop.SIZE, CROP_SIZES[crop.TYPE])


def _check_solver(solver: Any, optimizer: str) -> None:
    falling = Rule(at_most(solver.BASE_LR).accepts, f"at most SOLVER.BASE_LR, {solver.BASE_LR}")
    _check("SOLVER.BASE_LR_END", solver.BASE_LR_END, falling)
    if solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        before = Rule(
            lambda v: solver.MAX_ITER not in v,
            f"no step at SOLVER.MAX_ITER {solver.MAX_ITER}, where training ends",
        )
        _check("SOLVER.STEPS", solver.STEPS, before)
    if solver.NESTEROV and optimizer == "SGD":
        _check("SOLVER.MOMENTUM for SOLVER.NESTEROV", solver.MOMENTUM, above(0))


def warn_of_conflicts(cfg: Any) -> None:
    """Log values that do not go together in most trainings and may still be meant, as in a short
    trial of a long schedule."""
    solver, inputs = cfg.SOLVER, cfg.INPUT
    steps = list(solver.STEPS) if solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR" else []
    late = [step for step in steps if step > solver.MAX_ITER]
    if late:
        logger.warning(
            "SOLVER.STEPS %s lie after SOLVER.MAX_ITER %d and have no effect", late, solver.MAX_ITER
        )
    first = min([solver.MAX_ITER, *steps])
    if first <= solver.WARMUP_ITERS:
        logger.warning(
            "SOLVER.WARMUP_ITERS is %d, and %s at step %d: no step is taken at SOLVER.BASE_LR %g",
            solver.WARMUP_ITERS,
            "training ends" if first == solver.MAX_ITER else "the learning rate falls",
            first,
            solver.BASE_LR,
        )
    for low, high in (("MIN_SIZE_TRAIN", "MAX_SIZE_TRAIN"), ("MIN_SIZE_TEST", "MAX_SIZE_TEST")):
        least = min(inputs[low]) if low == "MIN_SIZE_TRAIN" else inputs[low]
        if least > inputs[high]:
            logger.warning(
                "INPUT.%s is %s, more than INPUT.%s %d, which alone decides: the longer side of "
                "every image gets that size",
                low,
                inputs[low],
                high,
                inputs[high],
            )


def _check(key: str, value: Any, rule: Rule) -> None:
    accepts, expected = rule
    if not accepts(value):
        found = repr(value)
        raise ConfigError(
            f"{key}: expected {expected}, found "
            f"{found if len(found) <= 200 else found[:200] + ' ...'}"
        )
