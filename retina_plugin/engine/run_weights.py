"""Choose the checkpoint of a run folder to use."""

from __future__ import annotations

import os
from typing import NamedTuple

from retina_plugin.checkpoint import WeightsError
from retina_plugin.config import get_cfg
from retina_plugin.config.errors import ConfigError
from retina_plugin.engine.checkpoints import BEST, newest_checkpoint
from retina_plugin.engine.read_config import merge
from retina_plugin.engine.resume import CONFIG


class RunWeights(NamedTuple):
    """The checkpoint of a run folder.

    Attributes:
        path: the checkpoint.
        config_file: the ``config.yaml`` of the folder.
        reason: why it is this checkpoint, as " (...)"; empty if it is the last one.
    """

    path: str
    config_file: str
    reason: str = ""


def config_of_run(folder: str, *, other: str) -> str:
    """Return the path of a run folder's ``config.yaml``.

    Args:
        folder: the folder.
        other: what the user can give instead of a folder, for the message.

    Raises:
        ConfigError: there is no such file.
    """
    config_file = os.path.join(folder, CONFIG)
    if not os.path.isfile(config_file):
        kind = f"has no {CONFIG}" if os.path.isdir(folder) else "is not a folder"
        raise ConfigError(f"{folder} {kind}: expected the folder of a run, or {other}")
    return config_file


def weights_of_run(folder: str, *, other: str) -> RunWeights:
    """Return ``model_best.pth`` if the run chose it on ``DATASETS.VALIDATION``, else the last
    checkpoint of the folder.

    Args:
        folder, other: see :func:`config_of_run`.

    Raises:
        ConfigError: the folder has no config.
        WeightsError: the folder has no checkpoint, or none that can be read.
    """
    config_file, best = config_of_run(folder, other=other), os.path.join(folder, BEST)
    if os.path.isfile(best):
        cfg = merge(get_cfg(), config_file, [])
        if cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION:
            reason = " (chosen on MODEL.RETINA_PLUGIN.DATASETS.VALIDATION)"
            return RunWeights(best, config_file, reason)
    newest = newest_checkpoint(folder, report=print)
    if newest is None:
        raise WeightsError(f"{folder} has no checkpoint: add --weights FILE")
    return RunWeights(newest, config_file)
