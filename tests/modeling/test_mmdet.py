"""Parity with MMDetection 3.3: assignments, targets, losses and gradients on shared inputs, and its
files of RetinaNet, ATSS and GFL.

MMDetection needs an environment of its own, see :mod:`tests.mmdet_reference`; without it these
tests are skipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import tests.mmdet_reference  # noqa: F401  # isort: skip  # first, so that mmdet can be imported
import mmdet
from mmdet.models.losses import DistributionFocalLoss, QualityFocalLoss, VarifocalLoss
from mmdet.models.task_modules import assigners as theirs
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from retina_plugin.checkpoint import WeightsError, load_weights
from retina_plugin.config import get_cfg
from retina_plugin.losses import (
    distribution_focal_loss,
    sigmoid_quality_focal_loss,
    sigmoid_varifocal_loss,
)
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners import ATSSAssigner, TaskAlignedAssigner
from retina_plugin.modeling.box_coders import DeltaCoder
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import Anchors, Predictions, Target
from tests.configs import shrink

BOTH = pytest.mark.usefixtures("both_forms")
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
K = 3
MODELS_OF_BOTH = {  # MMDetection's config, and ours
    "retinanet/retinanet_r50_fpn_1x_coco.py": "coco/retinanet_R_50_FPN_mmdet.yaml",
    "atss/atss_r50_fpn_1x_coco.py": "coco/retinanet_R_50_FPN_ATSS_1x.yaml",
    "gfl/gfl_r50_fpn_1x_coco.py": "coco/retinanet_R_50_FPN_GFL_1x.yaml",
}
OF_101_LAYERS = {
    "retinanet/retinanet_r101_fpn_1x_coco.py": "coco/retinanet_R_50_FPN_mmdet.yaml",
    "atss/atss_r101_fpn_1x_coco.py": "coco/retinanet_R_50_FPN_ATSS_1x.yaml",
    "gfl/gfl_r101_fpn_ms-2x_coco.py": "coco/retinanet_R_50_FPN_GFL_1x.yaml",
}

APART = [  # in images of 128 x 192 pixels
    {
        "boxes": torch.tensor([[10.0, 10, 60, 70], [100, 20, 180, 100]]),
        "labels": torch.tensor([0, 2]),
    },
    {"boxes": torch.tensor([[30.0, 40, 110, 120]]), "labels": torch.tensor([1])},
]


def in_our_order(predictions: Predictions, number: int) -> Predictions:
    """Reorder the 1 or 9 anchors of each cell: MMDetection has three scales of each aspect ratio,
    this project three aspect ratios of each scale."""
    side = math.isqrt(number)
    order = torch.arange(number).view(side, side).t().flatten()
    return Predictions(
        *(
            None if x is None else x.unflatten(1, (-1, number))[:, :, order].flatten(1, 2)
            for x in predictions
        )
    )


def pyramid(ratios: Sequence[float] = (1.0,)) -> Anchors:
    strides = [8, 16, 32, 64]
    generator = AnchorGenerator(
        sizes=[[8.0 * s] for s in strides], aspect_ratios=[ratios], strides=strides, offset=0.0
    )
    return generator([(20, 28), (10, 14), (5, 7), (3, 4)])


def random_target(number: int) -> Target:
    corners = torch.rand(number, 2) * 120
    boxes = torch.cat([corners, corners + 6 + torch.rand(number, 2) * 90], dim=1)
    return {"boxes": boxes, "labels": torch.randint(K, (number,))}


def instances(target: Target) -> InstanceData:
    return InstanceData(bboxes=target["boxes"], labels=target["labels"])


@BOTH
@pytest.mark.parametrize("ratios", [(1.0,), (0.5, 1.0, 2.0)], ids=["A = 1", "A = 3"])
def test_atss(ratios: Sequence[float]) -> None:
    """MMDetection counts anchors instead of cells."""
    anchors, targets = pyramid(ratios), [random_target(25), random_target(1), random_target(0)]
    found = ATSSAssigner(topk=9)(anchors, targets).matches
    reference = theirs.ATSSAssigner(topk=9 * len(ratios))
    for matches, target in zip(found, targets, strict=True):
        result = reference.assign(
            InstanceData(priors=anchors.boxes), list(anchors.counts), instances(target)
        )
        assert_close(matches, result.gt_inds - 1)
    assert (found >= 0).any()


@BOTH
def test_task_aligned() -> None:
    anchors, targets = pyramid(), [random_target(25), random_target(0)]
    count, coder = len(anchors.boxes), DeltaCoder(weights=(1.0, 1.0, 1.0, 1.0))
    predictions = Predictions(torch.randn(2, count, K) - 2, 0.3 * torch.randn(2, count, 4))
    found = TaskAlignedAssigner(topk=13, alpha=1.0, beta=6.0, box_coder=coder)(
        anchors, targets, predictions
    )
    for number, target in enumerate(targets):
        result = theirs.TaskAlignedAssigner(topk=13).assign(
            InstanceData(
                priors=anchors.boxes,
                bboxes=coder.decode(predictions.deltas[number], anchors),
                scores=predictions.logits[number].sigmoid(),
            ),
            instances(target),
            alpha=1,
            beta=6,
        )
        assert_close(found.matches[number], result.gt_inds - 1)
        quality = torch.zeros(count)  # as its head normalises the metric
        for box in range(len(target["labels"])):
            rows = result.gt_inds == box + 1
            if rows.any():
                metric = result.assign_metrics[rows]
                best = result.max_overlaps[rows].max()
                quality[rows] = metric / (metric.max() + 10e-8) * best
        assert_close(found.quality[number], quality, **TOLERANCE)
    assert (found.matches >= 0).any()


def with_gradient(
    function: Callable[[Tensor], Tensor], logits: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    x = logits.clone().requires_grad_()
    value = function(x)
    return value.detach(), torch.autograd.grad(value.sum(), x)


@BOTH
@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_quality_focal_loss(gamma: float) -> None:
    logits, labels, quality = torch.randn(50, K) * 3, torch.randint(K + 1, (50,)), torch.rand(50)
    found = with_gradient(
        lambda x: sigmoid_quality_focal_loss(x, labels, quality=quality, gamma=gamma), logits
    )
    loss = QualityFocalLoss(beta=gamma, reduction="sum")
    scores = quality.where(labels < K, 0)
    assert_close(found, with_gradient(lambda x: loss(x, (labels, scores)), logits), **TOLERANCE)


@BOTH
def test_varifocal_loss() -> None:
    logits, labels, quality = torch.randn(50, K) * 3, torch.randint(K + 1, (50,)), torch.rand(50)
    quality[::7] = 0  # positives of quality 0 are background
    target = nn.functional.one_hot(labels, K + 1)[:, :K] * quality[:, None]
    found = with_gradient(
        lambda x: sigmoid_varifocal_loss(x, labels, quality=quality, alpha=0.25, gamma=2.0), logits
    )
    loss = VarifocalLoss(alpha=0.75, gamma=2.0, reduction="sum")
    assert_close(found, with_gradient(lambda x: loss(x, target), logits), **TOLERANCE)


@BOTH
def test_distribution_focal_loss() -> None:
    logits, distances = torch.randn(20, 4, 17), torch.rand(20, 4) * 15.9
    found = with_gradient(lambda x: distribution_focal_loss(x, distances) * 4, logits)
    loss = DistributionFocalLoss(reduction="none")
    expected = with_gradient(
        lambda x: loss(x.flatten(0, 1), distances.flatten()).view(20, 4).sum(dim=1), logits
    )
    assert_close(found, expected, **TOLERANCE)


def narrow_reference(name: str) -> nn.Module:
    """A model of MMDetection's config with few channels, and batch norms that are no identity."""
    init_default_scope("mmdet")
    model = Config.fromfile(str(Path(mmdet.__file__).parent / ".mim/configs" / name)).model
    model.backbone.update(base_channels=4, stem_channels=8, init_cfg=None)
    model.neck.update(in_channels=[16, 32, 64, 128], out_channels=16)
    model.bbox_head.update(num_classes=K, in_channels=16, feat_channels=16)
    if model.type != "RetinaNet":
        model.bbox_head.norm_cfg = ConfigDict(type="GN", num_groups=4)
    built = MODELS.build(model)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.2)
            nn.init.uniform_(module.weight, 0.2, 0.5)
    for scale in getattr(built.bbox_head, "scales", []):
        scale.scale.data.uniform_(0.5, 1.5)
    return built.eval()


