"""Backbone, neck and head: shapes, strides, names, and that every parameter learns."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from retina_plugin.backbones import ShapeSpec, build_resnet
from retina_plugin.builders import build_backbone
from retina_plugin.head import RetinaHead
from retina_plugin.norms import FrozenBatchNorm2d, build_norm, freeze
from tests.models import compact_cfg, compact_model


def resnet(**changes):
    arguments = {
        "in_channels": 3,
        "depth": 50,
        "stem_channels": 8,
        "res2_channels": 16,
        "width_per_group": 8,
        "num_groups": 1,
        "stride_in_1x1": False,
        "norm": "BN",
        "norm_groups": 4,
        "out_features": ["res2", "res3", "res4", "res5"],
        "freeze_at": 0,
    }
    return build_resnet(**arguments | changes)


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "GN", ""])
def test_resnet_strides_channels_and_gradients(depth: int, norm: str) -> None:
    model = resnet(depth=depth, norm=norm)
    maps = model(torch.randn(1, 3, 64, 96))
    assert {name: tuple(x.shape[1:]) for name, x in maps.items()} == {
        "res2": (16, 16, 24),
        "res3": (32, 8, 12),
        "res4": (64, 4, 6),
        "res5": (128, 2, 3),
    }
    assert model.output_shape()["res5"] == ShapeSpec(128, 32)
    sum(x.sum() for x in maps.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("size", [(33, 65), (1, 1), (50, 31)], ids=str)
def test_resnet_takes_odd_sizes(size: tuple[int, int]) -> None:
    maps = resnet(depth=18).eval()(torch.randn(1, 3, *size))
    assert all(x.isfinite().all() for x in maps.values())


@pytest.mark.parametrize(("freeze_at", "learning"), [(0, 5), (1, 4), (2, 3), (5, 0)])
def test_freeze_at(freeze_at: int, learning: int) -> None:
    model = resnet(freeze_at=freeze_at)
    parts = [model.stem, model.res2, model.res3, model.res4, model.res5]
    assert [any(p.requires_grad for p in part.parameters()) for part in parts] == [False] * (5 - learning) + [
        True
    ] * learning
    assert not any(isinstance(m, nn.BatchNorm2d) for part in parts[:freeze_at] for m in part.modules())


def test_stages_after_the_last_output_are_left_out() -> None:
    assert "res5.0.conv1.weight" not in resnet(out_features=["res3", "res4"]).state_dict()


def test_stride_in_1x1_moves_the_stride() -> None:
    assert resnet(stride_in_1x1=True).res3[0].conv1.stride == (2, 2)
    assert resnet(stride_in_1x1=False).res3[0].conv2.stride == (2, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"depth": 42}, "DEPTH must be one of .*found 42"),
        ({"out_features": ["res6"]}, "OUT_FEATURES must be among"),
        ({"norm": "LN"}, "unknown norm 'LN'"),
        ({"norm": "GN", "norm_groups": 32}, "GN with 32 groups cannot divide 8 channels"),
    ],
)
def test_resnet_refuses(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        resnet(**changes)


def test_frozen_batchnorm_is_batchnorm_in_eval() -> None:
    norm = nn.BatchNorm2d(6)
    norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2), norm.weight.data.normal_(), norm.bias.data.normal_()
    frozen, x = FrozenBatchNorm2d(6), torch.randn(2, 6, 5, 5)
    frozen.load_state_dict(norm.state_dict(), strict=False)
    assert_close(frozen(x), norm.eval()(x))
    assert_close(frozen(x.requires_grad_()), norm.eval()(x), rtol=1e-5, atol=1e-5)
    assert_close(FrozenBatchNorm2d(6)(x), x)  # the identity before anything is loaded


def test_freeze_replaces_a_norm() -> None:
    assert isinstance(freeze(build_norm("BN", 8, groups=1)), FrozenBatchNorm2d)


@pytest.mark.parametrize("top", ["res5", "p5"])
def test_fpn_levels(top: str) -> None:
    cfg = compact_cfg(MODEL__RETINA_PLUGIN__P6_FROM=top)
    fpn = build_backbone(cfg)
    maps = fpn(torch.randn(1, 3, 64, 96))
    assert {name: tuple(x.shape[1:]) for name, x in maps.items()} == {
        "p3": (32, 8, 12),
        "p4": (32, 4, 6),
        "p5": (32, 2, 3),
        "p6": (32, 1, 2),
        "p7": (32, 1, 1),
    }
    assert [s.stride for s in fpn.output_shape().values()] == [8, 16, 32, 64, 128]
    assert fpn.top_block.p6.in_channels == (128 if top == "res5" else 32)
    assert fpn.size_divisibility == 32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"MODEL__FPN__IN_FEATURES": ["res3", "res5"]}, "must double"),
        ({"MODEL__FPN__IN_FEATURES": ["res2", "res3"]}, "must name maps that the backbone returns"),
        ({"MODEL__RETINA_PLUGIN__P6_FROM": "p4"}, "P6_FROM must be one of"),
    ],
)
def test_fpn_refuses(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_backbone(compact_cfg(**changes))


def head(**changes) -> RetinaHead:
    arguments = {
        "in_channels": 16,
        "num_levels": 2,
        "num_classes": 5,
        "num_anchors": 3,
        "num_convs": 4,
        "norm": "",
        "norm_groups": 4,
        "prior_prob": 0.01,
    }
    return RetinaHead(**arguments | changes)


@pytest.mark.parametrize("norm", ["", "GN", "BN"])
def test_head_shapes_prior_and_gradients(norm: str) -> None:
    model = head(norm=norm)
    logits, deltas = model([torch.randn(2, 16, 8, 8), torch.randn(2, 16, 4, 4)])
    assert [tuple(x.shape) for x in logits] == [(2, 15, 8, 8), (2, 15, 4, 4)]
    assert [tuple(x.shape) for x in deltas] == [(2, 12, 8, 8), (2, 12, 4, 4)]
    assert_close(torch.cat([x.flatten() for x in logits]).sigmoid().mean(), torch.tensor(0.01), rtol=0.3, atol=0)
    (sum(x.sum() for x in logits) + sum(x.sum() for x in deltas)).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_subnets_have_separate_parameters() -> None:
    model = head()
    logits, _ = model([torch.randn(1, 16, 4, 4)] * 2)
    sum(x.sum() for x in logits).backward()
    assert all(p.grad is not None for p in (*model.cls_subnet.parameters(), *model.cls_score.parameters()))
    assert all(p.grad is None for p in (*model.bbox_subnet.parameters(), *model.bbox_pred.parameters()))


def test_levels_share_weights_but_not_statistics() -> None:
    model = head(norm="BN", num_convs=1).train()
    norm = model.cls_subnet[1]
    model([torch.randn(4, 16, 8, 8), 5 + torch.randn(4, 16, 4, 4)])
    assert (norm[0].running_mean - norm[1].running_mean).abs().max() > 0.01
    assert {name.split(".")[0] for name, _ in norm.named_parameters()} == {"weight", "bias"}
    x = torch.randn(1, 16, 4, 4)
    same = head(norm="").eval()([x, x])[0]
    assert_close(same[0], same[1])


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.5])
def test_prior_must_be_a_probability(prior: float) -> None:
    with pytest.raises(ValueError, match="PRIOR_PROB"):
        head(prior_prob=prior)


def test_parameter_names_are_detectron2s() -> None:
    names = set(compact_model().state_dict())
    expected = {
        "backbone.bottom_up.stem.conv1.weight",
        "backbone.bottom_up.stem.conv1.norm.weight",
        "backbone.bottom_up.res3.0.shortcut.norm.bias",
        "backbone.fpn_lateral3.weight",
        "backbone.fpn_output5.bias",
        "backbone.top_block.p6.weight",
        "head.cls_subnet.0.weight",
        "head.bbox_subnet.2.bias",
        "head.cls_score.bias",
        "head.bbox_pred.weight",
        "loss_normalizer",
    }
    assert expected <= names
