"""Check config values before a run starts: the rule of each key, and combinations of keys."""

from __future__ import annotations

import functools
import operator
from typing import Any

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.imports import IMPORTS, part_keys_of
from retina_plugin.config.keys import (
    DETECTRON2_KEYS,
    FRACTION,
    IMAGE_SIDE,
    INPUT_SIDE,
    MINUTES,
    NODE,
    PLUGIN_KEYS,
    STEPS,
)
from retina_plugin.config.registry import REGISTRIES
from retina_plugin.config.rules import Rule, above, at_most, between, list_of, one_of, whole
from retina_plugin.config.tree import leaves

# Rules for keys that only Detectron2's config has and that its training reads.
DETECTRON2_RULES: dict[str, Rule] = {
    "MODEL.RESNETS.RES5_DILATION": one_of(1, 2),
    "SOLVER.REFERENCE_WORLD_SIZE": between(0, 100_000),
    "TEST.PRECISE_BN.NUM_ITER": STEPS,
}

# Rules for keys of Detectron2 that have no effect on FocalRetinaNet.
FOCAL_RETINANET_RULES: dict[str, Rule] = {
    "MODEL.ANCHOR_GENERATOR.NAME": one_of("DefaultAnchorGenerator"),
    "MODEL.KEYPOINT_ON": Rule(lambda v: v is False, "False, because it detects only boxes"),
    "MODEL.LOAD_PROPOSALS": Rule(lambda v: v is False, "False, because it uses no proposals"),
    "MODEL.MASK_ON": Rule(lambda v: v is False, "False, because it detects only boxes"),
}

# INPUT.CROP.TYPE -> rule for INPUT.CROP.SIZE.
CROP_SIZES: dict[str, Rule] = {
    **dict.fromkeys(
        ("relative", "relative_range"),
        list_of(between(0.01, 1), what="fractions of an image side", counts=(2,)),
    ),
    "absolute": list_of(IMAGE_SIDE, what="numbers of pixels", counts=(2,)),
    "absolute_range": list_of(IMAGE_SIDE, what="numbers of pixels", counts=(2,), rising=True),
}

RESIZING = ("ResizeShortestEdge", "ScaleJitter")
SLICES_FIRST = Rule(
    lambda v: "RandomSlice" not in v or not {*v[: v.index("RandomSlice")]} & {*RESIZING},
    f"RandomSlice before {' and '.join(RESIZING)}, because the side of a slice is in pixels of the "
    "image file",
)


def check_rules(cfg: Any) -> None:
    """Check every value of a config against the rule of its key, and combinations of keys.

    Args:
        cfg: either host's config.

    Raises:
        ConfigError: a value is not allowed. The message has the key, and the expected and the found
            value.
    """
    values = dict(leaves(cfg))
    focal_retinanet = cfg.MODEL.META_ARCHITECTURE == "FocalRetinaNet"
    for key, definition in {**DETECTRON2_KEYS, **PLUGIN_KEYS, **part_keys_of(cfg)}.items():
        if key not in values:
            raise ConfigError(
                f"the config has no key {key}. Set {IMPORTS} with cfg.merge_from_list or in a "
                "file: this adds the keys of imported parts"
            )
        if definition.rule is not None:
            _check(key, values[key], definition.rule)
    for key, rule in (
        DETECTRON2_RULES | (FOCAL_RETINANET_RULES if focal_retinanet else {})
    ).items():
        if key in values:
            _check(key, values[key], rule)
    _check_parts(cfg, focal_retinanet=focal_retinanet)
    _check_views(cfg)
    _check_loss(cfg)
    _check_thresholds(cfg.MODEL.RETINANET)
    _check_sizes(cfg.INPUT)
    _check_augmentation(cfg.MODEL.RETINA_PLUGIN.INPUT)
    _check_sampler(cfg.DATALOADER)
    _check_solver(cfg.SOLVER, cfg.MODEL.RETINA_PLUGIN.OPTIMIZER)
    _check_budget(cfg)
    if focal_retinanet and "TEST.PRECISE_BN.ENABLED" in values:
        _check_detectron2(cfg)


