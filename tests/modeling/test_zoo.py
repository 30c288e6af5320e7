"""Every backbone with and without every neck in one test, and tests of single backbones and
necks."""

import socket
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from retina_plugin.checkpoint import WeightsError, load_initial_weights
from retina_plugin.config import CfgNode, get_cfg
from retina_plugin.engine.checks import freeze_unused_parameters
from retina_plugin.layers.separable import SeparableConv2d
from retina_plugin.modeling.backbones import Backbone, ShapeSpec, TimmBackbone
from retina_plugin.modeling.backbones.timm import pixel_constants
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.build_backbone import (
    BACKBONE_REGISTRY,
    build_backbone,
    register_pairs,
    set_timm_pixel_constants,
)
from retina_plugin.modeling.necks import NECK_REGISTRY, Pyramid
from retina_plugin.modeling.necks.bifpn import BiFPNLayer, Fusion
from tests.models import compact_cfg

pytestmark = pytest.mark.slow

timm = pytest.importorskip("timm")

# Family -> a small model of it.
FAMILIES = {
    "ResNet-D": "resnet10t",
    "ResNeXt": "resnext26ts",
    "MobileNetV3": "mobilenetv3_small_050",
    "EfficientNet-Lite": "efficientnet_lite0",
    "RegNet": "regnety_002",
    "ConvNeXt": "convnext_atto",
    "HRNet": "hrnet_w18_small",
    "DLA": "dla46_c",
    "MobileViT, a hybrid": "mobilevit_xxs",
    "PVT v2, a transformer": "pvt_v2_b0",
    "Swin, of channels last": "swin_tiny_patch4_window7_224",
    "Xception, by hooks": "xception41",
}
# Parameters that only affect a map that a pyramid from stride 8 on does not use; the hosts
# freeze them.
UNREAD = {
    "hrnet_w18_small": ("bottom_up.model.stage4.0.fuse_layers.0", "bottom_up.model.incre_modules.0")
}
BUILDERS = [(name, FAMILIES["MobileNetV3"]) for name in BACKBONE_REGISTRY]
CASES = BUILDERS + [("build_retina_timm_fpn_backbone", member) for member in FAMILIES.values()]


def zoo_cfg(builder: str, member: str = FAMILIES["MobileNetV3"], **changes) -> CfgNode:
    cfg = compact_cfg(
        MODEL__BACKBONE__NAME=builder, MODEL__RETINA_PLUGIN__TIMM__NAME=member, **changes
    )
    set_timm_pixel_constants(cfg)
    return cfg


def zoo_backbone(builder: str, member: str = FAMILIES["MobileNetV3"], **changes) -> Backbone:
    return build_backbone(zoo_cfg(builder, member, **changes))


