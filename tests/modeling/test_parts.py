"""Backbone, neck and head: shapes, strides, names, and a gradient for every parameter."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from retina_plugin.layers.norms import FrozenBatchNorm2d, StandardizedConv2d, build_norm, freeze
from retina_plugin.modeling.backbones import ShapeSpec, build_resnet
from retina_plugin.modeling.build_backbone import build_backbone
from retina_plugin.modeling.heads.retina_head import RetinaHead
from retina_plugin.modeling.necks.pyramid import ExtraLevels
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
        "deep_stem": False,
        "average_shortcut": False,
        "norm": "BN",
        "norm_groups": 4,
        "standardized": False,
        "zero_init": False,
        "out_features": ["res2", "res3", "res4", "res5"],
        "freeze_at": 0,
    }
    return build_resnet(**arguments | changes)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
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
    assert [any(p.requires_grad for p in part.parameters()) for part in parts] == [False] * (
        5 - learning
    ) + [True] * learning
    assert not any(
        isinstance(m, nn.BatchNorm2d) for part in parts[:freeze_at] for m in part.modules()
    )


def test_stages_after_the_last_output_are_left_out() -> None:
    assert "res5.0.conv1.weight" not in resnet(out_features=["res3", "res4"]).state_dict()


def test_stride_in_1x1_moves_the_stride() -> None:
    assert resnet(stride_in_1x1=True).res3[0].conv1.stride == (2, 2)
    assert resnet(stride_in_1x1=False).res3[0].conv2.stride == (2, 2)


D = {"deep_stem": True, "average_shortcut": True}


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize(
    "changes",
    [D, {"norm": "GN", "standardized": True}, {"zero_init": True}, {"zero_init": True, "norm": ""}],
    ids=["ResNet-D", "weight standardisation", "zero init", "zero init without norm"],
)
def test_variants_learn_at_odd_sizes(depth: int, changes: dict) -> None:
    model = resnet(depth=depth, **changes)
    maps = model(torch.randn(1, 3, 33, 97))
    assert {name: tuple(x.shape[2:]) for name, x in maps.items()} == {
        "res2": (9, 25),
        "res3": (5, 13),
        "res4": (3, 7),
        "res5": (2, 4),
    }
    sum(x.sum() for x in maps.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


REFERENCES = {  # a model of timm, and the same ResNet here
    "resnet18d": {"depth": 18, "res2_channels": 64, **D},
    "resnet50d": {**D},
    "resnext50_32x4d": {"num_groups": 32, "width_per_group": 4},
    "resnet34": {"depth": 34, "res2_channels": 64},
    "resnet152": {"depth": 152},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(REFERENCES))
def test_resnets_of_timm(name: str) -> None:
    """Equal feature maps under equal weights; both have the same order of parameters with other
    names."""
    reference = pytest.importorskip("timm").create_model(name, features_only=True).eval()
    widths = {"stem_channels": 64, "res2_channels": 256, "width_per_group": 64}
    own = resnet(**widths | REFERENCES[name]).eval()
    for module in reference.modules():  # a new norm would be the identity
        if isinstance(module, nn.BatchNorm2d):
            (
                module.running_mean.normal_(std=0.1),
                module.running_var.uniform_(0.8, 1.2),
                nn.init.uniform_(module.weight, 0.2, 0.5),
            )
    values = list(reference.state_dict().values())
    assert [v.shape for v in own.state_dict().values()] == [v.shape for v in values]
    own.load_state_dict(dict(zip(own.state_dict(), values, strict=True)))
    x = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        for ours, theirs in zip(own(x).values(), reference(x)[1:], strict=True):
            assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


def test_deep_stem_has_detectron2s_names() -> None:
    """The names of its DeepLab project: conv1, conv2, conv3; the first two have half as many
    channels."""
    stem = resnet(deep_stem=True).stem
    assert [(n, m.out_channels, m.stride) for n, m in stem.named_children()] == [
        ("conv1", 4, (2, 2)),
        ("conv2", 4, (1, 1)),
        ("conv3", 8, (1, 1)),
    ]


def test_average_shortcut_by_hand() -> None:
    """One row 1 2 3 4 5 under a shortcut without a convolution: means of pairs, and the last cell
    alone."""
    model = resnet(depth=18, average_shortcut=True, norm="", res2_channels=1)
    block = model.res3[0]
    nn.init.zeros_(block.conv2.weight), nn.init.ones_(block.shortcut.weight)
    assert block(torch.arange(1.0, 6).view(1, 1, 1, 5))[0, 0].tolist() == [[1.5, 3.5, 5.0]]


def test_kernels_of_weight_standardisation() -> None:
    layer = StandardizedConv2d(4, 6, 3, groups=2)
    nn.init.normal_(layer.weight, mean=3, std=5)
    assert_close(layer.kernel().mean(dim=(1, 2, 3)), torch.zeros(6), rtol=0, atol=1e-6)
    assert_close(layer.kernel().var(dim=(1, 2, 3), correction=0), torch.ones(6))
    x, before = torch.randn(1, 4, 5, 5), layer.kernel()
    assert_close(layer(x), F.conv2d(x, before, layer.bias, padding=1, groups=2))
    layer.weight.data = layer.weight.data * 7 + 2
    assert_close(layer.kernel(), before, rtol=1e-5, atol=1e-5)
    constant = StandardizedConv2d(1, 1, 3, bias=False)
    nn.init.ones_(constant.weight)
    constant(x[:, :1]).sum().backward()
    assert constant.weight.grad.isfinite().all()


@pytest.mark.parametrize("depth", [18, 50])
def test_zero_init_starts_as_the_shortcut(depth: int) -> None:
    model = resnet(depth=depth, zero_init=True).eval()
    x = torch.rand(1, 16, 8, 8)
    assert_close(model.res2[1](x), x)
    reduced = model.res3[0]
    assert_close(reduced(x), reduced.shortcut(x).relu())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"zero_init": True, "norm": "FrozenBN"}, "ZERO_INIT: FrozenBN would stay 0"),
        (
            {"zero_init": True, "norm": "", "standardized": True},
            "ZERO_INIT with WEIGHT_STANDARDIZATION needs a norm",
        ),
        ({"depth": 34, "num_groups": 32}, "NUM_GROUPS must be 1 at DEPTH 34, .* found 32"),
        ({"depth": 42}, "DEPTH must be one of .*found 42"),
        ({"out_features": ["res6"]}, "OUT_FEATURES must be among"),
        (
            {"depth": 18, "res2_channels": 256},
            "RES2_OUT_CHANNELS is 256, a value for bottleneck blocks; at DEPTH 18 use 64",
        ),
        (
            {"deep_stem": True, "stem_channels": 1},
            "STEM_OUT_CHANNELS must be at least 2 with DEEP_STEM, found 1",
        ),
        ({"freeze_at": -1}, "FREEZE_AT must be at least 0, found -1"),
        (
            {"zero_init": True, "norm": "GN", "freeze_at": 2},
            "ZERO_INIT: MODEL.BACKBONE.FREEZE_AT 2 freezes stages",
        ),
        ({"norm": "LN"}, "MODEL.RESNETS.NORM: unknown norm 'LN'"),
        ({"norm": "GN", "norm_groups": 32}, "GN with 32 groups cannot divide 8 channels"),
    ],
)
def test_resnet_refuses(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        resnet(**changes)


def test_frozen_batchnorm_is_batchnorm_in_eval() -> None:
    norm = nn.BatchNorm2d(6)
    (
        norm.running_mean.normal_(),
        norm.running_var.uniform_(0.5, 2),
        norm.weight.data.normal_(),
        norm.bias.data.normal_(),
    )
    frozen, x = FrozenBatchNorm2d(6), torch.randn(2, 6, 5, 5)
    frozen.load_state_dict(norm.state_dict(), strict=False)
    assert_close(frozen(x), norm.eval()(x))
    assert_close(frozen(x.requires_grad_()), norm.eval()(x), rtol=1e-5, atol=1e-5)
    assert_close(FrozenBatchNorm2d(6)(x), x)  # the identity before weights are loaded


def test_freeze_replaces_a_norm() -> None:
    assert isinstance(freeze(build_norm("BN", 8, groups=1, key="NORM")), FrozenBatchNorm2d)


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


def test_relu_between_p6_and_p7_but_not_before_p6() -> None:
    """Kernels that copy the centre, P6's with a negative sign: [3, -3] -> P6 [-3, 3], P7 [0, 3] for
    two images."""
    levels = ExtraLevels(in_channels=1, out_channels=1, in_feature="res5", levels=[6, 7], relu=True)
    for level, sign in ((levels.p6, -1.0), (levels.p7, 1.0)):
        nn.init.zeros_(level.weight)
        level.weight.data[0, 0, 1, 1] = sign
    p6, p7 = levels(torch.tensor([3.0, -3.0]).view(2, 1, 1, 1))
    assert p6.flatten().tolist() == [-3, 3]
    assert p7.flatten().tolist() == [0, 3]
    levels.relu = False
    assert levels(torch.tensor([3.0, -3.0]).view(2, 1, 1, 1))[1].flatten().tolist() == [-3, 3]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"MODEL__FPN__IN_FEATURES": ["res3", "res5"]}, "must double"),
        ({"MODEL__FPN__IN_FEATURES": ["res2", "res3"]}, "must name maps that the backbone returns"),
        ({"MODEL__RETINA_PLUGIN__P6_FROM": "p4"}, "P6_FROM must be one of"),
        (
            {"MODEL__RETINA_PLUGIN__P6_FROM": "res4"},
            r"P6_FROM must be one of \['res5', 'p5'\], "
            r"found 'res4'",
        ),
        ({"MODEL__FPN__NORM": "LN"}, "MODEL.FPN.NORM: unknown norm 'LN'"),
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
        "box_dim": 4,
        "num_convs": 4,
        "width": 16,
        "norm": "",
        "norm_groups": 4,
        "activation": "relu",
        "separable": False,
        "level_scale": False,
        "quality_branch": False,
        "prior_prob": 0.01,
    }
    return RetinaHead(**arguments | changes)


def maps(model: RetinaHead, features: list[torch.Tensor]) -> tuple[list, list]:
    """Class and box maps of each level."""
    return model.class_maps(features), model.box_maps(features)


@pytest.mark.parametrize("norm", ["", "GN", "BN"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"width": 24},
        {"separable": True, "activation": "silu"},
        {"level_scale": True},
        {"num_convs": 0, "width": 24},
    ],
    ids=str,
)
def test_head_shapes_prior_and_gradients(norm: str, changes: dict) -> None:
    model = head(norm=norm, **changes)
    logits, deltas = maps(model, [torch.randn(2, 16, 8, 8), torch.randn(2, 16, 4, 4)])
    assert [tuple(x.shape) for x in logits] == [(2, 15, 8, 8), (2, 15, 4, 4)]
    assert [tuple(x.shape) for x in deltas] == [(2, 12, 8, 8), (2, 12, 4, 4)]
    assert_close(
        torch.cat([x.flatten() for x in logits]).sigmoid().mean(),
        torch.tensor(0.01),
        rtol=0.3,
        atol=0,
    )
    (sum(x.sum() for x in logits) + sum(x.sum() for x in deltas)).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_prior_of_each_class() -> None:
    """The bias has the order in which logits are flattened: for each anchor all classes."""
    prior = [0.5, 0.01, 0.02, 0.03, 0.04]
    assert_close(head(prior_prob=prior).cls_score.bias.sigmoid(), torch.tensor(prior * 3))


def test_separable_head_keeps_the_signal() -> None:
    """The standard deviation after the subnet is that of the full head within a factor of two."""
    x = torch.randn(1, 64, 32, 32)
    full, separable = (
        head(in_channels=64, width=64, separable=s).cls_subnet(x).std() for s in (False, True)
    )
    assert 0.5 < separable / full < 2
    layers = [m for m in head(separable=True).bbox_subnet.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.groups, m.kernel_size) for m in layers] == [(16, (3, 3)), (1, (1, 1))] * 4


def test_level_scales_multiply_deltas_only() -> None:
    model, features = head(level_scale=True), [torch.randn(1, 16, 4, 4)] * 2
    logits, deltas = maps(model, features)
    model.bbox_scales.data = torch.tensor([2.0, 3.0])
    scaled = maps(model, features)
    assert_close(scaled, (logits, [deltas[0] * 2, deltas[1] * 3]))
    assert "bbox_scales" not in head().state_dict()


def test_quality_branch() -> None:
    """A logit for each anchor from the box subnet; without the branch, the other parameters and
    predictions are the same."""
    features = [torch.randn(2, 16, 4, 4), torch.randn(2, 16, 2, 2)]
    model, without = head(quality_branch=True, level_scale=True), head(level_scale=True)
    added = {"quality_pred.weight", "quality_pred.bias"}
    assert model.state_dict().keys() - without.state_dict().keys() == added
    missing = without.load_state_dict(model.state_dict(), strict=False)
    assert set(missing.unexpected_keys) == added
    found, expected = model(features), without(features)
    assert_close(found[:2], expected[:2])
    assert expected.quality is None
    assert found.quality.shape == (2, 3 * (16 + 4))
    # anchor 1 of cell 0 of the first level
    inner = model.bbox_subnet(features[0])
    assert_close(found.quality[:, 1], model.quality_pred(inner)[:, 1, 0, 0])
    found.quality.sum().backward()
    assert all(p.grad is not None for p in model.bbox_subnet.parameters())


def test_subnets_have_separate_parameters() -> None:
    model = head()
    logits, _ = maps(model, [torch.randn(1, 16, 4, 4)] * 2)
    sum(x.sum() for x in logits).backward()
    assert all(
        p.grad is not None for p in (*model.cls_subnet.parameters(), *model.cls_score.parameters())
    )
    assert all(
        p.grad is None for p in (*model.bbox_subnet.parameters(), *model.bbox_pred.parameters())
    )


def test_levels_share_weights_but_not_statistics() -> None:
    model = head(norm="BN", num_convs=1).train()
    norm = model.cls_subnet[1]
    model([torch.randn(4, 16, 8, 8), 5 + torch.randn(4, 16, 4, 4)])
    assert (norm[0].running_mean - norm[1].running_mean).abs().max() > 0.01
    assert {name.split(".")[0] for name, _ in norm.named_parameters()} == {"weight", "bias"}
    x = torch.randn(1, 16, 4, 4)
    same = head(norm="").eval().class_maps([x, x])
    assert_close(same[0], same[1])


def test_statistics_stay_with_their_level_after_a_call_that_failed() -> None:
    model = head(norm="BN", num_convs=1).train()
    levels = [torch.randn(2, 16, 8, 8), 5 + torch.randn(2, 16, 4, 4)]
    with pytest.raises(RuntimeError):
        model(
            [levels[0], torch.randn(2, 3, 4, 4)]
        )  # the second level has another number of channels
    with pytest.raises(ValueError, match="more than 1 value"):
        model([levels[0], torch.randn(1, 16, 1, 1)])
    fresh = head(norm="BN", num_convs=1).train()
    fresh.load_state_dict(model.state_dict())
    assert_close(model(levels), fresh(levels))


def test_head_from_config() -> None:
    changes = {"WIDTH": 48, "ACTIVATION": "gelu", "SEPARABLE": True, "LEVEL_SCALE": True}
    model = compact_model(
        **{f"MODEL__RETINA_PLUGIN__HEAD__{key}": value for key, value in changes.items()}
    ).head
    assert (model.cls_score.in_channels, len(model.bbox_scales)) == (48, 5)
    assert [type(m).__name__ for m in model.cls_subnet] == ["SeparableConv2d", "GELU"] * 2
    with pytest.raises(ValueError, match=r"HEAD\.ACTIVATION: no activation is called 'swish'"):
        compact_model(MODEL__RETINA_PLUGIN__HEAD__ACTIVATION="swish")
    with pytest.raises(KeyError, match="Nearest: RetinaHead"):
        compact_model(MODEL__RETINA_PLUGIN__HEAD__NAME="RetinanetHead")
    with pytest.raises(
        ValueError,
        match=r"GN with 8 groups cannot divide 12 channels; change "
        r"MODEL\.RETINA_PLUGIN\.NORM_GROUPS",
    ):
        compact_model(MODEL__RETINA_PLUGIN__HEAD__WIDTH=12, MODEL__RETINANET__NORM="GN")


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.5, [0.1] * 4, [0.1, 0.1, 0.1, 0.1, 1.0]], ids=str)
def test_prior_must_be_a_probability(prior: float | list[float]) -> None:
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