def loaded(name: str, reference: nn.Module, folder: Path) -> RetinaNet:
    """Our model with a file in the form of MMDetection's zoo."""
    meta = {"mmdet_version": "2.0.0", "CLASSES": ("a", "b", "c"), "epoch": 12}
    path = folder / "model.pth"
    torch.save({"meta": meta, "state_dict": reference.state_dict(), "optimizer": {}}, path)
    cfg = shrink(get_cfg(), (MODELS_OF_BOTH | OF_101_LAYERS)[name])
    cfg.MODEL.RESNETS.DEPTH = 101 if name in OF_101_LAYERS else 50
    model = build_model(cfg)
    load_weights(model, str(path))
    return model.eval()


class KeepAll:
    """A suppressor that keeps all candidates."""

    def __call__(self, candidates: list, *, max_detections: int) -> list:
        return list(candidates)


def outputs(
    reference: nn.Module, images: Tensor
) -> tuple[tuple[list[Tensor], ...], list[dict[str, Any]]]:
    """MMDetection's maps of each output, as leaves with gradients, and the metadata of images."""
    maps = reference.bbox_head(reference.extract_feat(images))
    size = tuple(images.shape[2:])
    meta = {"img_shape": size, "pad_shape": size, "scale_factor": (1.0, 1.0)}
    leaves = tuple([x.detach().clone().requires_grad_() for x in levels] for levels in maps)
    return leaves, [meta] * len(images)


