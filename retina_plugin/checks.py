"""What both hosts make sure of before they start, so that a mistake costs seconds and not hours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from retina_plugin.config import ConfigError

logger = logging.getLogger("retina_plugin")


def resolve_device(cfg: Any) -> None:
    """Turn ``MODEL.DEVICE: cuda`` into ``cpu``, with a word about it, where there is no GPU."""
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.warning("MODEL.DEVICE is %s and there is no GPU here: using the CPU", cfg.MODEL.DEVICE)
        cfg.MODEL.DEVICE = "cpu"


def resolve_num_classes(cfg: Any, class_names_of: Callable[[str], Sequence[str]], *, eval_only: bool) -> list[str]:
    """Set ``MODEL.RETINANET.NUM_CLASSES`` when it is -1, and compare it with every data set that the run will use.

    Args:
        cfg: a config tree that is not frozen.
        class_names_of: name of a data set -> names of its classes.
        eval_only: the training sets will not be used and need not be there.

    Returns:
        The names of the classes.

    Raises:
        ConfigError: no data set is named, a number that differs from that of the data (both are told), or names that differ
            between data sets.
    """
    key = "DATASETS.TEST" if eval_only else "DATASETS.TRAIN"
    names = list(cfg.DATASETS.TEST) if eval_only else [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    if not (cfg.DATASETS.TEST if eval_only else cfg.DATASETS.TRAIN):
        raise ConfigError(f"{key} is empty: name a data set, or annotations.json@image_folder")
    classes = list(class_names_of(names[0]))
    if cfg.MODEL.RETINANET.NUM_CLASSES == -1:
        cfg.MODEL.RETINANET.NUM_CLASSES = len(classes)
    for name in names:
        _compare(name, list(class_names_of(name)), cfg.MODEL.RETINANET.NUM_CLASSES, classes, names[0])
    return classes


def _compare(name: str, found: list[str], number: int, classes: list[str], first: str) -> None:
    if len(found) != number:
        raise ConfigError(
            f"MODEL.RETINANET.NUM_CLASSES is {number}, but data set {name} has {len(found)} classes ({', '.join(found[:8])}"
            f"{', ...' if len(found) > 8 else ''}). Set it to {len(found)}, or to -1 to take it from the training set; "
            "background is not counted."
        )
    if found != classes:
        different = next((a, b) for a, b in zip(classes, found, strict=True) if a != b)
        raise ConfigError(
            f"data sets {first} and {name} name their classes differently, first {different[0]!r} and {different[1]!r}: "
            "give both the same categories in the same order of ids."
        )


NAN_ADVICE = (
    "The loss became {value} at iteration {iteration}. Lower SOLVER.BASE_LR (it is {lr:g}), lengthen SOLVER.WARMUP_ITERS, or set "
    "SOLVER.CLIP_GRADIENTS.ENABLED True. What was written to {folder} before stays valid; --resume continues from there."
)
