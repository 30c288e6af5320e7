"""Read video files and webcams with OpenCV."""

from __future__ import annotations

import math
from collections.abc import Iterator
from time import monotonic
from typing import Any

import numpy as np

from retina_plugin.data import DatasetError
from retina_plugin.data.opencv import import_opencv
from retina_plugin.inference.frame_rate import frame_rate
from retina_plugin.inference.source_files import Source, name_of


class OpenCvReader:
    """Decodes a video file, or reads a webcam. Attributes as of
    :class:`retina_plugin.inference.pyav_reader.PyAvReader`; OpenCV estimates the number of frames,
    so only ``seconds`` is set."""

    def __init__(self, source: Source) -> None:
        """
        Args:
            source: a path, or the number of a webcam.

        Raises:
            DatasetError: the source cannot be opened.
            ImportError: OpenCV is not installed.
        """
        self._is_webcam = isinstance(source, int)
        need = "a webcam" if self._is_webcam else "a video without PyAV (pip install av)"
        cv2 = import_opencv(need)
        self._cv2, self.count, self.damaged, self.last_duration = cv2, 0, 0, 0.0
        self._capture: Any = cv2.VideoCapture(source)  # it rotates frames upright
        if not self._capture.isOpened():
            hint = ": is it connected, and may this user read it?" if self._is_webcam else ""
            raise DatasetError(f"{name_of(source)} cannot be opened as a video{hint}")
        rate, count = (
            self._capture.get(key) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)
        )
        self.rate = frame_rate([], header=rate)
        is_known = math.isfinite(count) and 0 < count < 1e9 and not self._is_webcam
        self.seconds = count / self.rate if is_known else 0.0

    def frames(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Yield each frame, (H, W, 3) uint8 RGB and upright, and its time stamp in seconds."""
        while True:
            success, frame = self._capture.read()
            if not success:
                return
            # OpenCV's frames are BGR
            yield np.ascontiguousarray(frame[:, :, ::-1]), self._stamp()

    def _stamp(self) -> float:
        if self._is_webcam:
            return monotonic()
        milliseconds: float = self._capture.get(self._cv2.CAP_PROP_POS_MSEC)
        return milliseconds / 1000

    def close(self) -> None:
        self._capture.release()
