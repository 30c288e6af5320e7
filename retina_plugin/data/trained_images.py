"""Find the evaluated images that a model is trained on."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def trained_images(
    records: Sequence[Mapping[str, Any]], training: Iterable[Mapping[str, Any]]
) -> np.ndarray:
    """Return (I,) bool, whether the file of an image is also a training image.

    The names of the sets may differ, as those of a training set and of a part of it.

    Args:
        records: the records of the I evaluated images; I may be 0.
        training: the records of the training images.
    """
    files = {_real_path(record["file_name"]) for record in training}
    return np.array([_real_path(record["file_name"]) in files for record in records], dtype=bool)


def _real_path(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(_real_folder(folder), name)


@functools.lru_cache(maxsize=1024)
def _real_folder(path: str) -> str:
    return os.path.realpath(path)
