"""Benchmark the R-50-FPN model of the COCO config: a training step with two images, and inference
on one image."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from benchmarks.measure import Comparison, Work
from retina_plugin.config import get_cfg, leaves
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.retinanet import RetinaNet

CONFIG = Path(__file__).parents[2] / "configs/coco/retinanet_R_50_FPN_1x.yaml"
DETECTRON2_NAMES = {
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
}
TORCHVISION = "torchvision's RetinaNet computes P6 from P5, so it cannot have the same weights"
Results = list[dict[str, Tensor]]
Check = Callable[[Any, Any], None]


def _cfg(args: argparse.Namespace, **changes: Any) -> Any:
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIG))
    changes = {"MODEL__DEVICE": args.device, "MODEL__WEIGHTS": "", **changes}
    for key, value in changes.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


def build_ours(args: argparse.Namespace, **changes: Any) -> RetinaNet:
    """Build this project's model with random weights of seed 0. All implementations have the same
    weights."""
    torch.manual_seed(0)
    model = build_model(_cfg(args, **changes))
    rescale_weights(model)
    return model


def rescale_weights(model: RetinaNet) -> None:
    """Scale down the residual branches, because activations grow with depth under FrozenBN's
    initial statistics; and spread the scores, which are nearly equal in an initialized head."""
    with torch.no_grad():
        for name, buffer in model.backbone.named_buffers():
            if name.endswith("conv3.norm.weight"):
                buffer.fill_(0.2)
        for name, weight in model.head.named_parameters():
            if name.endswith("weight"):
                std = 0.03 if "subnet" in name else 0.002
                weight.copy_(
                    torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name)))
                    * std
                )


def build_detectron2(args: argparse.Namespace) -> nn.Module:
    """Build Detectron2's RetinaNet with the weights of :func:`build_ours`."""
    from detectron2.config import get_cfg as detectron2_cfg
    from detectron2.modeling import build_model as detectron2_model

    cfg = detectron2_cfg()
    known = {key for key, _ in leaves(cfg)}
    for key, value in leaves(_cfg(args)):
        if key in known:
            cfg.merge_from_list([key, DETECTRON2_NAMES.get(key, value)])
    model: nn.Module = detectron2_model(cfg)
    state = build_ours(args).state_dict()
    del state["loss_normalizer"]  # not in Detectron2's state_dict
    model.load_state_dict(state)
    return model


