"""Find the evaluated images that the model was trained on."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import numpy as np

from retina_plugin.data import Dataset


def trained_images(dataset: Dataset, training: Sequence[Dataset]) -> np.ndarray:
    """Return (I,) bool, whether the file of an image is also in a training set.

    The names of the sets may differ, as those of a training set and of a part of it.

    Args:
        dataset: the evaluated data set.
        training: the training sets.
    """
    files = {_real_path(record["file_name"]) for one in training for record in one.records}
    return np.array([_real_path(record["file_name"]) in files for record in dataset.records])


def _real_path(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(_real_folder(folder), name)


@functools.lru_cache(maxsize=1024)
def _real_folder(path: str) -> str:
    return os.path.realpath(path)
