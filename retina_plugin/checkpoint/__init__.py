"""Checkpoints: read without running them, in the names of every zoo that has RetinaNets or their
backbones, and fitted to a model.

``unpickle`` and ``read`` turn a file into tensors, ``layouts`` turns their names into this
project's, ``fit`` compares them with a model's, ``explain`` says what differs, ``load`` puts it
together. Both hosts and :func:`retina_plugin.load_weights` go this way.
"""

from retina_plugin.checkpoint.load import (
    checkpoint_metadata,
    class_names_of,
    fit_to_start,
    load_weights,
    match_parameters,
    metadata_of,
    start_from,
    warn_of_other_classes,
)
from retina_plugin.checkpoint.match import CheckpointMatch
from retina_plugin.checkpoint.read import WeightsError, read_checkpoint, require_file, source_of

__all__ = [
    "CheckpointMatch",
    "WeightsError",
    "checkpoint_metadata",
    "class_names_of",
    "fit_to_start",
    "load_weights",
    "match_parameters",
    "metadata_of",
    "read_checkpoint",
    "require_file",
    "source_of",
    "start_from",
    "warn_of_other_classes",
]
