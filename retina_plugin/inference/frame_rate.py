"""The frame rate of a video, from the times of its first frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DEFAULT_RATE = 25.0  # frames per second, for a webcam or a file that does not tell it
FASTEST = 240.0  # broken files claim thousands of frames per second
REORDERED = 16  # the last packets can be frames in another order, with gaps between them


def frame_rate(times: Sequence[float], *, header: float) -> float:
    """Return the frames per second of a video; of a variable rate, those of its fast parts, so that
    a video with this constant rate has a place for each frame.

    Args:
        times: seconds of the first frames, in any order; may be empty.
        header: the mean rate by the header of the file; 0 if unknown.
    """
    ordered = np.unique(times)
    gaps = np.diff(ordered[: max(len(ordered) - REORDERED, 2)])
    usable = 0 < header <= FASTEST
    if not len(gaps):
        return header if usable else DEFAULT_RATE
    median, short = float(np.median(gaps)), float(np.percentile(gaps, 10))
    if usable and abs(header * median - 1) < 0.1 and short > 0.75 * median:
        return header  # more exact than times, which are rounded
    fast = 1 / (median if short > 0.75 * median else short)
    return min(float(round(fast)) if fast >= 1 else fast, FASTEST)
