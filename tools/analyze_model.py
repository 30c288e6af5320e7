"""Measure the cost of each part of a model: parameters, operations, activations, memory in
training, and inference time.

    python tools/analyze_model.py --config-file configs/coco/retinanet_R_50_FPN_1x.yaml
    python tools/analyze_model.py --config-file configs/digits/retinanet_compact.yaml \\
        --size 160 160 MODEL.FPN.OUT_CHANNELS 32

Weights are random and the image is noise, so no checkpoint or image file is needed. Nothing is
detected, so the time of NMS is not representative.
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
from command_line import Parser, integer_between  # first, to handle Ctrl-C during imports

# isort: split
import argparse
import json
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from retina_plugin import build_model, get_cfg
from retina_plugin.config.files import write_atomically
from retina_plugin.data import load_dataset
from retina_plugin.engine.process import run
from retina_plugin.engine.read_config import read_config
from retina_plugin.engine.summary import model_summary
from retina_plugin.modeling.preprocessing import resized_shape
from retina_plugin.modeling.retinanet import RetinaNet

DETECTIONS = "detections"  # the part after the head: top k, decoding of boxes, NMS


class Part(NamedTuple):
    """One row of the table; the numbers are for one image."""

    name: str
    parameters: int
    flops: int  # a multiplication and its addition count as one, as in fvcore
    activations: int  # number of outputs of convolutions and matrix products
    kept: int  # bytes that a training step saves for its backward pass, without parameters
    ms: float


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="YAML file, see configs/"
    )
    parser.add_argument(
        "--size",
        type=integer_between(1, 16384),
        nargs=2,
        metavar=("H", "W"),
        help="size of the image; default: aspect ratio 3:4, shorter side INPUT.MIN_SIZE_TEST",
    )
    parser.add_argument(
        "--repeats",
        type=integer_between(1, 10**6),
        default=7,
        help="number of timed runs; the table has their median",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the table to this file")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of config keys"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    cfg = config_of(args.config_file, args.opts)
    model = build_model(cfg)
    height, width = args.size or default_size(cfg)
    parts = analyze(model, height, width, repeats=args.repeats)
    print(model_summary(model))
    print(
        f"one image of {height}x{width} pixels on {cfg.MODEL.DEVICE}, {torch.get_num_threads()} "
        f"threads, torch {torch.__version__}"
    )
    print(table(parts))
    if args.json:
        write_atomically(args.json, json.dumps([part._asdict() for part in parts], indent=1))


def config_of(path: str, opts: list[str]) -> Any:
    """Read a config. If its number of classes is -1, use that of the training set."""
    cfg = read_config(get_cfg(), path, opts)
    if cfg.MODEL.RETINANET.NUM_CLASSES == -1:
        cfg.MODEL.RETINANET.NUM_CLASSES = load_dataset(cfg.DATASETS.TRAIN[0]).num_classes
    return cfg


def default_size(cfg: Any) -> tuple[int, int]:
    """Return height and width at test time of an image with aspect ratio 3:4."""
    short = cfg.INPUT.MIN_SIZE_TEST or 480
    return resized_shape(3 * short, 4 * short, short, cfg.INPUT.MAX_SIZE_TEST)


def analyze(model: RetinaNet, height: int, width: int, *, repeats: int) -> list[Part]:
    """Return a row for the backbone, the neck, the head, the detections, and the whole model."""
    image = torch.randint(
        0, 256, (len(model.pixel_mean), height, width), device=model.device
    ).float()
    images, sizes = model.preprocess([image])
    with warnings.catch_warnings():  # fvcore uses deprecated functions of torch
        warnings.simplefilter("ignore", FutureWarning)
        from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
    flops = count_by_part(FlopCountAnalysis, attention_flops, model, images)
    activations = count_by_part(ActivationCountAnalysis, attention_activations, model, images)
    kept, ms = kept_by_part(model, images), time_by_part(model, images, sizes, repeats)
    parameters = {
        name: sum(p.numel() for p in module.parameters())
        for name, module in modules_of(model).items()
    }
    if "neck" in parameters:
        parameters["neck"] -= parameters["backbone"]
    names = [*parameters, DETECTIONS]
    rows = [Part(n, parameters.get(n, 0), flops[n], activations[n], kept[n], ms[n]) for n in names]
    totals = (
        sum(getattr(row, key) for row in rows)
        for key in ("parameters", "flops", "activations", "kept", "ms")
    )
    return [*rows, Part("all", *totals)]


def modules_of(model: RetinaNet) -> dict[str, nn.Module]:
    """Return the module of each part. The module of the neck includes the backbone, so the neck's
    numbers are differences."""
    inner = getattr(model.backbone, "bottom_up", None)
    backbone = (
        {"backbone": model.backbone}
        if inner is None
        else {"backbone": inner, "neck": model.backbone}
    )
    return backbone | {"head": model.head}


class AnchorPredictions(nn.Module):
    """The traceable part of a model: maps images to the predictions for all anchors."""

    def __init__(self, model: RetinaNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        predictions, _ = self.model.predict_dense(images)
        return [x for x in predictions if x is not None]


def attention_flops(inputs: list[Any], outputs: list[Any]) -> int:
    """Count the multiplications of the two matrix products in scaled dot-product attention, which
    fvcore does not count: q (.., L, D), k (.., S, D), v (.., S, E)."""
    (*heads, length, depth), (*_, source, _), (*_, width) = (
        value.type().sizes() for value in inputs[:3]
    )
    multiplications: int = prod(heads) * length * source * (depth + width)
    return multiplications


def attention_activations(inputs: list[Any], outputs: list[Any]) -> int:
    """Count the outputs of the two matrix products in scaled dot-product attention."""
    (*heads, length, _), (*_, source, _), (*_, width) = (
        value.type().sizes() for value in inputs[:3]
    )
    outputs_of_products: int = prod(heads) * length * (source + width)
    return outputs_of_products


def count_by_part(
    analysis: Callable[..., Any], attention: Callable[..., int], model: RetinaNet, images: Tensor
) -> dict[str, int]:
    """Run one of fvcore's analyses and return its count for each part."""
    dense = AnchorPredictions(model.eval())
    counter = (
        analysis(dense, images).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    )
    counts = counter.set_op_handle("aten::scaled_dot_product_attention", attention).by_module()
    names = {id(module): name for name, module in dense.named_modules()}
    found = defaultdict(
        int, {part: int(counts[names[id(m)]]) for part, m in modules_of(model).items()}
    )
    if "neck" in found:
        found["neck"] -= found["backbone"]
    return found