@pytest.mark.parametrize("name", [*MODELS_OF_BOTH, *OF_101_LAYERS])
def test_files_detect_the_same(name: str, tmp_path: Path) -> None:
    """All candidates before suppression: scores, classes and boxes clipped to the image. Candidates
    with nearly equal scores may be in another order."""
    reference = narrow_reference(name)
    model, images = loaded(name, reference, tmp_path), torch.randn(2, 3, 64, 96)
    model.postprocessor.suppressor = KeepAll()
    model.postprocessor.max_detections = model.postprocessor.topk_candidates = 10**6
    maps, metas = outputs(reference, images)
    cfg = reference.bbox_head.test_cfg.copy()
    cfg.update(score_thr=0.0, nms_pre=10**6)
    with torch.no_grad():
        expected = reference.bbox_head.predict_by_feat(
            *maps, batch_img_metas=metas, cfg=cfg, rescale=False, with_nms=False
        )
        found = model(images, [(64, 96)] * 2)
    for ours, their in zip(found, expected, strict=True):
        scores = their.scores.sort(descending=True).values
        assert len(scores) > 100
        assert_close(ours["scores"], scores, rtol=1e-4, atol=1e-6)
        rows = (
            torch.cat([100 * labels[:, None].float(), boxes, 1000 * scores[:, None]], dim=1)
            for labels, boxes, scores in (
                (ours["labels"], ours["boxes"], ours["scores"]),
                (their.labels, their.bboxes, their.scores),
            )
        )
        # by matrix products, small distances would have no correct digit
        exact = "donot_use_mm_for_euclid_dist"
        assert torch.cdist(*rows, compute_mode=exact).amin(dim=1).max() < 0.01


@BOTH
@pytest.mark.parametrize("name", MODELS_OF_BOTH)
def test_losses(name: str, tmp_path: Path) -> None:
    """Losses and their gradients by all maps. Our normalizer, a moving average, is set to the
    number of positives of this batch. For RetinaNet, boxes are far apart, because MMDetection
    assigns the best anchor of a box to it even if another box has a higher IoU with the anchor."""
    reference = narrow_reference(name)
    model, images = loaded(name, reference, tmp_path), torch.randn(2, 3, 128, 192)
    targets = APART if "retinanet" in name else [random_target(6), random_target(3)]
    maps, metas = outputs(reference, images)
    losses = reference.bbox_head.loss_by_feat(
        *maps, batch_gt_instances=[instances(t) for t in targets], batch_img_metas=metas
    )
    total = {loss: sum(values) for loss, values in losses.items()}
    leaves = [x for levels in maps for x in levels]
    expected = torch.autograd.grad(sum(total.values()), leaves)

    number = model.anchor_generator.num_anchors
    predictions = in_our_order(Predictions.from_levels(*maps, num_anchors=number), number)
    anchors = model.anchor_generator([tuple(x.shape[-2:]) for x in maps[0]])
    assignment = model.assigner(anchors, targets)
    model.loss_normalizer.fill_(float((assignment.matches >= 0).sum()))
    found = model.losses(predictions, anchors, targets)
    assert int((assignment.matches >= 0).sum()) > 3
    names = {
        "loss_cls": "loss_cls",
        "loss_box_reg": "loss_bbox",
        "loss_quality": "loss_centerness",
        "loss_dfl": "loss_dfl",
    }
    assert {names[loss] for loss in found} == total.keys()
    for loss, value in found.items():
        assert_close(value, total[names[loss]], rtol=1e-5, atol=1e-6, msg=loss)
    assert_close(torch.autograd.grad(sum(found.values()), leaves), expected, **TOLERANCE)


@pytest.mark.parametrize(
    ("theirs_name", "ours_name", "words"),
    [
        (1, 2, "The file has a quality branch in its head: set MODEL.RETINA_PLUGIN.HEAD.QUALITY"),
        (2, 1, "Only the model has a quality branch in its head: set .*HEAD.QUALITY to none"),
        (0, 1, "Only the model has a quality branch"),
    ],
)
def test_weights_of_another_head(
    theirs_name: int, ours_name: int, words: str, tmp_path: Path
) -> None:
    names = list(MODELS_OF_BOTH.items())
    path = tmp_path / "model.pth"
    state = narrow_reference(names[theirs_name][0]).state_dict()
    torch.save({"meta": {}, "state_dict": state}, path)
    model = build_model(shrink(get_cfg(), names[ours_name][1]))
    with pytest.raises(WeightsError, match=rf"(?s)It was read as: MMDetection.*{words}"):
        load_weights(model, str(path))
