"""Place the frames of a video at a constant frame rate, so that each keeps its time."""

from __future__ import annotations

import numpy as np

from retina_plugin.inference.outputs.video_writer import VideoWriter


class ConstantRateWriter:
    """Repeats frames that are shown longer, and leaves out frames that share a place with the next
    one, as in videos of phones and of screens, whose frames come at varying intervals."""

    def __init__(self, writer: VideoWriter, path: str, rate: float) -> None:
        """
        Args:
            writer: writes the video.
            path: its file, for the message.
            rate: its frames per second.
        """
        self._writer, self._path, self._rate = writer, path, rate
        self._last: tuple[np.ndarray, int] | None = None  # a frame, and its place
        self.count = self.repeated = self.left_out = 0

    def write(self, frame: np.ndarray, time: float) -> None:
        """Add a frame (H, W, 3) uint8 RGB.

        Args:
            frame: of the size of the video.
            time: seconds since the first frame; larger than that of the frame before.

        Raises:
            DiskError: the file cannot be written.
        """
        place = round(time * self._rate)
        if self._last is not None:
            self._write_last(copies=place - self._last[1])
        self._last = frame, place
        self.count += 1

    def close(self) -> None:
        """Complete the file with the frames so far; print a line if some are repeated or left out.

        Raises:
            DiskError: the file cannot be written.
        """
        try:
            if self._last is not None:
                self._write_last(copies=1)
        finally:
            self._writer.close()
        if self.repeated or self.left_out:
            print(
                f"{self._path} has {self._rate:g} frames per second. Those of its source come at "
                f"varying intervals: of {self.count}, {self.repeated} are shown longer and "
                f"{self.left_out} left out, so that each keeps its time",
                flush=True,
            )

    def _write_last(self, *, copies: int) -> None:
        assert self._last is not None
        frame, _ = self._last
        for _ in range(copies):
            self._writer.write(frame)
        self.repeated += copies > 1
        self.left_out += copies == 0
