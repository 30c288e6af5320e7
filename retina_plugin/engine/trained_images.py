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
    lines = (trained_images_line(n, records_of(n), training) for n in evaluated_sets(cfg))
    return "\n".join(filter(None, lines))


def trained_images_line(name: str, records: Records, training: Records) -> str:
    """Return a line if an evaluated set has training images, otherwise "".

    Args:
        name: the name of the evaluated set.
        records: its records.
        training: the records of the training images.
    """
    trained = trained_images(records, training)
    if not trained.any():
        return ""
    return (
        f"{name}: {trained.sum()} of {len(trained)} images are also training images, so its "
        "results are better than on new images. Evaluate images that are not in DATASETS.TRAIN "
        "(with --data, leave out --val to split some off)."
    )
