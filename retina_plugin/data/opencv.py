"""Import OpenCV on first use.

OpenCV is not a dependency: two packages provide it, and installing both breaks them.
"""

from __future__ import annotations

from types import ModuleType


def import_opencv(need: str) -> ModuleType:
    """Import and return the module ``cv2``.

    Args:
        need: what needs OpenCV, for the message, such as "a video".

    Raises:
        ImportError: OpenCV is not installed, or cannot be imported.
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            f"{need} needs OpenCV ({error}): pip install opencv-python-headless on a server, or "
            "opencv-python on a desktop; not both, because they break each other"
        ) from error
    return cv2
