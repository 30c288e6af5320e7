"""Load an exported file by its format."""

from __future__ import annotations

from collections.abc import Callable

from retina_plugin.config.files import require_regular_file
from retina_plugin.export.detector import ExportedDetector
from retina_plugin.export.errors import ExportError
from retina_plugin.export.file_kind import ENDINGS, format_of
from retina_plugin.export.onnx_format import OnnxSession
from retina_plugin.export.openvino_format import OpenVinoSession
from retina_plugin.export.session import Session
from retina_plugin.export.torch_format import TorchSession
from retina_plugin.export.torchscript_format import TorchScriptSession

SESSIONS: dict[str, Callable[[str], Session]] = {
    "onnx": OnnxSession,
    "torch": TorchSession,
    "torchscript": TorchScriptSession,
    "openvino": OpenVinoSession,
}


def load_exported(path: str) -> ExportedDetector:
    """Load an exported file.

    Args:
        path: a file for which :func:`retina_plugin.export.file_kind.is_exported` is true.

    Returns:
        A detector on the CPU; its ``predict`` works like that of the model.

    Raises:
        ExportError: the file is missing, broken, or not from ``retina export``.
        ImportError: the library that runs the format is not installed.
    """
    name = format_of(path)
    if name is None:
        endings = ", ".join(ENDINGS.values())
        raise ExportError(f"{path}: expected an exported file ({endings})")
    try:
        require_regular_file(path)
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or error}") from error
    return ExportedDetector(SESSIONS[name](path), path)
