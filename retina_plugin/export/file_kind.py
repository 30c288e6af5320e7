"""The formats of exported files, and which files are exported; without importing torch."""

from __future__ import annotations

import os
import zipfile

ENDINGS = {"onnx": ".onnx", "torch": ".pt2", "torchscript": ".pt", "openvino": ".xml"}
# libraries that write and run a format, besides torch
LIBRARIES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}


def format_of(path: str) -> str | None:
    """Return the format of a file by its ending; None if it is not one of :data:`ENDINGS`."""
    ending = os.path.splitext(path)[1].lower()
    return next((name for name, known in ENDINGS.items() if known == ending), None)


def is_exported(path: str) -> bool:
    """Return whether a file is an exported network and not a checkpoint.

    The ending decides. Checkpoints can end in .pt too, so a .pt file is exported if it contains
    TorchScript.
    """
    found = format_of(path)
    return _contains_code(path) if found == "torchscript" else found is not None


def _contains_code(path: str) -> bool:
    if not os.path.isfile(path) or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())
