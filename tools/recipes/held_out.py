"""The data of a comparison: the test set of the base, or a part of its training images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from retina_plugin.config.errors import ConfigError
from retina_plugin.data import final_sets, load_dataset
from retina_plugin.data.box_coordinates import KEY as BOX_COORDINATES
from retina_plugin.data.coco_file import write_coco_file
from retina_plugin.data.evaluation_sets import VALIDATION
from retina_plugin.data.split import split_dataset
from retina_plugin.engine.checks import prepare_data

SEED = 1  # seed of the split
MIN_IMAGES = 2  # with fewer, AP has no interval


def data_overrides(cfg: Any, held_out: float, folder: Path) -> list[str]:
    """Return the overrides that set the data of every run.

    With ``held_out``, two COCO files are written into ``folder``: the training images, and the
    images on which the runs are evaluated. The split is that of
    :func:`retina_plugin.data.split.split_dataset`: stratified by class, with copies and near-copies
    on one side.

    Args:
        cfg: the base config.
        held_out: the fraction of the training images to evaluate on; 0: the test set.
        folder: an existing folder.

    Raises:
        ConfigError: there is not exactly one set to split or to evaluate on, or that set has fewer
            than two images.
        DatasetError: a data set cannot be read or split.
    """
    prepare_data(cfg)
    training: list[str] = list(cfg.DATASETS.TRAIN)
    if held_out:
        training, evaluation, others = _split(training, held_out, folder)
    else:
        evaluation, others = _test_set(cfg), []
    images = len(load_dataset(evaluation).records)
    if images < MIN_IMAGES:
        raise ConfigError(
            f"{evaluation}: expected at least {MIN_IMAGES} images to evaluate on, found {images}"
        )
    sets = {"DATASETS.TRAIN": tuple(training), "DATASETS.TEST": (evaluation,), VALIDATION: ()}
    return [word for key, names in sets.items() for word in (key, str(names))] + others


def _test_set(cfg: Any) -> str:
    names = final_sets(cfg)
    if len(names) != 1:
        raise ConfigError(
            f"DATASETS.TEST: a comparison needs one set to evaluate on, found {len(names)}"
            f"{': ' + ', '.join(names) if names else ''}. Name one, or set held_out"
        )
    return names[0]


def _split(training: list[str], held_out: float, folder: Path) -> tuple[list[str], str, list[str]]:
    """Write the two parts of the training set; return their names and more overrides."""
    if len(training) != 1:
        raise ConfigError(
            f"DATASETS.TRAIN: held_out splits one training set, found {len(training)}"
            f"{': ' + ', '.join(training) if training else ''}"
        )
    dataset = load_dataset(training[0])
    split = split_dataset(dataset, fraction=held_out, seed=SEED)
    print("\n".join(split.notes), flush=True)
    paths = {"training": split.training, "held_out": split.validation}
    for name, indices in paths.items():
        write_coco_file(dataset, indices, str(folder / f"{name}.json"))
    first, second = (f"{os.path.abspath(folder / name)}.json@" for name in paths)
    return [first], second, [BOX_COORDINATES, ""]  # the files have COCO's coordinates
