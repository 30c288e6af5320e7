"""Read a run folder for its report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retina_plugin.checkpoint import metadata_of, read_checkpoint
from retina_plugin.config import get_cfg
from retina_plugin.config.errors import ConfigError
from retina_plugin.data import (
    Dataset,
    DatasetError,
    class_counts,
    final_sets,
    load_dataset,
    validation_sets,
)
from retina_plugin.data.trained_images import trained_images
from retina_plugin.engine.checks import prepare_data
from retina_plugin.engine.metrics_log import read_scalars
from retina_plugin.engine.read_config import merge
from retina_plugin.engine.resume import CONFIG, completed_steps
from retina_plugin.evaluation.analysis import Analysis, analyse
from retina_plugin.evaluation.read_results import read_checked_results
from retina_plugin.evaluation.results import RESULTS_FILE, results_folder
from retina_plugin.report.ending import reported_checkpoint
from retina_plugin.report.page.weights_of_results import origin_of_results, other_classes


@dataclass(frozen=True)
class RunReport:
    """A run and the analyses of its last evaluation.

    Attributes:
        folder: the run folder.
        cfg: config of the run; OUTPUT_DIR is the folder.
        checkpoint: path of the best or last checkpoint; None if the folder has none.
        step: completed steps of the evaluated weights; None if they are unknown.
        is_of_checkpoint: whether the evaluated weights are those of the checkpoint.
        metadata: metadata of the checkpoint; empty without one.
        analyses: one for each evaluated data set with ground truth and results; may be empty.
        scalars: see :func:`retina_plugin.engine.metrics_log.read_scalars`; may be empty.
        training_counts: {class name: number of boxes in the training sets}; empty if they cannot be
            read.
        notes: why something is missing in the report.
    """

    folder: str
    cfg: Any
    checkpoint: str | None
    step: int | None
    is_of_checkpoint: bool
    metadata: Mapping[str, Any]
    analyses: list[Analysis]
    scalars: dict[str, dict[int, float]]
    training_counts: dict[str, int]
    notes: list[str]

    @property
    def validation_sets(self) -> list[str]:
        return validation_sets(self.cfg)


def read_run(folder: str) -> RunReport:
    """Read a run folder, and analyse its last evaluation.

    Raises:
        ConfigError: the folder has no config, or it has neither results nor metrics.
        DatasetError: a data set cannot be read, or the results belong to another data set.
        WeightsError: the checkpoint cannot be read.
    """
    cfg = _read_cfg(folder)
    scalars = read_scalars(folder)
    path = reported_checkpoint(cfg)
    checkpoint = read_checkpoint(path) if os.path.isfile(path) else {}
    metadata = metadata_of(checkpoint)
    notes: list[str] = []
    datasets = _datasets_with_results(cfg, notes)
    if not datasets and not scalars:
        raise ConfigError(f"{folder} has nothing to report: {' '.join(notes)}")
    training = _training_sets(cfg, notes)
    trained_on = [record for one in training for record in one.records]
    analyses = [
        analyse(
            dataset,
            read_checked_results(dataset, _results_path(cfg, dataset.name)),
            max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
            thresholds=metadata.get("score_thresholds"),
            trained=trained_images(dataset.records, trained_on),
        )
        for dataset in datasets
    ]
    step = completed_steps(checkpoint) or None if checkpoint else None
    origins = [
        origin_of_results(cfg, analysis, scalars, checkpoint=path, step=step)
        for analysis in analyses
        if step is not None
    ]
    notes += dict.fromkeys(origin.note for origin in origins if origin.note)
    notes += filter(None, (other_classes(path, metadata, dataset) for dataset in datasets))
    return RunReport(
        folder=folder,
        cfg=cfg,
        checkpoint=path if checkpoint else None,
        step=origins[0].step if origins else step,
        is_of_checkpoint=bool(checkpoint) and not any(origin.note for origin in origins),
        metadata=metadata,
        analyses=analyses,
        scalars=scalars,
        training_counts=_training_counts(training),
        notes=notes,
    )


def require_run(folder: str) -> None:
    """Raise a ConfigError if a folder is not that of a run."""
    if not os.path.isfile(os.path.join(folder, CONFIG)):
        kind = f"has no {CONFIG}" if os.path.isdir(folder) else "is not a folder"
        raise ConfigError(f"{folder} {kind}: expected the folder of a run")


def _read_cfg(folder: str) -> Any:
    require_run(folder)
    cfg = merge(get_cfg(), os.path.join(folder, CONFIG), ["OUTPUT_DIR", folder])
    prepare_data(cfg)
    return cfg


def _results_path(cfg: Any, name: str) -> str:
    return os.path.join(results_folder(cfg, name), RESULTS_FILE)


def _datasets_with_results(cfg: Any, notes: list[str]) -> list[Dataset]:
    """Return the evaluated data sets that have results and ground truth.

    A note says why another data set is left out.
    """
    names = final_sets(cfg)
    if not names:
        notes.append(
            "The run has no validation images: MODEL.RETINA_PLUGIN.DATASETS.VALIDATION and "
            "DATASETS.TEST are empty."
        )
    found = []
    for name in names:
        path = _results_path(cfg, name)
        if not os.path.isfile(path):
            notes.append(
                f"There are no results of {name}: {path} does not exist, because the run was "
                f"interrupted or has not evaluated. retina eval {cfg.OUTPUT_DIR} writes it."
            )
        elif not (dataset := _load(name, cfg)).has_ground_truth:
            notes.append(f"{name} has no annotations, so its detections cannot be evaluated.")
        else:
            found.append(dataset)
    return found


def _load(name: str, cfg: Any) -> Dataset:
    try:
        return load_dataset(name)
    except DatasetError as error:
        raise DatasetError(
            f"{cfg.OUTPUT_DIR}: {error} Relative paths in its {CONFIG} start in the folder where "
            "the run was started: start the report there too."
        ) from error


def _training_sets(cfg: Any, notes: list[str]) -> list[Dataset]:
    """Return the training sets; none if one of them cannot be read, as a note says."""
    try:
        return [load_dataset(name) for name in cfg.DATASETS.TRAIN]
    except DatasetError as error:
        notes.append(
            f"The training images could not be read, so likely label errors can be in images that "
            f"the model was trained on: {error}"
        )
        return []


def _training_counts(training: list[Dataset]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for dataset in training:
        numbers = class_counts(dataset.records, dataset.num_classes)
        for class_name, number in zip(dataset.class_names, numbers, strict=True):
            counts[class_name] = counts.get(class_name, 0) + number
    return counts
