"""Say that a run evaluates images that it is trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from retina_plugin.data import evaluated_sets
from retina_plugin.data.trained_images import trained_images
from retina_plugin.engine.host import Records


def trained_images_note(cfg: Any, records_of: Callable[[str], Records]) -> str:
    """Return a line for each evaluated set with images of the training sets; empty if none has any.

    Args:
        cfg: the config of a run that trains.
        records_of: returns the records of a data set, given its name.
    """
    training = [record for name in cfg.DATASETS.TRAIN for record in records_of(name)]
    lines = []
    for name in evaluated_sets(cfg):
        trained = trained_images(records_of(name), training)
        if trained.any():
            lines.append(
                f"{name}: {trained.sum()} of {len(trained)} images are also training images, so "
                "its results are better than on new images. Evaluate images that are not in "
                "DATASETS.TRAIN (with --data, leave out --val to split some off)."
            )
    return "\n".join(lines)
