"""The network's view of a data set: image sizes after resizing, and the limit of detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from retina_plugin.modeling.preprocessing import resized_shape


@dataclass(frozen=True)
class NetworkView:
    """The input size and the limit of detections of a run.

    Attributes:
        min_size, max_size: the resized shorter and longer side, see
            :func:`retina_plugin.modeling.preprocessing.resized_shape`.
        detections: largest number of detections per image.
        slice_size: side of the slices into which images are cut before they are resized; 0 for
            whole images.
    """

    min_size: int
    max_size: int
    detections: int
    slice_size: int = 0

    @classmethod
    def from_config(cls, cfg: Any) -> NetworkView:
        """Take the values from a config."""
        return cls(
            cfg.INPUT.MIN_SIZE_TEST,
            cfg.INPUT.MAX_SIZE_TEST,
            cfg.TEST.DETECTIONS_PER_IMAGE,
            cfg.MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE,
        )

    def scales(self, sizes: np.ndarray) -> np.ndarray:
        """Return (N,) resized height / original height, given (N, 2) width and height; with
        slices, resized / original height of a slice."""
        known: dict[tuple[int, int], float] = {}
        for width, height in {(int(w), int(h)) for w, h in sizes}:
            limit = self.slice_size or max(height, width)
            part = min(height, limit), min(width, limit)
            shape = resized_shape(*part, self.min_size, self.max_size)
            known[width, height] = shape[0] / part[0]
        return np.array([known[int(w), int(h)] for w, h in sizes], dtype=np.float64)
