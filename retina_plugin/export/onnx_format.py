"""ONNX files: write a network, and run it with ONNX Runtime."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.export.errors import ExportError, missing_library
from retina_plugin.export.network import DETECTIONS
from retina_plugin.export.nms_graph import suppression_graph
from retina_plugin.modeling.retinanet import RetinaNet

OPSET = 17  # from ONNX 1.12 (2022), which TensorRT 8.6 and OpenVINO 2023 read


def write(
    network: nn.Module,
    model: RetinaNet,
    path: str,
    *,
    example: Tensor,
    names: Sequence[str],
    outputs: str,
    metadata: Mapping[str, str],
) -> None:
    """Write an ONNX file. The batch size is dynamic; height and width are dynamic too, unless
    ``outputs`` are detections.

    Args:
        network: from :func:`retina_plugin.export.network.build_network`.
        model: the model of the network.
        path: the file.
        example: images (N, 3, H, W) to trace with.
        names: the names of the network's outputs.
        outputs: "raw", "boxes" or "detections".
        metadata: texts that are stored in the file.

    Raises:
        ImportError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing_library("onnx", "writing ONNX files") from error
    _trace(network, path, example, names, has_fixed_size=outputs == DETECTIONS)
    found = onnx.load(path)
    if outputs == DETECTIONS:
        candidates = network(example[:1])[0].shape[1]
        found = _add_suppression(found, model, candidates=candidates)
    del found.metadata_props[:]
    for key, value in metadata.items():
        entry = found.metadata_props.add()
        entry.key, entry.value = key, value
    found.producer_name = "retina_plugin"
    onnx.checker.check_model(found)
    onnx.save(found, path)


def _trace(
    network: nn.Module, path: str, example: Tensor, names: Sequence[str], *, has_fixed_size: bool
) -> None:
    # The exporter by tracing is in every supported version of torch, takes seconds where the newer
    # one takes minutes, and records every size as dynamic.
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    axes = {"images": {0: "N"} if has_fixed_size else {0: "N", 2: "height", 3: "width"}}
    for name in names:
        axes[name] = {0: "N"} if has_fixed_size else {0: "N", 1: "anchors"}
    if "anchors" in names:
        axes["anchors"] = {0: "anchors"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that are constant on purpose
        torch.onnx.export(
            network,
            (example,),
            path,
            input_names=["images"],
            output_names=list(names),
            dynamic_axes=axes,
            opset_version=OPSET,
            **options,
        )


def _add_suppression(found: Any, model: RetinaNet, *, candidates: int) -> Any:
    import onnx.compose

    suppress = suppression_graph(
        model.postprocessor, num_classes=model.num_classes, candidates=candidates, opset=OPSET
    )
    suppress.ir_version = found.ir_version
    suppress = onnx.compose.add_prefix(suppress, "nms/", rename_inputs=True, rename_outputs=False)
    names = [(value.name, f"nms/{value.name}") for value in found.graph.output]
    return onnx.compose.merge_models(found, suppress, io_map=names)


class OnnxSession:
    """Runs an ONNX file with ONNX Runtime on the CPU."""

    def __init__(self, path: str) -> None:
        """
        Raises:
            ImportError: onnxruntime is not installed.
            ExportError: the file cannot be read.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise missing_library("onnxruntime", f"running {path}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        # its errors have no common class
        except Exception as error:
            raise ExportError(
                f"{path} cannot be read by ONNX Runtime: {str(error).splitlines()[0]:.200}"
            ) from error
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, images: Tensor) -> dict[str, Tensor]:
        """See :class:`retina_plugin.export.session.Session`."""
        name = self._session.get_inputs()[0].name
        found = self._session.run(None, {name: images.numpy()})
        return {n: torch.from_numpy(x) for n, x in zip(self._names, found, strict=True)}
