"""The interface of a loaded file, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class Session(Protocol):
    """Runs the network of an exported file on the CPU."""

    metadata: Mapping[str, str]  # of the file

    def run(self, images: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name for normalised images (N, 3, H, W)."""