def _check_parts(cfg: Any, *, focal_retinanet: bool) -> None:
    """Check that the names of parts are registered, in the registries that have been imported.

    Backbones are checked in :func:`retina_plugin.engine.prepare.check_request`, because a host can
    have additional ones.
    """
    for registry in REGISTRIES if focal_retinanet else ():
        try:
            registry.require_known(*(registry.chosen(cfg) if registry.node else ()))
        except KeyError as error:
            raise ConfigError(error.args[0]) from error
    if not focal_retinanet:
        _check_transforms(cfg, cfg.MODEL.META_ARCHITECTURE, "only FocalRetinaNet uses this key")
        theirs = Rule(
            lambda v: v != "ClassAwareSampler",
            "a sampler of Detectron2, because only FocalRetinaNet uses ClassAwareSampler",
        )
        key = f"DATALOADER.SAMPLER_TRAIN for {cfg.MODEL.META_ARCHITECTURE}"
        _check(key, cfg.DATALOADER.SAMPLER_TRAIN, theirs)
    elif cfg.MODEL.RETINA_PLUGIN.INPUT.MAPPER == "detectron2":
        reason = "Detectron2's mapper does not use this key"
        _check_transforms(cfg, f"{NODE}.INPUT.MAPPER detectron2", reason)


def _check_transforms(cfg: Any, user: str, reason: str) -> None:
    """Check that the keys of this project's transforms are at their defaults, because ``user`` gets
    the samples of Detectron2's mapper."""
    inputs = cfg.MODEL.RETINA_PLUGIN.INPUT
    for name, value in (
        ("TRANSFORMS", inputs.TRANSFORMS),
        ("AUGMENTATION", inputs.AUGMENTATION),
        ("RESIZER", inputs.RESIZER),
        ("RandomCrop.WITH_OBJECT", inputs.RandomCrop.WITH_OBJECT),
    ):
        key = f"{NODE}.INPUT.{name}"
        default = PLUGIN_KEYS[key].default
        only = Rule(functools.partial(operator.eq, default), f"{default}, because {reason}")
        _check(f"{key} for {user}", value, only)


def _check_augmentation(inputs: Any) -> None:
    policy, default = inputs.AUGMENTATION, PLUGIN_KEYS[f"{NODE}.INPUT.TRANSFORMS"].default
    if policy == "none":
        _check(f"{NODE}.INPUT.TRANSFORMS", inputs.TRANSFORMS, SLICES_FIRST)
        return
    only = Rule(
        lambda v: list(v) == default,
        f"its default {default}, because the policy lists its own transforms. To change the "
        f"list of a policy, set {NODE}.INPUT.AUGMENTATION none and name all transforms in "
        "TRANSFORMS (augmentation.md has the lists)",
    )
    key = f"{NODE}.INPUT.TRANSFORMS for {NODE}.INPUT.AUGMENTATION {policy}"
    _check(key, inputs.TRANSFORMS, only)


def _check_sampler(loader: Any) -> None:
    if loader.SAMPLER_TRAIN == "RepeatFactorTrainingSampler":
        key = "DATALOADER.REPEAT_THRESHOLD for DATALOADER.SAMPLER_TRAIN RepeatFactorTrainingSampler"
        repeats = Rule(above(0).accepts, "above 0, otherwise no image is repeated")
        _check(key, loader.REPEAT_THRESHOLD, repeats)


def _check_views(cfg: Any) -> None:
    """Check slices and test-time augmentation."""
    architecture, aug = cfg.MODEL.META_ARCHITECTURE, cfg.TEST.AUG
    if architecture != "FocalRetinaNet":
        whole_image = Rule(lambda v: v == 0, "0, because only FocalRetinaNet detects in slices")
        key = f"{NODE}.TEST.SLICE.SIZE for {architecture}"
        _check(key, cfg.MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE, whole_image)
        off = Rule(lambda v: v is False, "False, because only FocalRetinaNet has other versions")
        _check(f"TEST.AUG.ENABLED for {architecture}", aug.ENABLED, off)
    if aug.ENABLED:
        fitting = Rule(
            lambda v: max(v) <= aug.MAX_SIZE,
            f"sizes of at most TEST.AUG.MAX_SIZE {aug.MAX_SIZE}, the limit of the longer side",
        )
        _check("TEST.AUG.MIN_SIZES", aug.MIN_SIZES, fitting)