@contextmanager
def part_hooks(
    model: RetinaNet, enter: Callable[[str], object], leave: Callable[[str], object]
) -> Iterator[None]:
    """Call ``enter`` and ``leave`` with the name of a part before and after each forward pass of
    its module."""

    def hook(call: Callable[[str], object], part: str) -> Callable[..., None]:
        def without_result(*_: object) -> None:  # a result would replace the module's output
            call(part)

        return without_result

    handles = []
    for part, module in modules_of(model).items():
        handles.append(module.register_forward_pre_hook(hook(enter, part)))
        handles.append(module.register_forward_hook(hook(leave, part)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def kept_by_part(model: RetinaNet, images: Tensor) -> dict[str, int]:
    """Return the bytes of the tensors that autograd saves in each part during a training step, for
    one image. Storage that several tensors share counts once, where it is saved first."""
    not_counted = {
        tensor.untyped_storage().data_ptr()
        for tensor in (*model.parameters(), *model.buffers(), images)
    }
    kept: dict[str, int] = defaultdict(int)
    seen, stack = set(not_counted), [DETECTIONS]
    alive: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            alive.append(x)  # so that no other tensor gets the same address
            kept[stack[-1]] += storage.nbytes()
        return x

    with (
        part_hooks(model.train(), stack.append, lambda _: stack.pop()),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x),
    ):
        # two images: batch normalisation may not accept one
        AnchorPredictions(model)(torch.cat([images, images]))
    model.eval()
    return defaultdict(int, {part: value // 2 for part, value in kept.items()})


def time_by_part(
    model: RetinaNet, images: Tensor, sizes: list[tuple[int, int]], repeats: int
) -> dict[str, float]:
    """Return the median milliseconds of each part during inference."""
    started: dict[str, float] = {}
    taken: dict[str, list[float]] = defaultdict(list)

    def now() -> float:
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        return 1000 * time.perf_counter()

    with torch.no_grad():
        model.eval()(images, sizes)  # fills the caches of folded kernels
        with part_hooks(
            model,
            lambda part: started.update({part: now()}),
            lambda part: taken[part].append(now() - started[part]),
        ):
            for _ in range(repeats):
                start = now()
                model(images, sizes)
                taken["all"].append(now() - start)
    ms = {part: median(values) for part, values in taken.items()}
    ms[DETECTIONS] = ms.pop("all") - ms.get("neck", ms["backbone"]) - ms["head"]
    if "neck" in ms:
        ms["neck"] -= ms["backbone"]
    return ms


def table(parts: list[Part]) -> str:
    """Format the rows as a Markdown table, right-aligned."""
    rows = [["part", "parameters, M", "GFLOPs", "activations, M", "kept to learn, MB", "ms"]]
    for p in parts:
        numbers = (p.parameters / 1e6, p.flops / 1e9, p.activations / 1e6, p.kept / 1e6, p.ms)
        rows.append(
            [p.name, *(f"{x:.{d}f}" for x, d in zip(numbers, (2, 2, 2, 1, 1), strict=True))]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
