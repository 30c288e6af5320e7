"""Write videos with a constant frame rate: H.264 with PyAV if it is installed, else with OpenCV."""

from __future__ import annotations

import contextlib
import functools
import os
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from retina_plugin.config.disk import DiskError, disk_errors
from retina_plugin.data.opencv import import_opencv
from retina_plugin.inference.pyav_reader import import_av

QUALITY = "20"  # libx264's constant rate factor; lower is better, 23 is its default


class VideoWriter(Protocol):
    """Writes frames; the file has its name only after :meth:`close`."""

    def write(self, frame: np.ndarray) -> None:
        """Add a frame (H, W, 3) uint8 RGB; one of another size is resized."""

    def close(self) -> None:
        """Complete the file with the frames so far.

        Raises:
            DiskError: the file cannot be written.
        """


def open_video_writer(
    path: str, rate: float, size: tuple[int, int], *, shows_window: bool
) -> VideoWriter:
    """Start a video.

    Args:
        path: the file, ``.mp4``.
        rate: frames per second.
        size: (height, width).
        shows_window: whether OpenCV shows a window in this process. PyAV is then not used, because
            its libraries can stop the window.

    Raises:
        DiskError: the file cannot be written.
        ImportError: neither PyAV nor OpenCV is installed.
    """
    av = None if shows_window else import_av()
    height, width = (side + side % 2 for side in size)
    if av is not None:
        return _H264Writer(av, path, rate, (height, width))
    _tell_codec(shows_window)
    return _OpenCvWriter(path, rate, (height, width))


def _even(frame: np.ndarray) -> np.ndarray:
    """Repeat the last row and column of a frame if there is an odd number of them: the format of
    pixels that all players read needs even sides."""
    height, width = frame.shape[:2]
    padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded)


@functools.cache
def _tell_codec(shows_window: bool) -> None:
    cause = "--show uses OpenCV only" if shows_window else "pip install av for H.264"
    print(f"videos are written as mp4v, which browsers do not play: {cause}", flush=True)


class _Draft:
    """The temporary file of a video."""

    def __init__(self, path: str) -> None:
        root, suffix = os.path.splitext(path)
        self.path, self.draft = path, f"{root}.part{suffix}"

    def keep(self) -> None:
        os.replace(self.draft, self.path)

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.draft)


class _H264Writer(_Draft):
    def __init__(self, av: Any, path: str, rate: float, size: tuple[int, int]) -> None:
        super().__init__(path)
        self._av = av
        with disk_errors(path):
            # FFmpeg takes "a:" at the start of a name for a protocol
            self._container = av.open(os.path.abspath(self.draft), "w")
        exact = Fraction(rate).limit_denominator(100_000)
        self._stream = self._container.add_stream("libx264", rate=exact, options={"crf": QUALITY})
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuv420p"
        # FFmpeg converts with the matrix of BT.601; players would take another one for HD
        self._stream.codec_context.colorspace, self._stream.codec_context.color_range = 6, 1

    def write(self, frame: np.ndarray) -> None:
        picture = self._av.VideoFrame.from_ndarray(_even(frame), format="rgb24")
        with disk_errors(self.path):
            self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        try:
            with disk_errors(self.path):
                self._container.mux(self._stream.encode())  # what the encoder holds back
                self._container.close()
                self.keep()
        finally:
            self.remove()


class _OpenCvWriter(_Draft):
    def __init__(self, path: str, rate: float, size: tuple[int, int]) -> None:
        super().__init__(path)
        self._cv2, self._count = import_opencv("writing a video"), 0
        code = self._cv2.VideoWriter_fourcc(*"mp4v")
        self._size = size[::-1]
        self._writer = self._cv2.VideoWriter(self.draft, code, rate, self._size)
        if not self._writer.isOpened():
            self.remove()
            raise DiskError(f"cannot write {path}: OpenCV cannot open it as mp4v")

    def write(self, frame: np.ndarray) -> None:
        pixels = np.ascontiguousarray(_even(frame)[:, :, ::-1])  # BGR
        # OpenCV drops frames of another size; PyAV resizes them
        self._writer.write(self._cv2.resize(pixels, self._size))
        self._count += 1

    def close(self) -> None:
        self._writer.release()
        try:
            self._require_written()
            self.keep()
        finally:
            self.remove()

    def _require_written(self) -> None:
        """Check that the file is whole: OpenCV reports no error if the disk is full."""
        video = self._cv2.VideoCapture(self.draft)
        count = int(video.get(self._cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        video.release()
        if count < self._count:
            raise DiskError(
                f"cannot write {self.path}: it has {count} of {self._count} frames. Is the disk "
                "full?"
            )
