"""The range of every config key in which a run makes sense, checked before anything is read or
written."""

from __future__ import annotations

import logging
import re
from numbers import Integral
from typing import Any

from retina_plugin.config import leaves
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.rules import (
    Rule,
    above,
    at_least,
    at_most,
    below,
    between,
    by_level,
    different,
    list_of,
    one_of,
    text,
    whole,
)

logger = logging.getLogger("retina_plugin")

DEVICE = re.compile(r"cpu|cuda(:(?P<index>\d{1,4}))?")
CHANNELS = between(1, 65_536)
PIXELS = between(1, 100_000)  # a side of an image
SIZES = between(8, 100_000)  # a side of what the network sees; P3 has a cell every 8 pixels
STAGES = list_of(text("of stages"), what="names", empty=True)
STEPS = between(1, 10**9)
PERIOD = between(0, 10**9)
SHARE = between(0, 1)
INSIDE = above(0) & below(1)
SCORE = between(1e-6, 1 - 1e-6)  # nearer to 0 or 1 no training gets anywhere in float32
DECAY = between(0, 1)
NAMES = list_of(text("that are text"), what="names, or annotations.json@image_folder,", empty=True)
SEEDS = Rule(
    lambda v: isinstance(v, Integral) and -(2**63) <= v < 2**32,
    "below 2^32; a negative one takes another seed each time",
)
BOX_COORDINATES = Rule(
    lambda v: (
        re.fullmatch(
            r"((xywh|xyxy|cxcywh)\b)? ?((pixels|fraction)\b)? "
            r"?(upright|stored)?",
            v,
        )
        is not None
    ),
    "words such as 'xyxy fraction': xywh, xyxy or cxcywh, then pixels or fraction, then upright or "
    "stored",
)

