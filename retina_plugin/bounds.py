"""Values that no run can use, told by their key before a run starts and not in its last hour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from retina_plugin.config import ConfigError

Rule = tuple[Callable[[Any], bool], str]  # whether a value will do, and what is expected


def _positive(values: Any) -> bool:
    return len(values) > 0 and all(value > 0 for value in values)


RULES: dict[str, Rule] = {
    "MODEL.FPN.OUT_CHANNELS": (lambda v: v >= 1, "at least 1"),
    "MODEL.PIXEL_STD": (_positive, "numbers above 0"),
    "MODEL.RETINANET.BBOX_REG_WEIGHTS": (lambda v: len(v) == 4 and _positive(v), "four numbers above 0"),
    "MODEL.RETINANET.FOCAL_LOSS_GAMMA": (lambda v: v >= 0, "at least 0"),
    "MODEL.RETINANET.IN_FEATURES": (len, "at least one level"),
    "MODEL.RETINANET.SCORE_THRESH_TEST": (lambda v: 0 <= v < 1, "at least 0 and below 1"),
    "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": (lambda v: v >= 0, "at least 0"),
    "MODEL.RETINANET.TOPK_CANDIDATES_TEST": (lambda v: v >= 1, "at least 1"),
    "MODEL.RETINA_PLUGIN.NORM_GROUPS": (lambda v: v >= 1, "at least 1"),
    "TEST.DETECTIONS_PER_IMAGE": (lambda v: v >= 1, "at least 1"),
    "TEST.EVAL_PERIOD": (lambda v: v >= 0, "at least 0"),
    "INPUT.FORMAT": (lambda v: v in ("BGR", "RGB"), "BGR or RGB"),
    "INPUT.MIN_SIZE_TRAIN": (_positive, "sizes in pixels, above 0"),
    "INPUT.MAX_SIZE_TRAIN": (lambda v: v >= 1, "at least 1"),
    "INPUT.MIN_SIZE_TEST": (lambda v: v >= 0, "at least 0"),
    "INPUT.MAX_SIZE_TEST": (lambda v: v >= 1, "at least 1"),
    "DATALOADER.NUM_WORKERS": (lambda v: v >= 0, "at least 0"),
    "SOLVER.BASE_LR": (lambda v: v > 0, "above 0"),
    "SOLVER.STEPS": (lambda v: not v or (_positive(v) and list(v) == sorted(v)), "rising numbers of steps"),
    "SOLVER.WARMUP_ITERS": (lambda v: v >= 0, "at least 0"),
}


def check_bounds(cfg: Any) -> None:
    """Compare a config with :data:`RULES`.

    Raises:
        ConfigError: a value out of its bounds; the key, what is expected and what was found are told.
    """
    for key, (will_do, expected) in RULES.items():
        value = cfg
        for name in key.split("."):
            value = value[name]
        try:
            good = will_do(value)
        except TypeError:
            good = False
        if not good:
            raise ConfigError(f"{key}: expected {expected}, found {value!r}")