def _check_detectron2(cfg: Any) -> None:
    """Check keys that only Detectron2 has and whose rules depend on other keys."""
    resnet = cfg.MODEL.BACKBONE.NAME.startswith("build_retina_resnet")
    if resnet:
        dilation_key = f"MODEL.RESNETS.RES5_DILATION for {cfg.MODEL.BACKBONE.NAME}"
        _check(dilation_key, cfg.MODEL.RESNETS.RES5_DILATION, one_of(1))
    norms = {cfg.MODEL.RESNETS.NORM, cfg.MODEL.FPN.NORM, cfg.MODEL.RETINANET.NORM}
    if resnet and not norms & {"BN", "SyncBN"}:
        off = Rule(lambda v: v is False, "False, because no norm of this model is BN or SyncBN")
        _check("TEST.PRECISE_BN.ENABLED", cfg.TEST.PRECISE_BN.ENABLED, off)


def _check_thresholds(retinanet: Any) -> None:
    labels = list(retinanet.IOU_LABELS)
    rule = list_of(FRACTION, counts=(len(labels) - 1,), rising=True)
    _check(
        f"MODEL.RETINANET.IOU_THRESHOLDS for IOU_LABELS {labels}", retinanet.IOU_THRESHOLDS, rule
    )


def _check_loss(cfg: Any) -> None:
    if cfg.MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME == "quality_focal":
        _check_quality_focal(cfg.MODEL.RETINANET)
    if cfg.MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME == "focal_star":
        above_0 = Rule(
            above(0).accepts, "above 0, because the loss is divided by it; for 0 use balanced_ce"
        )
        _check(
            "MODEL.RETINANET.FOCAL_LOSS_GAMMA for CLASS_LOSS focal_star",
            cfg.MODEL.RETINANET.FOCAL_LOSS_GAMMA,
            above_0,
        )


def _check_quality_focal(retinanet: Any) -> None:
    number = Rule(
        lambda v: not isinstance(v, (str, list, tuple)),
        "a number, because quality_focal has no weights of classes; use varifocal or focal",
    )
    key = "MODEL.RETINANET.FOCAL_LOSS_ALPHA for CLASS_LOSS quality_focal"
    _check(key, retinanet.FOCAL_LOSS_ALPHA, number)
    gamma = Rule(
        lambda v: v == 0 or v >= 1, "0 or at least 1, because between its derivative is unbounded"
    )
    key = "MODEL.RETINANET.FOCAL_LOSS_GAMMA for CLASS_LOSS quality_focal"
    _check(key, retinanet.FOCAL_LOSS_GAMMA, gamma)


def _check_sizes(inputs: Any) -> None:
    if inputs.MIN_SIZE_TRAIN_SAMPLING == "range":
        pair = list_of(whole(INPUT_SIDE), counts=(2,), rising=True)
        hint = Rule(pair.accepts, "two rising numbers of pixels, or MIN_SIZE_TRAIN_SAMPLING choice")
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
        positive = Rule(above(0).accepts, "above 0, otherwise warm-up steps change nothing")
        key = "SOLVER.WARMUP_FACTOR for SOLVER.WARMUP_METHOD constant"
        _check(key, solver.WARMUP_FACTOR, positive)
    if solver.NESTEROV and optimizer == "SGD":
        _check("SOLVER.MOMENTUM for SOLVER.NESTEROV", solver.MOMENTUM, above(0))


def _check_budget(cfg: Any) -> None:
    """Check the keys that a time budget does not support."""
    if not cfg.MODEL.RETINA_PLUGIN.SOLVER.MINUTES:
        return
    off = Rule(lambda v: v is False, "False, because the number of steps is not yet known")
    _check(f"SOLVER.RESCALE_INTERVAL for {MINUTES}", cfg.SOLVER.RESCALE_INTERVAL, off)
    if "PRECISE_BN" in cfg.TEST:
        precise = cfg.TEST.PRECISE_BN.ENABLED
        _check(f"TEST.PRECISE_BN.ENABLED for {MINUTES}", precise, off)


def _check(key: str, value: Any, rule: Rule) -> None:
    accepts, expected = rule
    if not accepts(value):
        found = repr(value)
        raise ConfigError(
            f"{key}: expected {expected}, found "
            f"{found if len(found) <= 200 else found[:200] + ' ...'}"
        )
