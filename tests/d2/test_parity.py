"""Equality with Detectron2's RetinaNet under equal weights, and the intended differences."""

import pytest
import torch
from detectron2.config import get_cfg as detectron2_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform, _dense_box_regression_loss
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from detectron2.structures import Boxes, pairwise_iou
from detectron2.utils.events import EventStorage
from torch.testing import assert_close

from retina_plugin.config import DETECTRON2_KEYS, leaves
from retina_plugin.layers import winograd
from retina_plugin.losses import BOX_LOSSES
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners.max_iou import match_anchors
from retina_plugin.modeling.box_coders import decode, encode
from retina_plugin.modeling.heads.retina_head import RetinaHead
from tests.d2.reference import batch, pair
from tests.parts import box_loss

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("num_classes", [80, 3])
def test_losses(root, num_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps, because the normalizer averages over steps; with Winograd convolutions, as for
    larger images."""
    monkeypatch.setattr(winograd, "MIN_TILES_TRAINING", 1)
    reference, own = pair(root, MODEL__RETINANET__NUM_CLASSES=num_classes)
    inputs = batch(num_classes)
    with EventStorage():
        for _ in range(3):
            assert_close(own(inputs), reference(inputs), rtol=1e-5, atol=0)


def test_gradients(root) -> None:
    """This test uses float64. In float32, rounding decides the sign of activations near 0, and each
    such ReLU changes a gradient by a jump."""
    reference, own = (model.double() for model in pair(root, MODEL__RETINANET__NUM_CLASSES=3))
    inputs = batch(3)[1:]
    for model in (reference, own):
        # matching stays in float32, so that ties between anchors are the same
        model.anchor_generator.float()
    for x in inputs:
        x["image"] = x["image"].double()
    with EventStorage():
        sum(reference(inputs).values()).backward()
    sum(own(inputs).values()).backward()
    gradients = dict(own.named_parameters())
    for name, parameter in reference.named_parameters():
        if parameter.grad is not None:
            error = (gradients[name].grad - parameter.grad).norm() / parameter.grad.norm()
            assert error < 1e-5, name  # Detectron2's focal loss stays in float32


@pytest.mark.parametrize("num_classes", [80, 3])
def test_detections(root, num_classes: int) -> None:
    """One image at a time: Detectron2 pads a batch to its largest image, which changes the
    detections of the others."""
    reference, own = (
        model.eval() for model in pair(root, MODEL__RETINANET__NUM_CLASSES=num_classes)
    )
    # spread the scores: a new head predicts 0.01 everywhere
    for name, weight in reference.head.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.normal_(weight, std=0.03 if "subnet" in name else 0.002)
    own.head.load_state_dict(reference.head.state_dict())
    inputs = [
        {"image": x["image"], "height": 2 * x["image"].shape[1], "width": 99}
        for x in batch(num_classes)
    ]
    with torch.no_grad():
        theirs, ours = [reference([x])[0] for x in inputs], own(inputs)
    for a, b in zip(ours, theirs, strict=True):
        a, b = a["instances"], b["instances"]
        assert len(b) > 10
        assert b.scores.std() > 1e-3
        assert b.scores.max() < 0.999
        assert_close(a.scores, b.scores, atol=1e-5, rtol=0)
        assert a.image_size == b.image_size
        same = (  # all pairs: nearly equal scores may be sorted differently
            (a.pred_classes[:, None] == b.pred_classes)
            & ((a.scores[:, None] - b.scores).abs() < 1e-5)
            & ((a.pred_boxes.tensor[:, None] - b.pred_boxes.tensor).abs().amax(dim=2) < 1e-2)
        )
        assert same.any(dim=0).all()
        assert same.any(dim=1).all()


def test_state_dicts_load_into_each_other(root) -> None:
    reference, own = pair(root, MODEL__RETINANET__NUM_CLASSES=3)
    state = own.state_dict()
    del state["loss_normalizer"]  # Detectron2 does not store it in checkpoints
    reference.load_state_dict(state, strict=True)


@pytest.mark.parametrize("depth", [18, 34, 101])
@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "GN"])
def test_backbones_of_other_depths(root, depth: int, norm: str) -> None:
    changes = {"MODEL__RESNETS__RES2_OUT_CHANNELS": 64} if depth < 50 else {}
    reference, own = pair(
        root,
        MODEL__RESNETS__DEPTH=depth,
        MODEL__RESNETS__NORM=norm,
        MODEL__BACKBONE__FREEZE_AT=0,
        **changes,
    )
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    theirs, ours = reference.double().eval().backbone(x), own.double().eval().backbone(x)
    for name in theirs:
        assert_close(ours[name], theirs[name])
    assert {n for n, p in own.named_parameters() if p.requires_grad} == {
        n for n, p in reference.named_parameters() if p.requires_grad
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"MODEL__RESNETS__DEPTH": 152},
        {
            "MODEL__RESNETS__NUM_GROUPS": 32,
            "MODEL__RESNETS__WIDTH_PER_GROUP": 4,
            "MODEL__RESNETS__STRIDE_IN_1X1": False,
        },
        {"MODEL__RESNETS__STRIDE_IN_1X1": False, "MODEL__BACKBONE__FREEZE_AT": 3},
    ],
    ids=["152", "ResNeXt", "stride in 3x3, frozen"],
)
def test_variants_of_resnet(root, changes: dict) -> None:
    reference, own = pair(root, **changes)
    x = torch.randn(1, 3, 64, 96)
    theirs, ours = reference.eval().backbone(x), own.eval().backbone(x)
    for name in theirs:
        assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-4)
    assert {n for n, p in own.named_parameters() if p.requires_grad} == {
        n for n, p in reference.named_parameters() if p.requires_grad
    }


@pytest.mark.parametrize("norm", ["", "GN", "BN"])
def test_head(norm: str) -> None:
    shapes = [ShapeSpec(channels=64, stride=s) for s in (8, 16)]
    theirs = RetinaNetHead(
        input_shape=shapes, num_classes=5, num_anchors=3, conv_dims=[64] * 4, norm=norm
    )
    own = RetinaHead(
        in_channels=64,
        num_levels=2,
        num_classes=5,
        num_anchors=3,
        box_dim=4,
        num_convs=4,
        width=64,
        norm=norm,
        norm_groups=32,
        activation="relu",
        separable=False,
        level_scale=False,
        quality_branch=False,
        prior_prob=0.01,
    )
    own.load_state_dict(theirs.state_dict(), strict=True)
    features = [torch.randn(2, 64, 9, 7), torch.randn(2, 64, 5, 4)]
    for training in (True, False):
        own.train(training), theirs.train(training)
        maps = own.class_maps(features), own.box_maps(features)
        assert_close(maps, theirs(features))


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_anchors(offset: float) -> None:
    arguments = {
        "sizes": [[32, 40.3], [64, 80.6]],
        "aspect_ratios": [[0.5, 1.0, 2.0]],
        "strides": [8, 16],
        "offset": offset,
    }
    theirs = DefaultAnchorGenerator(**arguments)([torch.zeros(1, 1, 5, 7), torch.zeros(1, 1, 3, 4)])
    ours = AnchorGenerator(**arguments)([(5, 7), (3, 4)])
    assert ours.counts == tuple(len(x.tensor) for x in theirs)
    assert_close(ours.boxes, torch.cat([x.tensor for x in theirs]), rtol=0, atol=0)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_box_coding(weights: tuple[float, ...]) -> None:
    transform = Box2BoxTransform(weights)
    anchors, targets = (torch.rand(2, 50, 4) * 50).unbind()
    anchors[:, 2:] += anchors[:, :2] + 1
    targets[:, 2:] += targets[:, :2] + 1
    assert_close(encode(targets, anchors, weights=weights), transform.get_deltas(anchors, targets))
    deltas = torch.randn(50, 4) * 5  # some beyond the limit of the growth
    assert_close(
        decode(deltas, anchors, weights=weights),
        transform.apply_deltas(deltas, anchors),
        rtol=1e-5,
        atol=1e-3,
    )


def their_labels(anchors: torch.Tensor, gt: torch.Tensor, classes: torch.Tensor, num_classes: int):
    matches, flags = Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True)(
        pairwise_iou(Boxes(gt), Boxes(anchors))
    )
    labels = torch.where(flags == 1, classes[matches], torch.where(flags == 0, num_classes, -1))
    return labels, matches


@pytest.mark.parametrize("num_boxes", [1, 8, 60])
def test_matching(num_boxes: int) -> None:
    generator = AnchorGenerator(
        sizes=[[32, 40], [64, 80]], aspect_ratios=[0.5, 1, 2], strides=[8, 16], offset=0.0
    )
    anchors = generator([(30, 40), (15, 20)]).boxes
    gt = torch.rand(num_boxes, 4) * 200
    gt[:, 2:] = gt[:, :2] + 4 + gt[:, 2:] * 0.6
    classes = torch.arange(num_boxes) % 7
    ours = match_anchors(anchors, gt, classes, num_classes=7, thresholds=(0.4, 0.5))
    for a, b in zip(ours, their_labels(anchors, gt, classes, 7), strict=True):
        assert_close(a, b)


def test_a_box_without_area_differs_on_purpose() -> None:
    """In Detectron2 all anchors with IoU 0 become positives; here the box gets no anchor."""
    anchors = AnchorGenerator(sizes=[[32]], aspect_ratios=[1.0], strides=[16], offset=0.0)(
        [(10, 10)]
    ).boxes
    gt, classes = torch.tensor([[50.0, 50, 50, 50]]), torch.tensor([0])
    assert (their_labels(anchors, gt, classes, 1)[0] == 0).all()
    assert (match_anchors(anchors, gt, classes, num_classes=1, thresholds=(0.4, 0.5))[0] == 1).all()


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_box_losses(name: str) -> None:
    anchors = torch.rand(40, 4) * 50
    anchors[:, 2:] += anchors[:, :2] + 5
    targets, deltas = anchors + torch.randn(40, 4), torch.randn(40, 4) * 0.1
    theirs = _dense_box_regression_loss(
        [Boxes(anchors)],
        Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        [deltas[None]],
        [targets],
        torch.ones(1, 40, dtype=torch.bool),
        box_reg_loss_type=name,
        smooth_l1_beta=0.1,
    )
    assert_close(
        box_loss(name, deltas, anchors, targets, beta=0.1),
        theirs,
        rtol=1e-5,
        atol=1e-5,
    )


def test_defaults_are_detectron2s() -> None:
    theirs = dict(leaves(detectron2_cfg()))
    for key, (default, _, _) in DETECTRON2_KEYS.items():
        assert theirs[key] == default, key
        assert type(theirs[key]) is type(default), key
