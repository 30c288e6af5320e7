"""The extra file with the metadata inside the files of ``torch.export`` and TorchScript."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

METADATA = "metadata.json"  # {key: text, "outputs": names of the outputs}


def to_extra_file(metadata: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the extra file, {name: content}, for metadata and the names of the outputs."""
    return {METADATA: json.dumps({**metadata, "outputs": " ".join(names)})}


def from_extra_file(files: Mapping[str, str]) -> tuple[Mapping[str, str], list[str]]:
    """Return the metadata, and the names of the outputs; both empty if the file has none."""
    content = files[METADATA]
    metadata: Mapping[str, str] = json.loads(content) if content else {}
    return metadata, metadata.get("outputs", "").split()
