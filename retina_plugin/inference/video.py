"""Read the frames of a video file or a webcam, each with its time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from retina_plugin.config.files import require_regular_file
from retina_plugin.data import DatasetError
from retina_plugin.inference.opencv_reader import OpenCvReader
from retina_plugin.inference.pyav_reader import PyAvReader, import_av
from retina_plugin.inference.source_files import Source, name_of

MOST_MISSING = 0.05  # share; the length in a file's header can be an estimate
LONGEST_GAP = 600.0  # seconds between two frames; damaged files have gaps of hours


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        time: seconds since the first frame; larger than that of the frame before.
    """

    image: np.ndarray
    time: float


class Video:
    """A video file, read with PyAV if it is installed, else with OpenCV; or a webcam.

    Attributes:
        name: the path, or "webcam 0".
        is_webcam: whether it is a webcam.
        rate: frames per second; of a file with a variable rate, that of its fast parts.
        count: the number of frames by the header of the file, an estimate; 0 if unknown.
        problem: after :meth:`frames`, why frames are missing; else "".
    """

    def __init__(self, source: Source, *, uses_pyav: bool = True) -> None:
        """
        Args:
            source: a path, or the number of a webcam.
            uses_pyav: False if a window of OpenCV is shown, which PyAV's libraries can stop.

        Raises:
            DatasetError: the source cannot be opened.
            ImportError: neither PyAV nor OpenCV is installed, or a webcam and no OpenCV.
        """
        self.name, self.is_webcam, self.problem = name_of(source), isinstance(source, int), ""
        self._reader = _open(source, uses_pyav=uses_pyav)
        self.rate, seconds = self._reader.rate, self._reader.seconds
        self.count = self._reader.count or round(seconds * self.rate)

    def frames(self, limit: int = 0) -> Iterator[Frame]:
        """Yield the frames, and close the video.

        Args:
            limit: the largest number of frames; 0 for all.

        Raises:
            DatasetError: no frame can be read.
        """
        number, clock = 0, _Clock(self.rate)
        try:
            for image, stamp in self._reader.frames():
                number += 1
                yield Frame(image, clock.read(stamp))
                if number == limit:
                    break
        finally:
            self._reader.close()
        if not number:
            raise DatasetError(f"{self.name} has no frame that can be read")
        if number != limit:
            self._check_end(number, clock.time)

    def _check_end(self, number: int, last_time: float) -> None:
        reader = self._reader
        if self.is_webcam:
            self.problem = f"{self.name} gave no more frames after {number}"
            return
        end = last_time + max(1 / self.rate, reader.last_duration)
        # a number of frames can include those that were trimmed off
        counted = not reader.count or number < math.floor(reader.count * (1 - MOST_MISSING))
        if counted and end < reader.seconds * (1 - MOST_MISSING):
            self._report_missing(f"ends after {end:.1f} of {reader.seconds:.1f} seconds")
        elif reader.damaged:
            self._report_missing(f"has {reader.damaged} pieces that cannot be decoded")

    def _report_missing(self, found: str) -> None:
        self.problem = (
            f"{self.name} {found}: it is cut off or damaged; the results have the frames that "
            "could be read"
        )


def _open(source: Source, *, uses_pyav: bool) -> PyAvReader | OpenCvReader:
    if isinstance(source, int):
        return OpenCvReader(source)
    try:
        require_regular_file(source)
    except OSError as error:
        raise DatasetError(f"{source} cannot be opened as a video: {error}") from error
    av = import_av() if uses_pyav else None
    return OpenCvReader(source) if av is None else PyAvReader(av, source)


class _Clock:
    """Turns the time stamps of frames into times that start at 0 and increase.

    A stamp that is missing, not later than the one before, or later by more than
    :data:`LONGEST_GAP` counts as the next frame at the rate of the video.
    """

    def __init__(self, rate: float) -> None:
        self.time, self._rate, self._start = -math.inf, rate, 0.0

    def read(self, stamp: float | None) -> float:
        expected = self.time + 1 / self._rate if self.time >= 0 else 0.0
        time = expected if stamp is None else stamp - self._start
        if not self.time < time <= max(expected, self.time + LONGEST_GAP):
            self._start = 0.0 if stamp is None else stamp - expected
            time = expected
        self.time = time
        return time