RULES: dict[str, Rule] = {
    "VERSION": one_of(2),
    "DATASETS.TRAIN": NAMES,
    "DATASETS.TEST": NAMES & different(),
    "MODEL.ANCHOR_GENERATOR.SIZES": by_level(between(1, 100_000)),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": by_level(between(0.001, 1000)),
    "MODEL.ANCHOR_GENERATOR.OFFSET": at_least(0) & below(1),
    "MODEL.BACKBONE.FREEZE_AT": between(0, 10),
    "MODEL.DEVICE": Rule(lambda v: DEVICE.fullmatch(v) is not None, "cuda, cuda:0, ... or cpu"),
    "MODEL.FPN.IN_FEATURES": STAGES,
    "MODEL.FPN.OUT_CHANNELS": CHANNELS,
    "MODEL.PIXEL_MEAN": list_of(between(0, 255), counts=(3,)),
    "MODEL.PIXEL_STD": list_of(between(0.001, 1000), counts=(3,)),
    "MODEL.RESNETS.DEPTH": one_of(18, 34, 50, 101, 152),
    "MODEL.RESNETS.OUT_FEATURES": STAGES,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": CHANNELS,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": CHANNELS,
    "MODEL.RESNETS.WIDTH_PER_GROUP": CHANNELS,
    "MODEL.RESNETS.NUM_GROUPS": CHANNELS,
    "MODEL.RETINANET.BBOX_REG_WEIGHTS": list_of(between(0.001, 1000), counts=(4,)),
    "MODEL.RETINANET.FOCAL_LOSS_ALPHA": one_of("auto", -1.0) | SHARE | list_of(SHARE),
    "MODEL.RETINANET.FOCAL_LOSS_GAMMA": between(0, 20),
    "MODEL.RETINANET.IN_FEATURES": list_of(text("of levels"), what="names") & different(),
    "MODEL.RETINANET.IOU_THRESHOLDS": list_of(SHARE, counts=(1, 2), rising=True),
    "MODEL.RETINANET.IOU_LABELS": one_of([0, 1], [0, -1, 1]),
    "MODEL.RETINANET.NMS_THRESH_TEST": SHARE,
    "MODEL.RETINANET.NUM_CLASSES": one_of(-1) | between(1, 100_000),
    "MODEL.RETINANET.NUM_CONVS": between(0, 100),
    "MODEL.RETINANET.PRIOR_PROB": one_of("auto") | SCORE | list_of(SCORE),
    "MODEL.RETINANET.SCORE_THRESH_TEST": at_least(0) & below(1),
    "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": between(0, 100),
    "MODEL.RETINANET.TOPK_CANDIDATES_TEST": between(1, 10**7),
    "MODEL.RETINA_PLUGIN.AUTO_ALPHA_BASE": INSIDE,
    "MODEL.RETINA_PLUGIN.AUTO_ALPHA_POWER": between(0, 4),
    "MODEL.RETINA_PLUGIN.AUTO_ALPHA_CLIP": list_of(INSIDE, counts=(2,), rising=True),
    "MODEL.RETINA_PLUGIN.AUTO_PRIOR_BASE": SCORE,
    "MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES": BOX_COORDINATES,
    "MODEL.RETINA_PLUGIN.HEAD_WIDTH": between(0, 65_536),
    "MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE": one_of("auto")
    | list_of(between(-(10**12), 10**12), counts=(2,), rising=True) & different(),
    "MODEL.RETINA_PLUGIN.INPUT.MAX_PIXELS": between(1, 10**10),
    "MODEL.RETINA_PLUGIN.NECK.LEVELS": between(1, 8),
    "MODEL.RETINA_PLUGIN.NECK.REPEATS": between(1, 100),
    "MODEL.RETINA_PLUGIN.NORM_GROUPS": CHANNELS,
    "MODEL.RETINA_PLUGIN.OPTIMIZER": one_of("SGD", "AdamW"),
    "MODEL.RETINA_PLUGIN.TIMM.DROP_PATH": at_least(0) & below(1),
    "TEST.DETECTIONS_PER_IMAGE": between(1, 10**6),
    "TEST.EVAL_PERIOD": PERIOD,
    "INPUT.FORMAT": one_of("BGR", "RGB"),
    "INPUT.MIN_SIZE_TRAIN": list_of(whole(SIZES), what="sizes in pixels"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": one_of("choice", "range"),
    "INPUT.MAX_SIZE_TRAIN": SIZES,
    "INPUT.MIN_SIZE_TEST": one_of(0) | SIZES,
    "INPUT.MAX_SIZE_TEST": SIZES,
    "INPUT.RANDOM_FLIP": one_of("horizontal", "vertical", "none"),
    "INPUT.CROP.TYPE": one_of("relative_range", "relative", "absolute", "absolute_range"),
    "INPUT.CROP.SIZE": list_of(above(0) & at_most(100_000), counts=(2,)),
    "DATALOADER.NUM_WORKERS": between(0, 1024),
    "SOLVER.IMS_PER_BATCH": between(1, 100_000),
    "SOLVER.MAX_ITER": STEPS,
    "SOLVER.CHECKPOINT_PERIOD": STEPS,
    "SOLVER.BASE_LR": between(1e-12, 100),
    "SOLVER.BASE_LR_END": between(0, 100),
    "SOLVER.STEPS": list_of(whole(STEPS), rising=True, empty=True) & different(),
    "SOLVER.GAMMA": between(1e-6, 1),
    # Detectron2 has the last one, which Lightning refuses itself.
    "SOLVER.LR_SCHEDULER_NAME": one_of(
        "WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"
    ),
    "SOLVER.WARMUP_ITERS": PERIOD,
    "SOLVER.WARMUP_FACTOR": between(0, 1),
    "SOLVER.WARMUP_METHOD": one_of("linear", "constant"),
    "SOLVER.MOMENTUM": at_least(0) & below(1),
    "SOLVER.WEIGHT_DECAY": DECAY,
    "SOLVER.WEIGHT_DECAY_NORM": DECAY,
    "SOLVER.WEIGHT_DECAY_BIAS": one_of(None) | DECAY,
    "SOLVER.BIAS_LR_FACTOR": between(0, 100),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": one_of("value", "norm"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": between(1e-6, 10**6),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": between(1, 100),
    "OUTPUT_DIR": text("a folder"),
    "SEED": SEEDS,
    "VIS_PERIOD": PERIOD,
}

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
    """Compare a config with :data:`RULES`, and keys with each other.

    Raises:
        ConfigError: a value out of its bounds; the message names the key, what is expected and what
            was found.
    """
    values = dict(leaves(cfg))
    for key, rule in (RULES | DETECTRON2_RULES).items():
        if key in values or key in RULES:
            _check(key, values[key], rule)
    _check_loss(cfg)
    _check_sizes(cfg.INPUT)
    _check_solver(cfg.SOLVER, cfg.MODEL.RETINA_PLUGIN.OPTIMIZER)


def _check_loss(cfg: Any) -> None:
    if cfg.MODEL.RETINA_PLUGIN.CLASS_LOSS == "focal_star":
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
