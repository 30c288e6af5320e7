"""OpenVINO files (``.xml`` and ``.bin``): convert an ONNX file, and run it with OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from retina_plugin.export.errors import ExportError, missing_library

PREFIX = "model_info "  # of the keys of Model API in other formats
OURS = "retina_plugin_info"  # group of rt_info with all other keys


def convert(onnx_file: str, path: str, *, metadata: Mapping[str, str]) -> None:
    """Convert an ONNX file to ``path`` (.xml) and the file with the ending .bin beside it.

    Args:
        onnx_file: the file to convert.
        path: the new file.
        metadata: texts that are stored in ``rt_info``.

    Raises:
        ImportError: openvino is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise missing_library("openvino", "writing OpenVINO files") from error
    model = openvino.convert_model(onnx_file)
    for key, value in metadata.items():
        if key.startswith(PREFIX):
            model.set_rt_info(value, ["model_info", key.removeprefix(PREFIX)])
        else:
            model.set_rt_info(value, [OURS, key])
    openvino.save_model(model, path, compress_to_fp16=False)


class OpenVinoSession:
    """Runs an OpenVINO file on the CPU."""

    def __init__(self, path: str) -> None:
        """
        Raises:
            ImportError: openvino is not installed.
            ExportError: the file cannot be read.
        """
        try:
            import openvino
        except ImportError as error:
            raise missing_library("openvino", f"running {path}") from error
        core = openvino.Core()
        try:
            model = core.read_model(path)
            # bfloat16, the default of some processors, would change scores by hundredths
            hints = {
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            }
            self._model = core.compile_model(model, "CPU", hints)
        except RuntimeError as error:
            raise ExportError(
                f"{path} cannot be read by OpenVINO: {str(error).splitlines()[-1]:.200}"
            ) from error
        self.metadata: Mapping[str, str] = _metadata(model)
        self._names = [output.any_name for output in model.outputs]

    def run(self, images: Tensor) -> dict[str, Tensor]:
        """See :class:`retina_plugin.export.session.Session`."""
        found = self._model([images.numpy()])
        return {
            name: torch.from_numpy(found[index].copy()) for index, name in enumerate(self._names)
        }


def _metadata(model: object) -> dict[str, str]:
    found: dict[str, str] = {}
    info = model.get_rt_info()  # type: ignore[attr-defined]
    for group, prefix in (("model_info", PREFIX), (OURS, "")):
        if group in info:
            values = {key: getattr(x, "value", x) for key, x in info[group].items()}
            found |= {f"{prefix}{key}": str(value) for key, value in values.items()}
    return found
