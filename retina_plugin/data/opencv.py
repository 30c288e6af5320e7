"""OpenCV, which is no requirement: two packages of the index bring it, and both at once break each
other."""

from __future__ import annotations

from types import ModuleType


def import_opencv(need: str) -> ModuleType:
    """The module ``cv2``.

    Args:
        need: what needs it, for the message: "a video".

    Raises:
        ImportError: it is not installed, or does not import.
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            f"{need} needs OpenCV ({error}): pip install opencv-python-headless on a server, or "
            "opencv-python where a desktop is; not both, which break each other"
        ) from error
    return cv2
