"""Benchmark exported files: the R-50-FPN model of the COCO config on one image, from the
normalised batch to its detections."""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
from functools import partial
from typing import Any

from benchmarks.detection import _cfg, _check_equal, _detect, _images, build_ours
from benchmarks.measure import Comparison, Work
from retina_plugin.export import write
from retina_plugin.export.file_kind import ENDINGS, LIBRARIES
from retina_plugin.export.load import load_exported

QUICK = ("torchscript",)


def comparisons(args: argparse.Namespace) -> list[Comparison]:
    """Compare the files of all formats with the model, on the CPU."""
    cases = {
        "torchscript": ("torchscript", "boxes"),
        "torch": ("torch", "boxes"),
        "onnx": ("onnx", "boxes"),
        "onnx, detections": ("onnx", "detections"),
        "openvino": ("openvino", "boxes"),
        "openvino, detections": ("openvino", "detections"),
    }
    libraries = {name for names in LIBRARIES.values() for name in names}
    lost = sorted(name for name in libraries if importlib.util.find_spec(name) is None)
    chosen = {
        title: partial(_exported, args, *case)
        for title, case in cases.items()
        if not {*lost} & {*LIBRARIES.get(case[0], ())} and (not args.quick or title in QUICK)
    }
    size = "64x96" if args.quick else "480x640"
    return [
        Comparison(
            f"export, 1 image {size}, R-50-FPN, K = 80, cpu",
            {"retina_plugin": partial(_model, args), **chosen},
            _check_equal,
            [f"{name} is not installed" for name in lost],
        )
    ]


def _inputs(args: argparse.Namespace, model: Any) -> Any:
    return model.preprocess(_images(args, 1)[0])


def _model(args: argparse.Namespace) -> Work:
    model = build_ours(args).eval()
    return _detect(args, lambda: model.detect_batch(*_inputs(args, model)))


def _exported(args: argparse.Namespace, format: str, outputs: str) -> Work:
    """Export the model to a temporary file, and load it."""
    model = build_ours(args).eval()
    batch, _ = _inputs(args, model)
    size = (batch.shape[2], batch.shape[3]) if outputs == "detections" else None
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"model{ENDINGS[format]}")
        write.export_model(
            model,
            _cfg(args, **{"INPUT__MIN_SIZE_TEST": 64}),
            path,
            format=format,
            class_names=[f"class {i}" for i in range(model.num_classes)],
            score_thresholds={},
            outputs=outputs,
            size=size,
        )
        detector = load_exported(path)
    return _detect(args, lambda: detector.detect_batch(*_inputs(args, model)))
