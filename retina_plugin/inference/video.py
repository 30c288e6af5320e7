"""Read the frames of a video file or a webcam."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from retina_plugin.config.files import require_regular_file
from retina_plugin.data import DatasetError
from retina_plugin.data.opencv import import_opencv
from retina_plugin.inference.source_files import Source, name_of

DEFAULT_RATE = 25.0  # frames per second, for a webcam or a file that does not tell it
FASTEST = 240.0  # broken files claim thousands of frames per second
MOST_MISSING = 0.05  # share; the number of frames in a file's header is an estimate


class Video:
    """A video file or a webcam.

    Attributes:
        name: the path, or "webcam 0".
        rate: frames per second.
        count: the number of frames by the header of the file; 0 if unknown.
        problem: after :meth:`frames`, why frames are missing; else "".
    """

    def __init__(self, source: Source) -> None:
        """
        Raises:
            DatasetError: the source cannot be opened.
            ImportError: OpenCV is not installed.
        """
        self.name, self.problem = name_of(source), ""
        self._is_webcam = isinstance(source, int)
        cv2 = import_opencv("a webcam" if self._is_webcam else "a video")
        if isinstance(source, str):
            try:
                require_regular_file(source)
            except OSError as error:
                raise DatasetError(f"{source} cannot be opened as a video: {error}") from error
        self._capture: Any = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            hint = ": is it connected, and may this user read it?" if self._is_webcam else ""
            raise DatasetError(f"{self.name} cannot be opened as a video{hint}")
        rate, count = (
            self._capture.get(key) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)
        )
        self.rate = rate if 0 < rate <= FASTEST else DEFAULT_RATE
        self.count = int(count) if math.isfinite(count) and 0 < count < 1e9 else 0

    def frames(self, limit: int = 0) -> Iterator[np.ndarray]:
        """Yield the frames (H, W, 3) uint8 RGB, and close the video.

        Args:
            limit: the largest number of frames; 0 for all.

        Raises:
            DatasetError: no frame can be read.
        """
        number = 0
        try:
            while not limit or number < limit:
                success, frame = self._capture.read()
                if not success:
                    break
                number += 1
                yield np.ascontiguousarray(frame[:, :, ::-1])  # OpenCV's frames are BGR
        finally:
            self._capture.release()
        if not number:
            raise DatasetError(f"{self.name} has no frame that can be read")
        self._check_end(number, limit)

    def _check_end(self, number: int, limit: int) -> None:
        expected = min(self.count, limit) if limit else self.count
        if self._is_webcam and limit and number < limit:
            self.problem = f"{self.name} gave no more frames after {number}"
        elif number < math.floor(expected * (1 - MOST_MISSING)):
            self.problem = (
                f"{self.name} ends after {number} of {expected} frames: it is cut off or damaged; "
                "the results have the frames before"
            )
