"""Add entries to the metadata of a checkpoint that is already written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from retina_plugin.checkpoint.checksum import save_with_checksum, saved_size
from retina_plugin.checkpoint.load import metadata_of
from retina_plugin.checkpoint.read import read_checkpoint
from retina_plugin.config.files import atomic_file


def add_metadata(path: str, entries: Mapping[str, Any]) -> None:
    """Rewrite a checkpoint of this project with more entries in its metadata.

    The rest of the file is unchanged.

    Args:
        path: a ``.pth`` file of either host.
        entries: numbers, texts, lists and dicts; they replace entries of the same name.

    Raises:
        WeightsError: the file is missing or broken.
        DiskError: the file cannot be written. Its content is unchanged.
    """
    metadata = {**metadata_of(read_checkpoint(path)), **entries}
    # read the file again, because read_checkpoint changes the types of some entries
    content = {**torch.load(path, map_location="cpu", weights_only=True), "metadata": metadata}
    with atomic_file(path, size=lambda: saved_size(content)) as draft:
        save_with_checksum(content, draft)