def _images(args: argparse.Namespace, number: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return images of noise with eight boxes each."""
    height, width = (64, 96) if args.quick else (480, 640)
    numbers = torch.Generator().manual_seed(1)
    images, targets = [], []
    for _ in range(number):
        images.append(
            torch.randint(0, 256, (3, height, width), generator=numbers, dtype=torch.uint8)
        )
        corners = (
            torch.rand(8, 4, generator=numbers) * torch.tensor([0.6, 0.6, 0.35, 0.35]) * height
        )
        boxes = torch.cat([corners[:, :2], corners[:, :2] + 16 + corners[:, 2:]], dim=1).clamp(
            max=height
        )
        labels = torch.randint(80, (8,), generator=numbers)
        targets.append({"boxes": boxes.to(args.device), "labels": labels.to(args.device)})
    return images, targets


def _detectron2_inputs(
    images: list[Tensor], targets: list[dict[str, Tensor]]
) -> list[dict[str, Any]]:
    from detectron2.structures import Boxes, Instances

    inputs = []
    for image, target in zip(images, targets, strict=True):
        instances = Instances(
            tuple(image.shape[-2:]), gt_boxes=Boxes(target["boxes"]), gt_classes=target["labels"]
        )
        inputs.append({"image": image, "instances": instances})
    return inputs


def _precision(args: argparse.Namespace) -> contextlib.AbstractContextManager[object]:
    return (
        torch.autocast(args.device.split(":")[0], torch.bfloat16)
        if args.amp
        else contextlib.nullcontext()
    )


def _comparison(
    args: argparse.Namespace,
    title: str,
    implementations: dict[str, Callable[[], Work]],
    check: Callable[[Any, Any], None],
) -> Comparison:
    absent = [TORCHVISION]
    if not importlib.util.find_spec("detectron2"):
        implementations = {
            name: prepare for name, prepare in implementations.items() if "Detectron2" not in name
        }
        absent.insert(0, "Detectron2 is not installed")
    size = "64x96" if args.quick else "480x640"
    precision = ", bfloat16 autocast" if args.amp else ""
    return Comparison(
        f"{title} {size}, R-50-FPN, K = 80, {args.device}{precision}",
        implementations,
        check,
        absent,
    )


# --------------------------------------------------------------------------------------------- step


def steps(args: argparse.Namespace) -> list[Comparison]:
    """Compare a training step: forward, backward and SGD. The losses must be equal."""

    def ours() -> Work:
        model = build_ours(args)
        images, targets = _images(args, 2)
        return _step(args, model, lambda: model(*model.preprocess(images), targets))

    def theirs() -> Work:
        from detectron2.utils.events import EventStorage

        model, inputs = build_detectron2(args), _detectron2_inputs(*_images(args, 2))

        def losses() -> dict[str, Tensor]:
            with EventStorage():
                found: dict[str, Tensor] = model(inputs)
                return found

        return _step(args, model, losses)

    def same(result: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
        assert_close(result, expected, rtol=2e-2 if args.amp else 1e-5, atol=0)

    implementations = {"retina_plugin": ours, "Detectron2 RetinaNet": theirs}
    return [_comparison(args, "step, 2 images", implementations, same)]


def _step(
    args: argparse.Namespace, model: nn.Module, losses: Callable[[], dict[str, Tensor]]
) -> Work:
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9
    )
    model.train()

    def work() -> dict[str, Tensor]:
        with _precision(args):
            found = losses()
        optimizer.zero_grad()
        total: Any = sum(found.values())
        total.backward()
        optimizer.step()
        return {name: loss.detach() for name, loss in found.items()}

    return work


# -------------------------------------------------------------------------------------------- infer


def inferences(args: argparse.Namespace) -> list[Comparison]:
    """Compare inference, from an image in memory to its boxes; for this project also with
    ``INFERENCE_DTYPE: bfloat16``."""

    def ours(**changes: Any) -> Work:
        model = build_ours(args, **changes).eval()
        images, _ = _images(args, 1)
        return _detect(args, lambda: model(*model.preprocess(images)))

    def theirs() -> Work:
        model = build_detectron2(args).eval()
        inputs = [{"image": image} for image in _images(args, 1)[0]]

        def detect() -> Results:
            found = [result["instances"] for result in model(inputs)]
            return [
                {"boxes": x.pred_boxes.tensor, "scores": x.scores, "labels": x.pred_classes}
                for x in found
            ]

        return _detect(args, detect)

    implementations: dict[str, Callable[[], Work]] = {
        "retina_plugin": ours,
        "Detectron2 RetinaNet": theirs,
    }
    comparisons = [
        _comparison(
            args, "infer, 1 image", implementations, _check_similar if args.amp else _check_equal
        )
    ]
    if not args.amp:
        low = {
            "retina_plugin": ours,
            "retina_plugin, INFERENCE_DTYPE bfloat16": lambda: ours(
                MODEL__RETINA_PLUGIN__INFERENCE_DTYPE="bfloat16"
            ),
        }
        comparisons.append(
            _comparison(args, "infer in lower precision, 1 image", low, _check_similar)
        )
    return comparisons


def _detect(args: argparse.Namespace, detect: Callable[[], Results]) -> Work:
    @torch.no_grad()
    def work() -> Results:
        with _precision(args):
            return detect()

    return work


def _check_equal(results: Results, expected: Results) -> None:
    """Check that each detection has a counterpart, in any order: the order of detections with
    nearly equal scores is arbitrary."""
    for a, b in zip(results, expected, strict=True):
        assert_close(a["scores"], b["scores"], atol=1e-5, rtol=0)
        same = (
            (a["labels"][:, None] == b["labels"])
            & ((a["scores"][:, None] - b["scores"]).abs() < 1e-5)
            & ((a["boxes"][:, None] - b["boxes"]).abs().amax(dim=2) < 1e-2)
        )
        unmatched = int((~same.any(dim=0)).sum() + (~same.any(dim=1)).sum())
        assert len(b["scores"]), "nothing was detected, so nothing was compared"
        assert not unmatched, f"{unmatched} of {len(b['scores'])} detections have no counterpart"


def _check_similar(results: Results, expected: Results) -> None:
    """Check that the best 20 scores differ by less than 0.03 on average."""
    for a, b in zip(results, expected, strict=True):
        number = min(len(a["scores"]), len(b["scores"]), 20)
        assert number, "nothing was detected, so nothing was compared"
        difference = (a["scores"][:number].float() - b["scores"][:number].float()).abs().mean()
        assert difference < 3e-2, f"the best {number} scores differ by {difference:.3f} on average"
