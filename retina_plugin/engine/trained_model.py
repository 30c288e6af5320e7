"""Load a trained model from a run folder, or from a checkpoint and its config."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retina_plugin.checkpoint import (
    WeightsError,
    class_names_of,
    match_parameters,
    metadata_of,
    read_checkpoint,
)
from retina_plugin.config import get_cfg
from retina_plugin.config.conflicts import warn_of_unused_augmentation
from retina_plugin.config.errors import ConfigError
from retina_plugin.data import DatasetError, evaluated_sets, load_dataset
from retina_plugin.engine import hosts
from retina_plugin.engine.read_config import read_config
from retina_plugin.engine.resume import CONFIG
from retina_plugin.engine.run_images import set_pixel_range_from_metadata
from retina_plugin.engine.run_weights import weights_of_run
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.retinanet import RetinaNet

CLASSES = "MODEL.RETINANET.NUM_CLASSES"


@dataclass(frozen=True)
class TrainedModel:
    """A model with its weights, and what is needed to use it.

    Attributes:
        model: in evaluation mode, on ``MODEL.DEVICE``.
        cfg: its config. PIXEL_RANGE is that of the checkpoint, if the key is auto.
        class_names: K names; "class 0", "class 1", ... if they are unknown.
        score_thresholds: {class name: score} from the checkpoint; classes may be missing.
        checkpoint: path of the checkpoint.
        config_source: where the config is from, for messages.
        metadata: the metadata of the checkpoint.
    """

    model: RetinaNet
    cfg: Any
    class_names: list[str]
    score_thresholds: dict[str, float]
    checkpoint: str
    config_source: str
    metadata: Mapping[str, Any]


def load_trained_model(
    path: str | None, *, config_file: str | None = None, overrides: Sequence[Any] = ()
) -> TrainedModel:
    """Load a trained model.

    Args:
        path: a run folder, for which ``retina eval`` would use the same checkpoint; a checkpoint,
            or an address of one; or None for MODEL.WEIGHTS of ``config_file``.
        config_file: a YAML file, or the name of a packaged config. None: ``config.yaml`` of the run
            folder; for a checkpoint the config that is stored in it, else ``config.yaml`` in its
            folder.
        overrides: ``[KEY, VALUE, KEY, VALUE, ...]``, merged last.

    Raises:
        WeightsError: there is no checkpoint, it cannot be read, or it is of another model.
        ConfigError: no config is found, or it cannot be used.
    """
    if path is not None and os.path.isdir(path):
        found = weights_of_run(path, other="a checkpoint")
        path, config_file = found.path, config_file or found.config_file
    cfg = _read(config_file, overrides) if config_file or path is None else None
    path = cfg.MODEL.WEIGHTS if path is None and cfg is not None else path
    if not path:
        raise WeightsError("no checkpoint: add --weights path/to/model_final.pth")
    checkpoint = read_checkpoint(path)
    metadata = metadata_of(checkpoint)
    if cfg is None:
        config_file, stored = _own_config(metadata, path)
        cfg = _read(config_file, [*stored, *overrides])
    warn_of_unused_augmentation(cfg)
    set_pixel_range_from_metadata(cfg, metadata, path)
    names = _class_names(cfg, metadata, path)
    model = build_model(cfg)
    match_parameters(model, checkpoint, path).load_into(model)
    return TrainedModel(
        model=model.eval(),
        cfg=cfg,
        class_names=names,
        score_thresholds=_score_thresholds(metadata, path),
        checkpoint=path,
        config_source=config_file or path,
        metadata=metadata,
    )


def _read(config_file: str | None, overrides: Sequence[Any]) -> Any:
    """Read a config with the keys of this package, or with those of Detectron2 if it has some.

    Importing Detectron2 takes seconds.
    """
    try:
        return read_config(get_cfg(), config_file, overrides)
    except ConfigError:
        if hosts.detectron2_problem() is not None:
            raise
    from retina_plugin import get_cfg as get_cfg_of_detectron2

    return read_config(get_cfg_of_detectron2(), config_file, overrides)


def _own_config(metadata: Mapping[str, Any], path: str) -> tuple[str | None, list[Any]]:
    """Return the config of a checkpoint: ``config.yaml`` in its folder, or the stored config as
    ``[KEY, VALUE, ...]``."""
    stored = metadata.get("config")
    if stored is None:
        beside = os.path.join(os.path.dirname(path), CONFIG)
        if os.path.isfile(beside):
            return beside, []
        raise ConfigError(
            f"{path} has no config, and there is no {CONFIG} in its folder: give the config of its "
            "training with --config-file, or config_file= in Python. Checkpoints of newer runs "
            "contain their config."
        )
    if not isinstance(stored, Mapping) or not all(isinstance(key, str) for key in stored):
        raise WeightsError(
            f"{path}: expected {{key: value}} as config in its metadata, found {stored!r:.100}"
        )
    return None, [word for pair in stored.items() for word in pair]


def _class_names(cfg: Any, metadata: Mapping[str, Any], path: str) -> list[str]:
    """Return K class names, from the checkpoint, else from the data sets of the config, else
    numbers; and set NUM_CLASSES if it is -1."""
    names = class_names_of(metadata, path) or list(_names_from_data(cfg))
    if cfg.MODEL.RETINANET.NUM_CLASSES == -1:
        if not names:
            raise WeightsError(f"{path} does not name its classes: set {CLASSES} to their number")
        cfg.MODEL.RETINANET.NUM_CLASSES = len(names)
    count = cfg.MODEL.RETINANET.NUM_CLASSES
    return names if len(names) == count else [f"class {i}" for i in range(count)]


def _names_from_data(cfg: Any) -> Sequence[str]:
    for name in (*evaluated_sets(cfg), *cfg.DATASETS.TRAIN):
        try:
            return load_dataset(name).class_names
        except DatasetError:
            continue  # the data set need not be on this machine
    return ()


def _score_thresholds(metadata: Mapping[str, Any], path: str) -> dict[str, float]:
    found = metadata.get("score_thresholds", {})
    if isinstance(found, Mapping) and all(
        isinstance(name, str) and isinstance(score, float) and 0 <= score <= 1
        for name, score in found.items()
    ):
        return dict(found)
    raise WeightsError(
        f"{path}: expected {{class name: score}} as score_thresholds in its metadata, found "
        f"{found!r:.100}"
    )
