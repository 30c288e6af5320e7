"""Read video files with PyAV."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from retina_plugin.data import DatasetError
from retina_plugin.inference.frame_rate import frame_rate

NOT_A_VIDEO = "It is another kind of file, or it is cut off"
FIRST = 100  # packets whose times decide the frame rate


def import_av() -> Any:
    """Return the module ``av``, or None if it is not installed."""
    try:
        import av
    except ImportError:
        return None
    return av


class PyAvReader:
    """Decodes the best video track of a file; sound is ignored.

    Attributes:
        rate: frames per second, see :func:`retina_plugin.inference.frame_rate.frame_rate`.
        count: the number of frames by the header; 0 if unknown.
        seconds: the length by the header; 0 if unknown.
        damaged: how many pieces could not be decoded so far.
        last_duration: seconds for which the frame that was read last is shown; 0 if unknown.
    """

    def __init__(self, av: Any, path: str) -> None:
        """
        Args:
            av: the module.
            path: the file.

        Raises:
            DatasetError: it is no video.
        """
        self._av, self._path = av, path
        self.damaged, self.last_duration = 0, 0.0
        with self._open() as container:
            stream = self._video_of(container)
            packets = itertools.islice(self._packets(container, stream), FIRST)
            times = [float(p.pts * p.time_base) for p in packets if p.pts is not None]
            self.rate = frame_rate(times, header=float(stream.average_rate or 0))
            self.count, self.seconds = stream.frames, _seconds(av, container, stream)
        self.damaged = 0
        self._container = self._open()

    def frames(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Yield each frame, (H, W, 3) uint8 RGB and upright, and its time stamp in seconds."""
        stream = self._video_of(self._container)
        stream.thread_type = "AUTO"
        for packet in self._packets(self._container, stream):
            try:
                decoded = packet.decode()
            except self._av.error.FFmpegError:
                self.damaged += 1  # decoders find the next complete frame
                continue
            for frame in decoded:
                pixels = frame.to_ndarray(format="rgb24")
                # phones store the picture as the sensor lies, and its rotation beside it
                turns = round(frame.rotation / 90) % 4
                self.last_duration = float((frame.duration or 0) * (frame.time_base or 0))
                yield np.ascontiguousarray(np.rot90(pixels, turns)), frame.time

    def close(self) -> None:
        self._container.close()

    def _open(self) -> Any:
        try:
            # an absolute path: FFmpeg takes "a:" at the start of a name for a protocol
            return self._av.open(os.path.abspath(self._path))
        except (self._av.error.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DatasetError(
                f"{self._path} cannot be opened as a video: {reason}. {NOT_A_VIDEO}"
            ) from error

    def _video_of(self, container: Any) -> Any:
        stream = container.streams.best("video")
        if stream is None:
            kinds = ", ".join(sorted({s.type for s in container.streams}))
            found = f"found {kinds}" if kinds else f"found nothing. {NOT_A_VIDEO}"
            raise DatasetError(f"{self._path} has no video track; {found}")
        return stream

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield the packets up to the end of the file, or to where it cannot be read."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (self._av.error.FFmpegError, OSError):
                self.damaged += 1
                return
            if packet is None:
                return
            yield packet


def _seconds(av: Any, container: Any, stream: Any) -> float:
    """Return the length of a video track; 0 if it is unknown."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if found:  # of a Matroska file
        hours, minutes, seconds = map(float, found.groups())
        return hours * 3600 + minutes * 60 + seconds
    only = len(container.streams) == 1 and container.duration  # sound can be longer
    return float(container.duration / av.time_base) if only else 0.0
