"""The interface of trackers."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TrackedImage:
    """A validation image.

    Attributes:
        name: the name of its file.
        pixels: (H, W, 3) uint8 RGB.
        ground_truth: {"bbox" XYXY in pixels, "category_id" 0..K-1} of each box.
        detections: the same with "score", best first.
        class_names: K names.
    """

    name: str
    pixels: np.ndarray
    ground_truth: Sequence[Mapping[str, Any]]
    detections: Sequence[Mapping[str, Any]]
    class_names: Sequence[str]


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker needs to start.

    Attributes:
        folder: ``OUTPUT_DIR``.
        tracker_id: the id that :meth:`Tracker.start` has returned when the run was started; None
            for a new run.
        config: {dotted key: value}.
    """

    folder: str
    tracker_id: str | None
    config: Mapping[str, Any]


class Tracker(ABC):
    """A program that gets the values of a run.

    The constructor gets the tracker's config keys, and must be fast: it is also called to check
    that the library is installed. Every other method may raise any error.
    """

    @abstractmethod
    def start(self, run: TrackedRun) -> str:
        """Start tracking, or continue the tracked run ``run.tracker_id``; return its id.

        It must not ask the user anything, and may use the network only if a key says so.
        """

    @abstractmethod
    def log_scalars(self, values: Mapping[str, float], *, step: int) -> None:
        """Log finite values after ``step`` completed steps. Steps may come in any order."""

    @abstractmethod
    def log_images(self, images: Sequence[TrackedImage], *, step: int) -> None:
        """Log images with boxes, in the tracker's own format."""

    @abstractmethod
    def finish(self, *, completed: bool) -> None:
        """End tracking; ``completed`` is False if the run ends with an error or a signal."""


def require_library(module: str) -> None:
    """Check that the library of a tracker is installed; its extra has the same name.

    Raises:
        ImportError: it is not.
    """
    if importlib.util.find_spec(module) is None:
        raise ImportError(
            f"MODEL.RETINA_PLUGIN.TRACKING.TRACKERS names {module}, which is not installed: "
            f"pip install 'retina_plugin[{module}]'"
        )
