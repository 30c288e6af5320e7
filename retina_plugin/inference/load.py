"""Load a detector from a run folder, a checkpoint or an exported file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from retina_plugin.config.errors import ConfigError
from retina_plugin.engine.trained_model import TrainedModel, load_trained_model
from retina_plugin.export.file_kind import is_exported
from retina_plugin.inference.detector import Detector
from retina_plugin.inference.predictor import Predictor

SCORE_FILTER = "MODEL.RETINANET.SCORE_THRESH_TEST"


def load(
    path: str | os.PathLike[str] | None,
    *,
    config_file: str | None = None,
    overrides: Sequence[Any] = (),
    batch_size: int = 1,
) -> Detector:
    """Load a detector.

    Args:
        path: a run folder, a checkpoint or an exported file. For a run folder, the checkpoint is
            the one that ``retina eval`` uses. None for MODEL.WEIGHTS of ``config_file``.
        config_file: the config of a checkpoint from elsewhere. Checkpoints of this project have
            their own config, see :func:`retina_plugin.engine.trained_model.load_trained_model`.
        overrides: ``[KEY, VALUE, KEY, VALUE, ...]``, such as
            ``["MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE", 640]`` for slices of large images. Without
            SCORE_THRESH_TEST, detections are kept down to the lowest stored threshold.
        batch_size: see :class:`Detector`.

    Raises:
        WeightsError: there is no checkpoint, it cannot be read, or it is of another model.
        ConfigError: no config is found, or it cannot be used; or for an exported file a config is
            given, or a key whose value it has fixed.
        ValueError: ``batch_size`` is below 1.
        ExportError, ImportError: an exported file cannot be used; see
            :func:`retina_plugin.export.load.load_exported`.
    """
    name = None if path is None else os.path.expanduser(os.fspath(path))
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, found {batch_size}")
    if name is not None and is_exported(name):
        return Detector(_exported(name, config_file, overrides), batch_size=batch_size)
    trained = load_trained_model(name, config_file=config_file, overrides=overrides)
    if SCORE_FILTER not in overrides[::2]:
        _keep_down_to_thresholds(trained)
    return Detector(Predictor.of_trained(trained), batch_size=batch_size)


def _keep_down_to_thresholds(trained: TrainedModel) -> None:
    """Keep detections down to the lowest stored threshold, if that is below ``SCORE_THRESH_TEST``
    and detections with low scores do not change the others."""
    filtered, views = trained.model.postprocessor, trained.model.views
    lowest = min(trained.score_thresholds.values(), default=1.0)
    if lowest <= filtered.score_threshold and (views is None or views.only_suppresses):
        filtered.score_threshold = 0.99 * lowest  # scores above it are kept


def _exported(path: str, config_file: str | None, overrides: Sequence[Any]) -> Predictor:
    from retina_plugin.export.load import load_exported
    from retina_plugin.export.overrides import merge_overrides

    if config_file:
        raise ConfigError(f"{path} is an exported file with its own config: give no config file")
    exported = load_exported(path)
    merge_overrides(exported.cfg, overrides, path)
    return Predictor(
        exported,
        cfg=exported.cfg,
        class_names=exported.class_names,
        score_thresholds=exported.score_thresholds,
    )
