"""Read checkpoints without running code from them, and load them into a model.

``sources`` finds or downloads the file of an address. ``read`` and ``unpickle`` turn a file into
tensors. ``formats`` renames the parameters of other programs to the names that this project uses,
which are Detectron2's and timm's. ``match`` compares them with a model's parameters, ``mismatch``
describes the differences, and ``load`` combines these steps. Both hosts and
:func:`retina_plugin.load_weights` use ``load``.
"""

from retina_plugin.checkpoint.errors import WeightsError
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
from retina_plugin.checkpoint.read import (
    download_hint,
    local_file,
    read_checkpoint,
    require_file,
)

__all__ = [
    "CheckpointMatch",
    "WeightsError",
    "checkpoint_metadata",
    "class_names_of",
    "download_hint",
    "load_initial_weights",
    "load_weights",
    "local_file",
    "match_for_training",
    "match_parameters",
    "metadata_of",
    "read_checkpoint",
    "require_file",
    "warn_if_classes_differ",
]
