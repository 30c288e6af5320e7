"""Create the callbacks and loggers of ``MODEL.RETINA_PLUGIN.LIGHTNING``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import Any

from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.keys import NODE
from retina_plugin.config.registry import nearest_names
from retina_plugin.engine.best_model import measured_metrics
from retina_plugin.engine.summary import LOG_PERIOD

BASE_CLASSES = {"CALLBACKS": Callback, "LOGGERS": Logger}

AVERAGES = 'the averaged weights are not in the checkpoint\'s "model", which --eval-only evaluates'
# Names of Lightning's callbacks that do not work here -> reason. No version of Lightning has all.
REFUSED = {
    "BackboneFinetuning": "MODEL.BACKBONE.FREEZE_AT selects the stages that are trained",
    "BatchSizeFinder": "SOLVER.IMS_PER_BATCH is the batch size; the learning rate is chosen for it",
    "GradientAccumulationScheduler": "a step is SOLVER.IMS_PER_BATCH images",
    "LearningRateFinder": "SOLVER.BASE_LR is the learning rate",
    "ModelPruning": "it renames the parameters, and checkpoints no longer match",
    "StochasticWeightAveraging": AVERAGES,
    "ThroughputMonitor": "it takes a function, which YAML cannot give",
    "WeightAveraging": AVERAGES,
}


def check_classes(cfg: Any) -> None:
    """Import every class that the config names and check its arguments. No object is created,
    because a logger may open a connection.

    Raises:
        ConfigError: a class cannot be imported, is neither a callback nor a logger, cannot be used
            here, or does not accept the arguments. The message names the entry.
    """
    for key in BASE_CLASSES:
        for number, entry in enumerate(cfg.MODEL.RETINA_PLUGIN.LIGHTNING[key]):
            found = _import_class(key, number, entry)
            try:
                inspect.signature(found).bind(**entry.get("init_args", {}))
            except TypeError as error:
                raise ConfigError(
                    f"{_entry_name(key, number)}: {entry['class_path']} does not accept these "
                    f"init_args: {error}. It takes {inspect.signature(found)}"
                ) from error


def check_monitors(callbacks: Sequence[Callback], cfg: Any, class_names: Sequence[str]) -> None:
    """Check that the run logs the values that callbacks such as EarlyStopping monitor. Lightning
    would report a wrong name after the first evaluation, or never.

    Nothing is checked if a callback does not come from Lightning, because it may log any value.

    Args:
        callbacks: the result of :func:`build_callbacks`.
        cfg: the config of the run.
        class_names: K names.

    Raises:
        ConfigError: a monitored value is not logged, or EarlyStopping reads it before it is
            logged.
    """
    if any(not type(callback).__module__.startswith("lightning.") for callback in callbacks):
        return
    measured = measured_metrics(cfg, class_names)
    known = {"total_loss", "lr", "time", *measured}
    for number, callback in enumerate(callbacks):
        monitor = getattr(callback, "monitor", None)
        if monitor is None:
            continue
        if monitor not in known and not monitor.startswith("loss_"):  # a loss of the criterion
            raise ConfigError(
                f"{_entry_name('CALLBACKS', number)}: monitor: {monitor!r} is not logged. "
                f"{nearest_names(monitor, known)}"
            )
        # EarlyStopping reads its value after each evaluation
        least = 1 if monitor in measured else LOG_PERIOD
        if isinstance(callback, EarlyStopping) and least > cfg.TEST.EVAL_PERIOD:
            raise ConfigError(
                f"{_entry_name('CALLBACKS', number)}: EarlyStopping reads {monitor} after each "
                f"evaluation. TEST.EVAL_PERIOD, the steps between evaluations, is "
                f"{cfg.TEST.EVAL_PERIOD}: set it to {least} or more"
            )


def build_callbacks(cfg: Any) -> list[Callback]:
    """Create the callbacks of ``LIGHTNING.CALLBACKS``.

    Raises:
        ConfigError: see :func:`check_classes`; or a constructor fails.
    """
    return _construct(cfg, "CALLBACKS")


def build_loggers(cfg: Any) -> list[Logger]:
    """Create the loggers of ``LIGHTNING.LOGGERS``; see :func:`build_callbacks`."""
    return _construct(cfg, "LOGGERS")


def _construct(cfg: Any, key: str) -> list[Any]:
    parts = []
    for number, entry in enumerate(cfg.MODEL.RETINA_PLUGIN.LIGHTNING[key]):
        try:
            parts.append(_import_class(key, number, entry)(**entry.get("init_args", {})))
        # e.g. ModuleNotFoundError if the package of a logger is not installed
        except Exception as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"{_entry_name(key, number)}: {entry['class_path']} fails with "
                f"{type(error).__name__}: {error}"
            ) from error
    return parts


def _import_class(key: str, number: int, entry: dict[str, Any]) -> type:
    module, _, name = entry["class_path"].rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    # a module may raise anything while it is imported
    except Exception as error:
        raise ConfigError(
            f"{_entry_name(key, number)}: class_path {entry['class_path']} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, BASE_CLASSES[key])):
        kind = BASE_CLASSES[key].__name__
        raise ConfigError(
            f"{_entry_name(key, number)}: expected a subclass of lightning.pytorch's {kind}, "
            f"found {entry['class_path']}"
        )
    for base in found.__mro__:
        if base.__name__ in REFUSED and base.__module__.startswith("lightning.pytorch.callbacks."):
            raise ConfigError(
                f"{_entry_name(key, number)}: {base.__name__} cannot be used here: "
                f"{REFUSED[base.__name__]}"
            )
    return found


def _entry_name(key: str, number: int) -> str:
    return f"{NODE}.LIGHTNING.{key}, entry {number + 1}"
