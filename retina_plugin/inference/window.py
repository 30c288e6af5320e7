"""Show results in a window."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np

from retina_plugin.config.errors import ConfigError
from retina_plugin.data.opencv import import_opencv

TITLE = "retina predict (any key: next, q: end)"
PROBE = "import cv2; cv2.namedWindow('retina predict'); cv2.destroyAllWindows()"
ENDING_KEYS = (ord("q"), 27)  # 27: Escape


class Window:
    """A window of OpenCV."""

    def __init__(self) -> None:
        """
        Raises:
            ConfigError: no window can be opened.
            ImportError: OpenCV is not installed.
        """
        self._cv2: Any = import_opencv("--show")
        _require_screen()
        self._cv2.namedWindow(TITLE, self._cv2.WINDOW_NORMAL)

    def show(self, image: np.ndarray, *, waits: bool) -> bool:
        """Show an image (H, W, 3) uint8 RGB.

        Args:
            image: the image.
            waits: whether to wait for a key, instead of a millisecond.

        Returns:
            Whether to go on; False after q or Escape.
        """
        self._cv2.imshow(TITLE, np.ascontiguousarray(image[:, :, ::-1]))  # BGR
        return (self._cv2.waitKey(0 if waits else 1) & 0xFF) not in ENDING_KEYS

    def close(self) -> None:
        """Close all windows of OpenCV in this process."""
        self._cv2.destroyAllWindows()


def _require_screen() -> None:
    """Open a window in another process: without a screen, OpenCV ends its process."""
    screens = [os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")]
    if sys.platform == "linux" and not any(screens):
        raise ConfigError("--show: this machine has no screen (DISPLAY is not set)")
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    if not done.returncode:
        return
    if "not implemented" in done.stderr:
        raise ConfigError(
            "--show: the installed OpenCV cannot open windows. Replace opencv-python-headless by "
            "opencv-python, see docs/install.md"
        )
    reason = next((line for line in done.stderr.splitlines() if line.strip()), "")
    raise ConfigError(
        f"--show: no window can be opened on the screen {next(filter(None, screens), '')}: {reason}"
    )
