"""Warn about combinations of config values that are probably mistakes but can be intended."""

from __future__ import annotations

import logging
from typing import Any

from retina_plugin.config.keys import DETECTRON2_KEYS, NODE, PLUGIN_KEYS
from retina_plugin.config.registry import REGISTRIES
from retina_plugin.config.tree import is_same_value, leaves

logger = logging.getLogger("retina_plugin")


def warn_of_conflicts(cfg: Any) -> None:
    """Warn about combinations of values in training, such as a schedule that is longer than a short
    trial run."""
    solver = cfg.SOLVER
    steps = list(solver.STEPS) if solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR" else []
    late = [step for step in steps if step > solver.MAX_ITER]
    if late:
        logger.warning(
            "SOLVER.STEPS %s lie after SOLVER.MAX_ITER %d and have no effect", late, solver.MAX_ITER
        )
    first_drop = min([solver.MAX_ITER, *steps])
    if first_drop <= solver.WARMUP_ITERS:
        logger.warning(
            "SOLVER.WARMUP_ITERS is %d, and %s at step %d: the learning rate never reaches "
            "SOLVER.BASE_LR %g",
            solver.WARMUP_ITERS,
            "training ends" if first_drop == solver.MAX_ITER else "the learning rate falls",
            first_drop,
            solver.BASE_LR,
        )
    _warn_of_sampler(cfg.DATALOADER)
    _warn_of_sizes(cfg.INPUT)
    _warn_of_unused_parts(cfg)


def _warn_of_sampler(loader: Any) -> None:
    if loader.REPEAT_THRESHOLD and loader.SAMPLER_TRAIN != "RepeatFactorTrainingSampler":
        logger.warning(
            "DATALOADER.REPEAT_THRESHOLD %g has no effect with DATALOADER.SAMPLER_TRAIN %s: set "
            "RepeatFactorTrainingSampler to repeat images",
            loader.REPEAT_THRESHOLD,
            loader.SAMPLER_TRAIN,
        )


def _warn_of_sizes(inputs: Any) -> None:
    for low, high in (("MIN_SIZE_TRAIN", "MAX_SIZE_TRAIN"), ("MIN_SIZE_TEST", "MAX_SIZE_TEST")):
        smallest = min(inputs[low]) if low == "MIN_SIZE_TRAIN" else inputs[low]
        if smallest > inputs[high]:
            logger.warning(
                "INPUT.%s is %s, more than INPUT.%s %d, so the shorter side is ignored: the longer "
                "side of every image is resized to INPUT.%s",
                low,
                inputs[low],
                high,
                inputs[high],
                high,
            )


def _warn_of_unused_parts(cfg: Any) -> None:
    """Warn about keys of parts that the config does not choose, such as another assigner.

    :func:`retina_plugin.data.training.check_transforms` does this for transforms.
    """
    for registry in REGISTRIES:
        by_name = registry.choice_key == f"{registry.node}.NAME"
        for chosen in registry.chosen(cfg) if by_name else ():
            for key in registry.unused_keys(cfg, [chosen]):
                logger.warning(
                    "%s has no effect, because %s is %s", key, registry.choice_key, chosen
                )


def warn_of_unused_augmentation(cfg: Any) -> None:
    """Warn about keys of test-time augmentation that are changed while it is switched off."""
    if cfg.MODEL.META_ARCHITECTURE != "FocalRetinaNet" or cfg.TEST.AUG.ENABLED:
        return
    values, defaults = dict(leaves(cfg)), {**DETECTRON2_KEYS, **PLUGIN_KEYS}
    changed = [
        key
        for key, definition in defaults.items()
        if key.startswith(("TEST.AUG.", f"{NODE}.TEST.AUG."))
        and not is_same_value(values[key], definition.default)
    ]
    if changed:
        logger.warning(
            "TEST.AUG.ENABLED is False, so %s has no effect: set TEST.AUG.ENABLED True",
            ", ".join(changed),
        )
