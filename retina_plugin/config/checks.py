"""Checks of a config before anything is read or written: the rule of every key, and keys with each
other."""

from __future__ import annotations

import logging
from typing import Any

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.imports import IMPORTS, part_keys_of
from retina_plugin.config.keys import (
    DETECTRON2_KEYS,
    NODE,
    PIXELS,
    PLUGIN_KEYS,
    SHARE,
    SIZES,
    STEPS,
)
from retina_plugin.config.registry import REGISTRIES
from retina_plugin.config.rules import Rule, above, at_most, between, list_of, one_of, whole
from retina_plugin.config.tree import leaves

logger = logging.getLogger("retina_plugin")

# Keys that only Detectron2 has and that its training with this model reads.
DETECTRON2_RULES: dict[str, Rule] = {
    "DATALOADER.REPEAT_THRESHOLD": SHARE,
    # its third sampler reads a key that Detectron2's config does not have
    "DATALOADER.SAMPLER_TRAIN": one_of("TrainingSampler", "RepeatFactorTrainingSampler"),
    "MODEL.RESNETS.RES5_DILATION": one_of(1, 2),
    "SOLVER.REFERENCE_WORLD_SIZE": between(0, 100_000),
    "TEST.AUG.ENABLED": Rule(lambda v: v is False, "False, as each image is evaluated once"),
    "TEST.PRECISE_BN.NUM_ITER": STEPS,
}

# Of these, what has no effect on FocalRetinaNet.
FOCAL_RETINANET_RULES: dict[str, Rule] = {
    "MODEL.ANCHOR_GENERATOR.NAME": one_of("DefaultAnchorGenerator"),
    "MODEL.KEYPOINT_ON": Rule(lambda v: v is False, "False, as it finds boxes alone"),
    "MODEL.LOAD_PROPOSALS": Rule(lambda v: v is False, "False, as it reads no proposals"),
    "MODEL.MASK_ON": Rule(lambda v: v is False, "False, as it finds boxes alone"),
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


def check_rules(cfg: Any) -> None:
    """Compare a config with the rules of its keys, and keys with each other.

    Raises:
        ConfigError: a value out of its bounds; the message names the key, what is expected and what
            was found.
    """
    values = dict(leaves(cfg))
    ours = cfg.MODEL.META_ARCHITECTURE == "FocalRetinaNet"
    for key, row in {**DETECTRON2_KEYS, **PLUGIN_KEYS, **part_keys_of(cfg)}.items():
        if key not in values:
            raise ConfigError(
                f"the config has no key {key}. Set {IMPORTS} by cfg.merge_from_list or in a file: "
                "that adds the keys of the parts"
            )
        if row.rule is not None:
            _check(key, values[key], row.rule)
    for key, rule in (DETECTRON2_RULES | (FOCAL_RETINANET_RULES if ours else {})).items():
        if key in values:
            _check(key, values[key], rule)
    _check_parts(cfg, ours=ours)
    _check_loss(cfg)
    _check_thresholds(cfg.MODEL.RETINANET)
    _check_sizes(cfg.INPUT)
    _check_solver(cfg.SOLVER, cfg.MODEL.RETINA_PLUGIN.OPTIMIZER)
    if ours and "TEST.AUG.ENABLED" in values:
        _check_detectron2(cfg)


def _check_parts(cfg: Any, *, ours: bool) -> None:
    """Names of parts, as far as their registries have been imported; a backbone may be one of the
    host's, see :func:`retina_plugin.engine.prepare.check_request`."""
    for registry in REGISTRIES if ours else ():
        try:
            registry.require_known(*(registry.chosen(cfg) if registry.node else ()))
        except KeyError as error:
            raise ConfigError(error.args[0]) from error
    if not ours:
        key = f"{NODE}.INPUT.TRANSFORMS"
        default = PLUGIN_KEYS[key].default
        only = Rule(lambda v: v == default, f"{default}, as only FocalRetinaNet reads others")
        found = cfg.MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS
        _check(f"{key} for {cfg.MODEL.META_ARCHITECTURE}", found, only)


def _check_detectron2(cfg: Any) -> None:
    """Keys that only Detectron2 has and that act in some configs only."""
    if cfg.DATALOADER.SAMPLER_TRAIN == "RepeatFactorTrainingSampler":
        key = "DATALOADER.REPEAT_THRESHOLD for DATALOADER.SAMPLER_TRAIN RepeatFactorTrainingSampler"
        repeats = Rule(above(0).accepts, "above 0, as no image is repeated else")
        _check(key, cfg.DATALOADER.REPEAT_THRESHOLD, repeats)
    resnet = cfg.MODEL.BACKBONE.NAME.startswith("build_retina_resnet")
    if resnet:
        of_backbone = f"MODEL.RESNETS.RES5_DILATION for {cfg.MODEL.BACKBONE.NAME}"
        _check(of_backbone, cfg.MODEL.RESNETS.RES5_DILATION, one_of(1))
    norms = {cfg.MODEL.RESNETS.NORM, cfg.MODEL.FPN.NORM, cfg.MODEL.RETINANET.NORM}
    if resnet and not norms & {"BN", "SyncBN"}:
        off = Rule(lambda v: v is False, "False, as no normalisation of this model is BN or SyncBN")
        _check("TEST.PRECISE_BN.ENABLED", cfg.TEST.PRECISE_BN.ENABLED, off)


def _check_thresholds(retinanet: Any) -> None:
    labels = list(retinanet.IOU_LABELS)
    rule = list_of(SHARE, counts=(len(labels) - 1,), rising=True)
    _check(
        f"MODEL.RETINANET.IOU_THRESHOLDS for IOU_LABELS {labels}", retinanet.IOU_THRESHOLDS, rule
    )


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
    if solver.WARMUP_METHOD == "constant" and solver.WARMUP_ITERS:
        learns = Rule(above(0).accepts, "above 0, or nothing is learnt before it ends")
        key = "SOLVER.WARMUP_FACTOR for SOLVER.WARMUP_METHOD constant"
        _check(key, solver.WARMUP_FACTOR, learns)
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
