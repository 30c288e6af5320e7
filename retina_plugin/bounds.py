"""Values that no run can use, told by their key before a run starts and not in its last hour."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from retina_plugin.config import ConfigError

Rule = tuple[Callable[[Any], bool], str]  # whether a value will do, and what is expected


def _positive(values: Any) -> bool:
    return len(values) > 0 and all(value > 0 for value in values)


def _positive_by_level(values: Any) -> bool:
    """A list of numbers for all levels, or a list of such lists."""
    rows = values if isinstance(values[0], (list, tuple)) else [values]
    return all(map(_positive, rows))


def _one_of(*names: str) -> Rule:
    return (lambda v: v in names), f"{', '.join(names[:-1])} or {names[-1]}"


DEVICE = re.compile(r"cpu|cuda(:(?P<index>\d{1,4}))?")
DATASETS: Rule = (lambda v: all(isinstance(name, str) for name in v), "names, or annotations.json@image_folder")

RULES: dict[str, Rule] = {
    "DATASETS.TRAIN": DATASETS,
    "DATASETS.TEST": DATASETS,
    "MODEL.ANCHOR_GENERATOR.SIZES": (_positive_by_level, "numbers above 0, in a list for each level"),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": (
        _positive_by_level,
        "numbers above 0, in a list for each level or for all",
    ),
    "MODEL.BACKBONE.FREEZE_AT": (lambda v: v >= 0, "at least 0"),
    "MODEL.DEVICE": (lambda v: DEVICE.fullmatch(v) is not None, "cuda, cuda:0, ... or cpu"),
    "MODEL.FPN.OUT_CHANNELS": (lambda v: v >= 1, "at least 1"),
    "MODEL.PIXEL_MEAN": (lambda v: len(v) == 3 and all(isinstance(x, (int, float)) for x in v), "three numbers"),
    "MODEL.PIXEL_STD": (_positive, "numbers above 0"),
    **dict.fromkeys(
        (
            "MODEL.RESNETS.STEM_OUT_CHANNELS",
            "MODEL.RESNETS.RES2_OUT_CHANNELS",
            "MODEL.RESNETS.WIDTH_PER_GROUP",
            "MODEL.RESNETS.NUM_GROUPS",
        ),
        (lambda v: v >= 1, "at least 1"),
    ),
    "MODEL.RETINANET.BBOX_REG_WEIGHTS": (lambda v: len(v) == 4 and _positive(v), "four numbers above 0"),
    "MODEL.RETINANET.FOCAL_LOSS_GAMMA": (lambda v: 0 <= v < math.inf, "at least 0"),
    "MODEL.RETINANET.IN_FEATURES": (len, "at least one level"),
    "MODEL.RETINANET.IOU_THRESHOLDS": (lambda v: all(0 <= iou <= 1 for iou in v), "numbers from 0 to 1"),
    "MODEL.RETINANET.NMS_THRESH_TEST": (lambda v: 0 <= v <= 1, "from 0 to 1"),
    "MODEL.RETINANET.NUM_CONVS": (lambda v: v >= 0, "at least 0"),
    "MODEL.RETINANET.SCORE_THRESH_TEST": (lambda v: 0 <= v < 1, "at least 0 and below 1"),
    "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": (lambda v: v >= 0, "at least 0"),
    "MODEL.RETINANET.TOPK_CANDIDATES_TEST": (lambda v: v >= 1, "at least 1"),
    "MODEL.RETINA_PLUGIN.AUTO_ALPHA_POWER": (lambda v: 0 <= v <= 4, "from 0 to 4"),
    "MODEL.RETINA_PLUGIN.AUTO_ALPHA_CLIP": (
        lambda v: len(v) == 2 and 0 < v[0] <= v[1] < 1,
        "two rising numbers in (0, 1)",
    ),
    "MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES": (
        lambda v: re.fullmatch(r"((xywh|xyxy|cxcywh)\b)? ?((pixels|fraction)\b)? ?(upright|stored)?", v),
        "words such as 'xyxy fraction': xywh, xyxy or cxcywh, then pixels or fraction, then upright or stored",
    ),
    "MODEL.RETINA_PLUGIN.HEAD_WIDTH": (lambda v: v >= 0, "at least 0"),
    "MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE": (
        lambda v: v == "auto" or (len(v) == 2 and v[0] < v[1]),
        "two rising numbers, or auto",
    ),
    "MODEL.RETINA_PLUGIN.INPUT.MAX_PIXELS": (lambda v: v >= 1, "at least 1"),
    "MODEL.RETINA_PLUGIN.NECK.LEVELS": (lambda v: 1 <= v <= 8, "from 1 to 8"),
    "MODEL.RETINA_PLUGIN.NORM_GROUPS": (lambda v: v >= 1, "at least 1"),
    "MODEL.RETINA_PLUGIN.TIMM.DROP_PATH": (lambda v: 0 <= v < 1, "at least 0 and below 1"),
    "TEST.DETECTIONS_PER_IMAGE": (lambda v: v >= 1, "at least 1"),
    "TEST.EVAL_PERIOD": (lambda v: v >= 0, "at least 0"),
    "INPUT.FORMAT": _one_of("BGR", "RGB"),
    "INPUT.MIN_SIZE_TRAIN": (_positive, "sizes in pixels, above 0"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": _one_of("choice", "range"),
    "INPUT.MAX_SIZE_TRAIN": (lambda v: v >= 1, "at least 1"),
    "INPUT.MIN_SIZE_TEST": (lambda v: v >= 0, "at least 0"),
    "INPUT.MAX_SIZE_TEST": (lambda v: v >= 1, "at least 1"),
    "INPUT.RANDOM_FLIP": _one_of("horizontal", "vertical", "none"),
    "INPUT.CROP.TYPE": _one_of("relative_range", "relative", "absolute", "absolute_range"),
    "DATALOADER.NUM_WORKERS": (lambda v: v >= 0, "at least 0"),
    "SOLVER.BASE_LR": (lambda v: v > 0, "above 0"),
    "SOLVER.BASE_LR_END": (lambda v: v >= 0, "at least 0"),
    "SOLVER.STEPS": (lambda v: not v or (_positive(v) and list(v) == sorted(v)), "rising numbers of steps"),
    # Detectron2 has the last one, which Lightning refuses itself.
    "SOLVER.LR_SCHEDULER_NAME": _one_of("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"),
    "SOLVER.WARMUP_ITERS": (lambda v: v >= 0, "at least 0"),
    "SOLVER.WARMUP_FACTOR": (lambda v: v >= 0, "at least 0"),
    "SOLVER.WARMUP_METHOD": _one_of("linear", "constant"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": _one_of("value", "norm"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": (lambda v: v > 0, "above 0"),
    "OUTPUT_DIR": (len, "a folder"),
    "SEED": (lambda v: v < 2**32, "below 2^32; a negative one takes another seed each time"),
}

# INPUT.CROP.TYPE -> what INPUT.CROP.SIZE must be.
CROP_SIZES: dict[str, Rule] = {
    **dict.fromkeys(
        ("relative", "relative_range"),
        (lambda v: len(v) == 2 and all(0 < share <= 1 for share in v), "two shares of an image, above 0 and at most 1"),
    ),
    "absolute": (lambda v: len(v) == 2 and min(v) >= 1, "two numbers of pixels, at least 1"),
    "absolute_range": (lambda v: len(v) == 2 and 1 <= v[0] <= v[1], "two numbers of pixels, at least 1 and rising"),
}


def check_bounds(cfg: Any) -> None:
    """Compare a config with :data:`RULES`.

    Raises:
        ConfigError: a value out of its bounds; the key, what is expected and what was found are told.
    """
    for key, rule in RULES.items():
        value = cfg
        for name in key.split("."):
            value = value[name]
        _check(key, value, rule)
    if cfg.MODEL.RETINA_PLUGIN.CLASS_LOSS == "focal_star":
        above_0: Rule = (lambda v: v > 0, "above 0, as it divides by it; without focusing, take balanced_ce")
        _check(
            "MODEL.RETINANET.FOCAL_LOSS_GAMMA for CLASS_LOSS focal_star", cfg.MODEL.RETINANET.FOCAL_LOSS_GAMMA, above_0
        )
    falling: Rule = (lambda v: v <= cfg.SOLVER.BASE_LR, f"at most SOLVER.BASE_LR, {cfg.SOLVER.BASE_LR}")
    _check("SOLVER.BASE_LR_END", cfg.SOLVER.BASE_LR_END, falling)
    crop = cfg.INPUT.CROP
    if crop.ENABLED:
        _check(f"INPUT.CROP.SIZE for INPUT.CROP.TYPE {crop.TYPE}", crop.SIZE, CROP_SIZES[crop.TYPE])


def _check(key: str, value: Any, rule: Rule) -> None:
    will_do, expected = rule
    try:
        good = will_do(value)
    except (TypeError, IndexError):  # of another type inside a list, or an empty list
        good = False
    if not good:
        raise ConfigError(f"{key}: expected {expected}, found {value!r}")
