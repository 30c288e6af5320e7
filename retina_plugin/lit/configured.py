"""Callbacks and loggers that a config names, ``MODEL.RETINA_PLUGIN.LIGHTNING``."""

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
from retina_plugin.engine.summary import LOG_PERIOD

BASE_CLASSES = {"CALLBACKS": Callback, "LOGGERS": Logger}

AVERAGES = 'its averages are not in the checkpoint\'s "model", which is what is evaluated later'
# Callbacks of Lightning that would spoil a run -> why; by name, as not every version has all.
REFUSED = {
    "BackboneFinetuning": "MODEL.BACKBONE.FREEZE_AT says which stages learn",
    "BatchSizeFinder": "SOLVER.IMS_PER_BATCH is the batch, and the learning rate goes with it",
    "GradientAccumulationScheduler": "a step is SOLVER.IMS_PER_BATCH images",
    "LearningRateFinder": "SOLVER.BASE_LR is the learning rate",
    "ModelPruning": "it renames the parameters, so that no checkpoint fits",
    "StochasticWeightAveraging": AVERAGES,
    "ThroughputMonitor": "it takes a function, which YAML cannot give",
    "WeightAveraging": AVERAGES,
}


def check_classes(cfg: Any) -> None:
    """Import every class that the config names, and compare its arguments; nothing is constructed,
    as loggers may open connections.

    Raises:
        ConfigError: a class that cannot be imported, is of another kind, or does not take the
            arguments; the entry is named.
    """
    for key in BASE_CLASSES:
        for number, entry in enumerate(cfg.MODEL.RETINA_PLUGIN.LIGHTNING[key]):
            found = _import_class(key, number, entry)
            try:
                inspect.signature(found).bind(**entry.get("init_args", {}))
            except TypeError as error:
                raise ConfigError(
                    f"{_entry_name(key, number)}: {entry['class_path']} cannot have these "
                    f"init_args: {error}. It takes {inspect.signature(found)}"
                ) from error


def check_monitors(callbacks: Sequence[Callback], cfg: Any, class_names: Sequence[str]) -> None:
    """Make sure that what callbacks such as EarlyStopping wait for is measured in the run; they
    themselves find out after the first evaluation, or never.

    Args:
        callbacks: from :func:`build_callbacks`.
        cfg: of the run.
        class_names: K names.

    Raises:
        ConfigError: nobody measures it, unless a callback from elsewhere may do so.
    """
    if any(not type(callback).__module__.startswith("lightning.") for callback in callbacks):
        return
    metrics = ("AP", "AP50", "AP75", "APs", "APm", "APl", *(f"AP-{name}" for name in class_names))
    sets = [f"{name}/" for name in cfg.DATASETS.TEST] if len(cfg.DATASETS.TEST) > 1 else [""]
    measured = [f"{name}bbox/{metric}" for name in sets for metric in metrics]
    known = {"total_loss", "lr", "time", *measured}
    for number, callback in enumerate(callbacks):
        monitor = getattr(callback, "monitor", None)
        if monitor is None:
            continue
        if monitor not in known and not monitor.startswith("loss_"):  # criteria name their losses
            raise ConfigError(
                f"{_entry_name('CALLBACKS', number)}: monitor: nothing is called {monitor!r}. "
                f"{nearest_names(monitor, known)}"
            )
        # EarlyStopping looks at its metric after each evaluation
        least = 1 if monitor in measured else LOG_PERIOD
        if isinstance(callback, EarlyStopping) and least > cfg.TEST.EVAL_PERIOD:
            raise ConfigError(
                f"{_entry_name('CALLBACKS', number)}: EarlyStopping looks at {monitor} after each "
                f"evaluation. TEST.EVAL_PERIOD, the steps between evaluations, is "
                f"{cfg.TEST.EVAL_PERIOD}: set it to {least} or more"
            )


def build_callbacks(cfg: Any) -> list[Callback]:
    """The callbacks of ``LIGHTNING.CALLBACKS``, constructed.

    Raises:
        ConfigError: see :func:`check_classes`; or a constructor fails.
    """
    return _construct(cfg, "CALLBACKS")


def build_loggers(cfg: Any) -> list[Logger]:
    """The loggers of ``LIGHTNING.LOGGERS``, likewise."""
    return _construct(cfg, "LOGGERS")


def _construct(cfg: Any, key: str) -> list[Any]:
    parts = []
    for number, entry in enumerate(cfg.MODEL.RETINA_PLUGIN.LIGHTNING[key]):
        try:
            parts.append(_import_class(key, number, entry)(**entry.get("init_args", {})))
        # whatever a constructor raises; ModuleNotFoundError where a logger's package is missing
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
