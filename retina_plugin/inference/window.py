"""Show results in a window."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from retina_plugin.config.errors import ConfigError
from retina_plugin.data.opencv import import_opencv

TITLE = "retina predict (any key: next, q: end)"
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
        # OpenCV ends the process without a screen
        if sys.platform == "linux" and not (
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        ):
            raise ConfigError("--show: this machine has no screen (DISPLAY is not set)")
        try:
            self._cv2.namedWindow(TITLE, self._cv2.WINDOW_NORMAL)
        except self._cv2.error as error:
            raise ConfigError(
                "--show: the installed OpenCV cannot open windows. Replace opencv-python-headless "
                "by opencv-python, see docs/install.md"
            ) from error

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
        self._cv2.destroyAllWindows()