def stated(backbone: Backbone, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the feature maps that ``output_shape`` gives for an image, rounded up."""
    return {
        n: (s.channels, -(-height // s.stride), -(-width // s.stride))
        for n, s in backbone.output_shape().items()
    }


def shapes(maps: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(x.shape[1:]) for name, x in maps.items()}


def test_every_pair_is_registered() -> None:
    pairs = {
        f"build_retina_{b}_{n}_backbone"
        for b in ("resnet", "timm")
        for n in ("fpn", "pafpn", "bifpn")
    }
    assert pairs <= set(BACKBONE_REGISTRY)


@pytest.mark.parametrize(
    ("builder", "member"), CASES, ids=lambda x: x.removeprefix("build_retina_")
)
def test_backbone(builder: str, member: str, tmp_path: Path) -> None:
    """Check strides and channels, finite outputs, gradients of all parameters, odd image sizes, a
    batch of one, evaluation mode, and the model of a config that was written and read."""
    cfg = zoo_cfg(builder, member)
    backbone = build_backbone(cfg)
    assert [s.stride for s in backbone.output_shape().values()][-5:] in (
        [8, 16, 32, 64, 128],
        [4, 8, 16, 32],
        [8, 16, 32],
    )
    maps = backbone(torch.randn(2, 3, 64, 96))
    assert shapes(maps) == stated(backbone, 64, 96)
    sum(x.square().mean() for x in maps.values()).backward()
    without = [
        n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    assert [n for n in without if not n.startswith(UNREAD.get(member, "none"))] == []

    step = backbone.size_divisibility or 1
    height, width = -(-70 // step) * step, -(-101 // step) * step
    backbone.eval()
    with torch.no_grad():
        found = backbone(torch.randn(1, 3, height, width))
    assert shapes(found) == stated(backbone, height, width)
    assert all(x.isfinite().all() for x in found.values())

    again = get_cfg()
    (tmp_path / "config.yaml").write_text(cfg.dump(), encoding="utf-8")
    again.merge_from_file(str(tmp_path / "config.yaml"))
    assert again == cfg
    copy = build_backbone(again).eval()
    copy.load_state_dict(backbone.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert_close(copy(x), backbone(x))


def test_layers_that_no_level_uses_are_frozen() -> None:
    cfg = zoo_cfg("build_retina_timm_fpn_backbone", FAMILIES["HRNet"])
    model = build_model(cfg)
    freeze_unused_parameters(model)
    still = [n for n, p in model.backbone.named_parameters() if not p.requires_grad]
    assert still
    assert all(n.startswith(UNREAD["hrnet_w18_small"]) for n in still)


# Necks


class Maps(Backbone):
    """A fake backbone that returns given feature maps."""

    def __init__(self, **maps: Tensor) -> None:
        super().__init__()
        self.maps = maps
        self._shapes = {n: ShapeSpec(x.shape[1], 8 * 2**i) for i, (n, x) in enumerate(maps.items())}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.maps


def neck(name: str, bottom_up: Backbone | None = None, **changes) -> Pyramid:
    arguments = {
        "bottom_up": bottom_up
        or Maps(
            res3=torch.randn(1, 4, 8, 12),
            res4=torch.randn(1, 6, 4, 6),
            res5=torch.randn(1, 8, 2, 3),
        ),
        "in_features": ["res3", "res4", "res5"],
        "num_levels": 5,
        "out_channels": 4,
        "norm": "",
        "norm_groups": 2,
        "activation": "paper",
        "top_feature": "res5",
        "extra_relu": True,
    }
    kind = NECK_REGISTRY.get(name)
    return kind(**arguments | ({"repeats": 2} if name == "bifpn" else {}) | changes)


def as_identity(module: nn.Module) -> None:
    """Make convolutions with equal numbers of channels the identity, so that sums can be verified
    on paper."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            middle = layer.kernel_size[0] // 2
            for c in range(layer.out_channels):
                layer.weight.data[c, 0 if layer.groups > 1 else c, middle, middle] = 1


def constant(*values: float, channels: int = 1) -> list[Tensor]:
    """One constant map for each value, starting at 8x8 cells."""
    return [torch.full((1, channels, 8 // 2**i, 8 // 2**i), float(v)) for i, v in enumerate(values)]


def means(levels: dict[str, Tensor]) -> list[float]:
    return [round(x.mean().item(), 3) for x in levels.values()]


@pytest.mark.parametrize(("name", "expected"), [("fpn", [7, 6, 4]), ("pafpn", [7, 13, 17])])
def test_paths_of_sums(name: str, expected: list[float]) -> None:
    """Inputs 1, 2, 4: down, P = [1 + 2 + 4, 2 + 4, 4]; up, N = [7, 7 + 6, 13 + 4]."""
    model = neck(
        name,
        Maps(**dict(zip(("res3", "res4", "res5"), constant(1, 2, 4), strict=True))),
        out_channels=1,
        num_levels=3,
    )
    as_identity(model)
    assert means(model(torch.zeros(1))) == expected


def test_bifpn_layer_by_hand() -> None:
    """BiFPN takes means instead of sums. Inputs 1, 2, 4 with equal weights: down, [(1 + 3) / 2, (2
    + 4) / 2, 4]; up, the first stays 2, then (2 + 3 + 2) / 3 and (4 + 7 / 3) / 2."""
    layer = BiFPNLayer(
        3, fusion=lambda n: Fusion(n, activate=nn.Identity(), convolution=SeparableConv2d(1, 1))
    )
    as_identity(layer)
    outputs = [x.mean() for x in layer(constant(1, 2, 4))]
    assert_close(torch.stack(outputs), torch.tensor([2, 7 / 3, (4 + 7 / 3) / 2]), rtol=1e-3, atol=0)


def test_fusion_is_normalised_and_ignores_negative_weights() -> None:
    fuse = Fusion(3, activate=nn.Identity(), convolution=SeparableConv2d(1, 1))
    as_identity(fuse)
    fuse.weight.data = torch.tensor([3.0, 1.0, -5.0])
    inputs = [torch.full((1, 1, 2, 2), v) for v in (1.0, 5.0, 1000.0)]
    assert_close(fuse(inputs), torch.full((1, 1, 2, 2), (3 * 1 + 1 * 5) / 4.0001))


def test_bifpn_upsamples_a_level_that_was_rounded_up() -> None:
    """5 cells are reduced to 3 and return as 0 0 1 1 2: each cell gets the value of the cell that
    it was reduced to."""
    assert F.interpolate(
        torch.arange(3.0).view(1, 1, 1, 3), size=(1, 5), mode="nearest"
    ).flatten().tolist() == [
        0,
        0,
        1,
        1,
        2,
    ]
    model = neck(
        "bifpn",
        Maps(
            res3=torch.randn(1, 4, 5, 7), res4=torch.randn(1, 4, 3, 4), res5=torch.randn(1, 4, 2, 2)
        ),
    )
    assert shapes(model(torch.zeros(1))) == {
        "p3": (4, 5, 7),
        "p4": (4, 3, 4),
        "p5": (4, 2, 2),
        "p6": (4, 1, 1),
        "p7": (4, 1, 1),
    }


@pytest.mark.parametrize("name", list(NECK_REGISTRY))
@pytest.mark.parametrize("num_levels", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("top", ["res5", "p5"])
def test_levels(name: str, num_levels: int, top: str) -> None:
    model = neck(name, num_levels=num_levels, top_feature=top)
    assert (
        list(model(torch.zeros(1)))
        == list(model.output_shape())
        == [f"p{i}" for i in range(3, 3 + num_levels)]
    )
    assert [s.stride for s in model.output_shape().values()] == [
        2**i for i in range(3, 3 + num_levels)
    ]
    assert num_levels == 3 or model.top_block.p6.in_channels == (8 if top == "res5" else 4)


@pytest.mark.parametrize("name", list(NECK_REGISTRY))
@pytest.mark.parametrize("norm", ["BN", "GN"])
def test_norm_and_activation_by_config(name: str, norm: str) -> None:
    cfg = zoo_cfg(
        f"build_retina_resnet_{name}_backbone",
        MODEL__FPN__NORM=norm,
        MODEL__RETINA_PLUGIN__NECK__ACTIVATION="gelu",
    )
    model = build_backbone(cfg)
    kinds = [type(m) for m in model.modules()]
    assert {"BN": nn.BatchNorm2d, "GN": nn.GroupNorm}[norm] in kinds
    assert nn.GELU in kinds
    layers = [
        m
        for n, m in model.named_modules()
        if isinstance(m, nn.Conv2d) and not n.startswith(("bottom_up", "top_block"))
    ]
    assert layers
    assert all(m.bias is None for m in layers)  # the norm has a bias


def test_activation_of_the_papers() -> None:
    found = {
        name: type(getattr(neck(name), "activate_up", neck(name).activate))
        for name in NECK_REGISTRY
    }
    assert found == {"fpn": nn.Identity, "pafpn": nn.ReLU, "bifpn": nn.SiLU}


def test_repeats() -> None:
    assert (
        len(
            zoo_backbone(
                "build_retina_resnet_bifpn_backbone", MODEL__RETINA_PLUGIN__NECK__REPEATS=4
            ).layers
        )
        == 4
    )


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("fpn", {"in_features": ["res3", "res5"]}, "must double"),
        ("fpn", {"in_features": ["res2"]}, "must name maps that the backbone returns"),
        ("pafpn", {"top_feature": "p4"}, "P6_FROM must be one of .*'p5'.* found 'p4'"),
        ("bifpn", {"num_levels": 2}, "NECK.LEVELS must be at least 3"),
        ("bifpn", {"repeats": 0}, "NECK.REPEATS of at least 1"),
        (
            "fpn",
            {"activation": "rellu"},
            "NECK.ACTIVATION: no activation is called 'rellu'. Nearest: relu",
        ),
        (
            "bifpn",
            {"norm": "GN", "norm_groups": 3},
            "GN with 3 groups cannot divide 4 channels; change MODEL.RETINA_PLUGIN.NORM_GROUPS",
        ),
    ],
)
def test_necks_refuse(name: str, changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        neck(name, **changes)


def test_a_registered_neck_works_with_every_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NECK_REGISTRY, "_parts", dict(NECK_REGISTRY._parts))
    monkeypatch.setattr(BACKBONE_REGISTRY, "_parts", dict(BACKBONE_REGISTRY._parts))

    @NECK_REGISTRY.register("mine")
    class Mine(NECK_REGISTRY.get("fpn")):
        pass

    register_pairs()
    assert isinstance(zoo_backbone("build_retina_resnet_mine_backbone"), Mine)
    assert "build_retina_timm_mine_backbone" in BACKBONE_REGISTRY


def test_unknown_backbones_and_necks_list_the_nearest() -> None:
    with pytest.raises(KeyError, match="Nearest: build_retina_resnet_bifpn_backbone"):
        zoo_backbone("build_retina_resnet_biffpn_backbone")


# timm


def small(**changes) -> TimmBackbone:
    arguments = {
        "name": "resnet10t",
        "in_channels": 3,
        "drop_path": 0.0,
        "freeze_at": 0,
        "freeze_norms": False,
    }
    return TimmBackbone(**arguments | changes)


def test_maps_are_those_of_timm() -> None:
    model, x = small().eval(), torch.randn(1, 3, 64, 64)
    expected = model.model(x)[1:]
    for own, theirs in zip(model(x).values(), expected, strict=True):
        assert_close(own, theirs)
    swin = small(name=FAMILIES["Swin, of channels last"]).eval()
    assert_close(swin(x)["res5"], swin.model(x)[-1].permute(0, 3, 1, 2))


def test_pixels_are_those_of_the_model_unless_set() -> None:
    cfg = compact_cfg(
        MODEL__BACKBONE__NAME="build_retina_timm_fpn_backbone",
        MODEL__RETINA_PLUGIN__TIMM__NAME="resnet10t",
    )
    with pytest.raises(ValueError, match="set_timm_pixel_constants"):
        build_backbone(cfg)
    set_timm_pixel_constants(cfg)
    assert cfg.INPUT.FORMAT == "RGB"
    assert pytest.approx([123.675, 116.28, 103.53]) == cfg.MODEL.PIXEL_MEAN  # ImageNet's, times 255
    assert pytest.approx([58.395, 57.12, 57.375]) == cfg.MODEL.PIXEL_STD
    before = cfg.clone()
    set_timm_pixel_constants(cfg)
    assert cfg == before
    cfg = compact_cfg(
        MODEL__BACKBONE__NAME="build_retina_timm_fpn_backbone",
        MODEL__RETINA_PLUGIN__TIMM__NAME="resnet10t",
        MODEL__PIXEL_STD=[2.0, 2.0, 2.0],
    )
    set_timm_pixel_constants(cfg)
    assert (cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN[0], cfg.MODEL.PIXEL_STD) == (
        "BGR",
        103.53,
        [2.0, 2.0, 2.0],
    )
    other = compact_cfg()
    set_timm_pixel_constants(other)
    assert other == compact_cfg()


def test_a_timm_model_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timm model registered by the user without pixel constants, which the config must then
    set."""
    code = """
        import timm
        from timm.models.resnet import BasicBlock, ResNet

        @timm.models.register_model
        def my_resnet(pretrained=False, **kwargs):
            arguments = dict(block=BasicBlock, layers=[1, 1, 1, 1], **kwargs)
            return timm.models.build_model_with_cfg(ResNet, "my_resnet", pretrained, **arguments)
    """
    (tmp_path / "my_timm.py").write_text(textwrap.dedent(code), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    keys = {
        "MODEL__BACKBONE__NAME": "build_retina_timm_fpn_backbone",
        "MODEL__RETINA_PLUGIN__TIMM__NAME": "my_resnet",
        "MODEL__RETINA_PLUGIN__IMPORTS": ["my_timm"],
    }
    with pytest.raises(
        ValueError,
        match=r"timm has no pixel mean and standard deviation for 'my_resnet': set "
        r"MODEL.PIXEL_MEAN",
    ):
        set_timm_pixel_constants(compact_cfg(**keys))
    cfg = compact_cfg(**keys, MODEL__PIXEL_STD=[58.0, 57.0, 57.0])
    set_timm_pixel_constants(cfg)
    assert build_backbone(cfg).bottom_up.output_shape()["res5"] == ShapeSpec(512, 32)


def test_models_have_different_pixel_constants() -> None:
    """ImageNet's constants and Inception's; each is used by about half of timm's models."""
    assert pixel_constants("resnet18")[0] == [123.675, 116.28, 103.53]
    assert pixel_constants("tf_efficientnet_lite0") == ([127.5] * 3, [127.5] * 3)


def test_drop_path() -> None:
    rates = [
        m.drop_prob
        for m in small(name="convnext_atto", drop_path=0.2).modules()
        if type(m).__name__ == "DropPath"
    ]
    assert max(rates) == pytest.approx(0.2)
    assert not any(type(m).__name__ == "DropPath" for m in small(name="convnext_atto").modules())


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
def test_freezing(name: str) -> None:
    """With FREEZE_AT 3 all layers up to the map of stride 8 are frozen, including statistics; the
    others are trained."""
    model = small(name=name, freeze_at=3)
    x = torch.randn(2, 3, 64, 64)
    before = model.model.eval()(x)
    model.train()(x)
    after = model.model.eval()(x)
    strides = model.model.feature_info.reduction()
    for stride, a, b in zip(strides, before, after, strict=True):
        if stride <= 8:
            assert_close(a, b)
    train = model.train()(x)
    assert not train["res3"].requires_grad
    assert train["res4"].requires_grad
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert name == "convnext_atto" or norms  # norms of later stages still update statistics


@pytest.mark.parametrize("freeze_at", [0, 3, 5])
def test_frozen_norms(freeze_at: int) -> None:
    """Convolutions learn and norms do not: neither parameters nor statistics."""
    model = small(name="mobilenetv3_small_050", freeze_norms=True, freeze_at=freeze_at).train()
    norms = {n: b.clone() for n, b in model.named_buffers()}
    assert any(n.endswith("running_var") for n in norms)
    assert not any(".bn" in n for n, _ in model.named_parameters())
    model(torch.randn(2, 3, 64, 64))
    assert_close(dict(model.named_buffers()), norms)
    assert (freeze_at == 5) == (not any(p.requires_grad for p in model.parameters()))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050"])
def test_weights_of_a_local_file(name: str, suffix: str, tmp_path: Path) -> None:
    """A file like timm's, with the whole classifier."""
    whole, path = timm.create_model(name).eval(), str(tmp_path / f"file{suffix}")
    save(whole.state_dict(), path)
    model = build_model(zoo_cfg("build_retina_timm_fpn_backbone", name)).eval()
    load_initial_weights(model, path, fine_tune=False)
    x = torch.randn(1, 3, 64, 64)
    maps = model.backbone.bottom_up(x)
    expected = whole.forward_intermediates(x, intermediates_only=True)
    assert_close(maps["res5"], expected[-1])
    assert_close(maps["res3"], expected[-3])


@pytest.mark.parametrize("name", FAMILIES.values())
def test_files_of_every_family_are_loaded_completely(name: str, tmp_path: Path) -> None:
    save(timm.create_model(name).state_dict(), str(tmp_path / "file.pth"))
    model = build_model(zoo_cfg("build_retina_timm_fpn_backbone", name))
    found = load_initial_weights(model, str(tmp_path / "file.pth"), fine_tune=False)
    inside = {n for n in model.state_dict() if n.startswith("backbone.bottom_up.")}
    assert inside == {n for n in found.matched if n.startswith("backbone.bottom_up.")}
    assert found.unused  # the classifier


def save(state: dict[str, Tensor], path: str) -> None:
    if path.endswith(".pth"):
        torch.save(state, path)
    else:
        pytest.importorskip("safetensors.torch").save_file(
            {n: x.contiguous() for n, x in state.items()}, path
        )


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", connect)
    small(name="mobilenetv3_small_050")
    for name in ("hf-hub:timm/resnet18.a1_in1k", "hf_hub:timm/resnet18"):
        with pytest.raises(ValueError, match="has no model"):
            small(name=name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "resnet10tt"}, "has no model 'resnet10tt'. Nearest: resnet10t"),
        ({"name": ""}, "TIMM.NAME is empty: set it to one of timm.list_models"),
        ({"name": "zzzzzzzzzz"}, r"has no model 'zzzzzzzzzz'. Known: .*, \.\.\. \(\d+\)\.$"),
        (
            {"name": "resnet18.a1_in2k"},
            "resnet18 has no weights 'a1_in2k'. Nearest: resnet18.a1_in1k",
        ),
        (
            {"name": "botnet26t_256"},
            "'botnet26t_256' does not take images of any size: at 96x160, AssertionError",
        ),
        (
            {"name": "vit_tiny_patch16_224"},
            r"maps of strides \[16, 16, 16\], but a detector needs 8, "
            r"16 and 32",
        ),
        ({"name": "maxvit_rmlp_pico_rw_256"}, "does not take images of any size: at 96x160, "),
        ({"name": "selecsls42", "drop_path": 0.5}, "TIMM.DROP_PATH: 'selecsls42' has no drop path"),
        (
            {"name": "convnext_atto", "freeze_at": 1},
            "FREEZE_AT is 1, but the finest map of .* has stride 4: set it to 0, or to 2",
        ),
        (
            {"name": "convnext_atto", "freeze_norms": True},
            "TIMM.FREEZE_NORMS is True, but 'convnext_atto' has no batch norms",
        ),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_timm_refuses(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small(**changes)


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        ("resnet18", "resnet10t", r"lacks \(\d+\): backbone.bottom_up.model.conv1.0.weight"),
        ("resnet34", "resnet18", r"has unexpected \(\d+\): backbone.bottom_up.layer1.2"),
        ("seresnet50", "resnet50", r"has unexpected \(\d+\): backbone.bottom_up.layer1.0.se"),
        ("resnet50", "resnet50_gn", r"has unexpected \(\d+\): backbone.bottom_up.bn1.running_mean"),
        ("convnext_femto", "convnext_atto", r"other shapes \(\d+\)"),
        ("convnext_tiny", "convnext_nano", "MODEL.RETINA_PLUGIN.TIMM.NAME"),
    ],
)
def test_files_of_other_models(theirs: str, ours: str, words: str, tmp_path: Path) -> None:
    """Missing, surplus or differently shaped parameters are errors."""
    save(timm.create_model(theirs).state_dict(), str(tmp_path / "file.pth"))
    model = build_model(zoo_cfg("build_retina_timm_fpn_backbone", ours))
    with pytest.raises(WeightsError, match=words):
        load_initial_weights(model, str(tmp_path / "file.pth"), fine_tune=False)


def test_other_pixels_than_the_file_was_trained_with(tmp_path: Path) -> None:
    save(timm.create_model("resnet10t").state_dict(), str(tmp_path / "file.pth"))
    cfg = zoo_cfg("build_retina_timm_fpn_backbone", "resnet10t")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_initial_weights(build_model(cfg), str(tmp_path / "file.pth"), fine_tune=False)
    cfg.INPUT.FORMAT = "BGR"
    with pytest.warns(
        UserWarning,
        match=r"file.pth .* was trained with INPUT.FORMAT RGB \(here "
        r"BGR\)",
    ):
        load_initial_weights(build_model(cfg), str(tmp_path / "file.pth"), fine_tune=False)


def test_a_model_without_feature_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, **arguments) -> None:
        raise RuntimeError("features_only not implemented for this architecture")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(
        ValueError,
        match=r"TIMM\.NAME: 'resnet10t' returns no feature maps: features_only not "
        r"implemented",
    ):
        small()


def test_timm_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        ImportError,
        match=r"TIMM.NAME is 'resnet10t', which needs timm: pip install "
        r"'retina_plugin\[timm\]'",
    ):
        small()
