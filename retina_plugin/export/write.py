"""Export a trained model to a file: write it, run it, compare it with the model, then keep it."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from retina_plugin.config.files import atomic_file
from retina_plugin.export import onnx_format, openvino_format, torch_format, torchscript_format
from retina_plugin.export.check import check_file
from retina_plugin.export.description import Description, describe
from retina_plugin.export.errors import ExportError, missing_library
from retina_plugin.export.file_kind import ENDINGS, LIBRARIES
from retina_plugin.export.images import check_images
from retina_plugin.export.limits import (
    fixed_size,
    notes_for_other_programs,
    require_suppression,
)
from retina_plugin.export.load import load_exported
from retina_plugin.export.network import DETECTIONS, build_network
from retina_plugin.modeling.preprocessing import Size
from retina_plugin.modeling.retinanet import RetinaNet


def export_model(
    model: RetinaNet,
    cfg: Any,
    path: str,
    *,
    format: str,
    class_names: list[str],
    score_thresholds: Mapping[str, float],
    outputs: str,
    size: Size | None,
) -> list[str]:
    """Write a model to a file that runs without this package. An existing file is replaced.

    Args:
        model: a trained model.
        cfg: its config.
        path: the file.
        format: a key of :data:`retina_plugin.export.file_kind.ENDINGS`.
        class_names: K names.
        score_thresholds: {class name: score}; may be empty.
        outputs: "raw", "boxes" or "detections"; see :mod:`retina_plugin.export.network`.
        size: (height, width) of the input; None for any multiple of the stride. For detections,
            None takes the size of most test images.

    Returns:
        Lines about the file.

    Raises:
        ExportError: the model cannot be exported in this way, or the file differs from the model;
            then no file is written.
        ImportError: a library of the format is not installed.
        DiskError: the file cannot be written.
    """
    model = _plain(model)
    lines = []
    if outputs == DETECTIONS:
        require_suppression(model, format)
        size, line = fixed_size(model, cfg, size)
        lines.append(line)
    elif size is not None:
        raise ExportError(
            f"--size: files with --outputs {outputs} take every size; only detections need one"
        )
    images, source = check_images(cfg)
    description = describe(
        model,
        cfg,
        class_names=class_names,
        score_thresholds=score_thresholds,
        outputs=outputs,
        size=size,
    )
    with _draft(path, format) as draft:
        _write(model, description, draft, format)
        compared = check_file(load_exported(draft), model, images, path=path)
    lines.append(
        f"{path}: {_megabytes(path, format):.1f} MB; equal to the model on images of {source} "
        f"at three sizes, in batches of 1 and 3 ({compared} detections)"
    )
    if outputs != DETECTIONS:
        lines += notes_for_other_programs(model)
    return lines


def require_output(path: str, format: str) -> None:
    """Check the name of the file to write, and that the libraries of its format are installed.

    Raises:
        ExportError: the ending is that of another format, the folder does not exist or cannot be
            written to, or the second file of OpenVINO would replace one of another program.
        ImportError: a library is not installed.
    """
    ending = ENDINGS[format]
    if not path.lower().endswith(ending):
        raise ExportError(f"--output {path}: files of --format {format} end in {ending}")
    folder = os.path.dirname(path) or os.curdir
    if not os.path.isdir(folder):
        raise ExportError(f"--output {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExportError(f"--output {path}: the folder {folder} cannot be written to")
    weights = _weights_file(path)
    if format == "openvino" and os.path.exists(weights) and not os.path.exists(path):
        raise ExportError(
            f"--output {path}: the file {weights}, which exists, would be replaced by the weights. "
            "Choose another name"
        )
    for library in LIBRARIES.get(format, ()):
        if importlib.util.find_spec(library) is None:
            raise missing_library(library, f"--format {format}")


def _plain(model: RetinaNet) -> RetinaNet:
    """Return a copy for inference in float32 on the CPU."""
    plain = copy.deepcopy(model).float().cpu().eval()
    plain.inference_dtype = torch.float32
    return plain


def _megabytes(path: str, format: str) -> float:
    files = [path, _weights_file(path)] if format == "openvino" else [path]
    return sum(map(os.path.getsize, files)) / 1e6


def _weights_file(path: str) -> str:
    """Return the path of the second file of OpenVINO."""
    return os.path.splitext(path)[0] + ".bin"


@contextlib.contextmanager
def _draft(path: str, format: str) -> Iterator[str]:
    """Yield a temporary path; its file, or its two files of OpenVINO, replace ``path`` at the end
    of the block."""
    with contextlib.ExitStack() as stack:
        draft = stack.enter_context(atomic_file(path))
        if format == "openvino":  # the .bin file is replaced first
            stack.enter_context(atomic_file(_weights_file(path)))
        yield draft


def _write(model: RetinaNet, description: Description, path: str, format: str) -> None:
    outputs = description.outputs
    network = build_network(model, outputs)
    example = _example(description)
    with torch.no_grad():
        names = list(network.outputs(*network.model.predict_dense(example)))
    metadata = description.metadata()
    if format == "torchscript":
        torchscript_format.write(network, path, example=example, names=names, metadata=metadata)
    elif format == "torch":
        torch_format.write(
            network,
            path,
            example=example,
            names=names,
            metadata=metadata,
            stride=description.stride,
        )
    elif format == "onnx":
        onnx_format.write(
            network, model, path, example=example, names=names, outputs=outputs, metadata=metadata
        )
    else:
        with tempfile.TemporaryDirectory(dir=os.path.dirname(path) or ".") as folder:
            onnx = os.path.join(folder, "model.onnx")
            onnx_format.write(
                network, model, onnx, example=example, names=names, outputs=outputs, metadata={}
            )
            openvino_format.convert(onnx, path, metadata=metadata)


def _example(description: Description) -> Tensor:
    """Return a batch of two images to trace with; every level has several rows and columns."""
    coarsest = math.lcm(max(description.strides), description.stride)
    height, width = description.size or (2 * coarsest, 3 * coarsest)
    return torch.zeros(2, 3, height, width)
