"""Checkpoints: read without running them, in the names of every zoo that has RetinaNets or their
backbones, and fitted to a model.

``unpickle`` and ``read`` turn a file into tensors, ``layouts`` turns their names into this
project's, ``fit`` compares them with a model's, ``explain`` says what differs, ``load`` puts it
together. Both hosts and :func:`retina_plugin.load_weights` go this way.
"""

from retina_plugin.checkpoint.load import (
    checkpoint_metadata,
    class_names_of,
    load_initial_weights,
    load_weights,
    match_for_training,
    match_parameters,
    metadata_of,
    warn_if_classes_differ,
)
from retina_plugin.checkpoint.match import CheckpointMatch
from retina_plugin.checkpoint.read import WeightsError, download_hint, read_checkpoint, require_file

__all__ = [
    "CheckpointMatch",
    "WeightsError",
    "checkpoint_metadata",
    "class_names_of",
    "download_hint",
    "load_initial_weights",
    "load_weights",
    "match_for_training",
    "match_parameters",
    "metadata_of",
    "read_checkpoint",
    "require_file",
    "warn_if_classes_differ",
]
