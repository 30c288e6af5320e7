"""Export a model to ONNX, torch.export, TorchScript or OpenVINO."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING

from retina_plugin.cli.parser import file_name

if TYPE_CHECKING:
    from retina_plugin.cli.parser import Parser

FORMATS = ("onnx", "torch", "torchscript", "openvino")
OUTPUTS = ("raw", "boxes", "detections")

EXAMPLES = """Export a trained model to a file that runs without this package. The file contains the
class names, the preprocessing and the thresholds. Before the file is kept, it runs on test images
and must give the results of the model.

    retina export out --format onnx --output model.onnx
    retina export out/model_best.pth --format openvino --output model.xml
    retina export out --format onnx --outputs detections --size 480x640 --output model.onnx

retina eval --weights FILE --data DATA and retina predict --weights FILE run the file."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint, or folder of a run")
    parser.add_argument(
        "--format",
        required=True,
        choices=FORMATS,
        metavar="FORMAT",
        help="onnx (.onnx), torch (torch.export, .pt2), torchscript (.pt) or openvino (.xml, .bin)",
    )
    parser.add_argument("--output", required=True, type=file_name, metavar="FILE", help="the file")
    parser.add_argument(
        "--outputs",
        choices=OUTPUTS,
        default="boxes",
        help="what the network returns: raw (logits and deltas of the head), boxes (boxes and "
        "scores of all anchors; the default), or detections (after NMS; onnx and openvino only)",
    )
    parser.add_argument(
        "--size",
        type=size,
        metavar="HxW",
        help="height and width of the input for --outputs detections (default: that of most test "
        "images); the other outputs take every multiple of the stride",
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="config of the training (default: that of the checkpoint or its folder)",
    )
    parser.add_overrides()


def size(text: str) -> tuple[int, int]:
    """Parse a size such as 480x640: height, then width."""
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"expected HEIGHTxWIDTH such as 480x640, found {text!r:.40}"
        )
    return int(match[1]), int(match[2])


def run(args: argparse.Namespace) -> None:
    """Export the model.

    Raises:
        ConfigError, WeightsError: the model cannot be loaded.
        ExportError: it cannot be exported in this way, or the file would replace the checkpoint.
        ImportError: a library is missing.
        DiskError: the file cannot be written.
    """
    from retina_plugin.engine.trained_model import load_trained_model
    from retina_plugin.export.errors import ExportError
    from retina_plugin.export.write import export_model, require_output

    require_output(args.output, args.format)
    trained = load_trained_model(args.checkpoint, config_file=args.config_file, overrides=args.opts)
    print(f"weights: {trained.checkpoint}, config: {trained.config_source}", flush=True)
    if _is_same_file(args.output, trained.checkpoint):
        raise ExportError(f"--output {args.output} is the checkpoint: choose another name")
    lines = export_model(
        trained.model,
        trained.cfg,
        args.output,
        format=args.format,
        class_names=trained.class_names,
        score_thresholds=trained.score_thresholds,
        outputs=args.outputs,
        size=args.size,
    )
    print("\n".join(lines), flush=True)


def _is_same_file(path: str, other: str) -> bool:
    both_exist = os.path.exists(path) and os.path.exists(other)  # not if it is an address
    return both_exist and os.path.samefile(path, other)
