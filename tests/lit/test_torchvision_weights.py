"""State dicts of torchvision's models with random weights load, and give the same features and
detections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close
from torchvision.models.detection.anchor_utils import AnchorGenerator

from retina_plugin.checkpoint import (
    WeightsError,
    load_initial_weights,
    load_weights,
    match_parameters,
)
from retina_plugin.config import get_cfg
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.retinanet import RetinaNet
from tests.models import compact_cfg

CONFIGS = {
    "v1": "retinanet_R_50_FPN_torchvision.yaml",
    "v2": "retinanet_R_50_FPN_torchvision_v2.yaml",
}


def our_model(root: Path, config: str, **values: Any) -> RetinaNet:
    """Build the model of a COCO config; in the names of ``values``, ``__`` stands for a dot."""
    cfg = get_cfg()
    cfg.merge_from_file(str(root / "configs/coco" / config))
    values = {
        "MODEL__DEVICE": "cpu",
        "INPUT__MIN_SIZE_TEST": 0,
        "TEST__DETECTIONS_PER_IMAGE": 300,
        **values,
    }
    cfg.merge_from_list(
        [x for key, value in values.items() for x in (key.replace("__", "."), value)]
    )
    return build_model(cfg).eval()


def enliven(model: nn.Module) -> nn.Module:
    """Set random statistics and weights of norms, scaled so that activations do not grow with every
    block."""
    for name, module in model.named_modules():
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.uniform_(
                module.weight,
                0.1 if name.endswith("bn3") else 0.8,
                0.2 if name.endswith("bn3") else 1.2,
            )
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, 50])
def test_a_resnet(root: Path, tmp_path: Path, depth: int) -> None:
    theirs = enliven(getattr(torchvision.models, f"resnet{depth}")(weights=None))
    torch.save(theirs.state_dict(), tmp_path / "resnet.pth")
    widths = {
        "MODEL__RESNETS__DEPTH": depth,
        "MODEL__RESNETS__RES2_OUT_CHANNELS": 64 if depth == 18 else 256,
    }
    own = our_model(root, CONFIGS["v1"], **widths)
    report = str(load_initial_weights(own, str(tmp_path / "resnet.pth"), fine_tune=False))
    assert "(torchvision ResNet)" in report
    assert "fresh (36): backbone.top_block.p6, " in report
    assert report.endswith("not used (2): fc")
    x = torch.randn(1, 3, 64, 96)
    maps = own.backbone.bottom_up(x)
    x = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x)))))
    for name, layer in (("res3", theirs.layer2), ("res4", theirs.layer3), ("res5", theirs.layer4)):
        x = layer(x)
        assert_close(maps[name], x, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_backbone_of_another_detector(root: Path, tmp_path: Path) -> None:
    """Only the ResNet is loaded, and only to start training; the pyramid has the same names but
    other levels."""
    theirs = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2
    )
    torch.save(enliven(theirs).state_dict(), tmp_path / "faster.pth")
    own = our_model(root, CONFIGS["v1"])
    pyramid = {
        name: value.clone() for name, value in own.backbone.state_dict().items() if "fpn" in name
    }
    report = str(load_initial_weights(own, str(tmp_path / "faster.pth"), fine_tune=False))
    assert (
        "faster.pth (torchvision detector, its backbone): 265 of 301 parameters are taken over"
        in report
    )
    assert "fresh (36): " in report
    assert "backbone.fpn.inner_blocks.0.0" in report.splitlines()[-1]  # not used
    assert_close(
        own.backbone.bottom_up.res3[0].conv2.weight, theirs.backbone.body.layer2[0].conv2.weight
    )
    assert_close({name: own.backbone.state_dict()[name] for name in pyramid}, pyramid)
    with pytest.raises(WeightsError, match="only a backbone: training can start from it"):
        load_weights(own, str(tmp_path / "faster.pth"))


@pytest.mark.slow
def test_impossible_shapes_of_a_head(root: Path) -> None:
    state = their_detector("v1", 4).state_dict()
    model = our_model(root, CONFIGS["v1"], MODEL__RETINANET__NUM_CLASSES=4)
    for name in ("classification_head.cls_logits", "regression_head.bbox_reg"):
        for kind in ("weight", "bias"):
            for shape in ((), (0,), (7,), (2, 9)):
                odd = {**state, f"head.{name}.{kind}": torch.zeros(shape)}
                with pytest.raises(WeightsError, match="in the file"):
                    match_parameters(model, {"model": odd}, "x.pth")


def their_detector(version: str, num_classes: int) -> nn.Module:
    """A torchvision detector with scores spread over (0, 1), without resizing, and without
    suppression, because torchvision clips boxes before it and this project after it."""
    make = {"v1": "retinanet_resnet50_fpn", "v2": "retinanet_resnet50_fpn_v2"}[version]
    model = enliven(
        getattr(torchvision.models.detection, make)(
            weights=None,
            weights_backbone=None,
            num_classes=num_classes,
            nms_thresh=1.0,
            min_size=128,
            max_size=256,
        )
    )
    for name, parameter in model.named_parameters():
        if name.startswith("head.") and parameter.dim() == 4:
            nn.init.normal_(
                parameter,
                std={"conv": 0.03, "cls_logits": 0.04, "bbox_reg": 0.01}[name.split(".")[2]],
            )
    return model


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_detector(root: Path, tmp_path: Path, version: str) -> None:
    """Detections are equal if torchvision's anchors are not rounded; with rounded anchors, corners
    move by about half a pixel.

    Image sizes are multiples of 128. For other sizes torchvision's strides of P6 and P7 are not 64
    and 128.
    """
    theirs = their_detector(version, 91)
    torch.save(theirs.state_dict(), tmp_path / "retinanet.pth")
    own = our_model(
        root,
        CONFIGS[version],
        MODEL__RETINANET__NUM_CLASSES=91,
        MODEL__RETINANET__NMS_THRESH_TEST=1.0,
    )
    load_weights(own, str(tmp_path / "retinanet.pth"))
    image = torch.randint(0, 256, (3, 128, 256), dtype=torch.uint8)
    found = own.predict([image])[0]
    with torch.inference_mode():
        rounded = theirs([image / 255.0])[0]
        theirs.anchor_generator = UnroundedAnchors(
            theirs.anchor_generator.sizes, theirs.anchor_generator.aspect_ratios
        )
        exact = theirs([image / 255.0])[0]
    rounded, exact = (
        {name: x[inside(d["boxes"])] for name, x in d.items()} for d in (rounded, exact)
    )
    assert (
        version == "v1" or not own.head.cls_subnet[0].bias.any()
    )  # v2 has no bias before its norms
    assert len(found["scores"]) > 290
    assert found["scores"].std() > 1e-3
    assert len(found["labels"].unique()) > 3
    assert_close(found["scores"], exact["scores"], rtol=0, atol=1e-5)
    assert_close(found["labels"], exact["labels"])
    assert_close(found["boxes"], exact["boxes"], rtol=0, atol=1e-2)
    assert_close(found["scores"], rounded["scores"], rtol=0, atol=1e-5)
    moved = (found["boxes"] - rounded["boxes"]).abs()
    assert moved.median() < 0.5
    # an anchor corner moves by 0.5; the size is scaled by e^dw, and dx by the width
    assert moved.max() < 4


def inside(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes (M, 4) -> (M,) bool: whether an area is left after clipping. This project and
    Detectron2 drop the others."""
    return (boxes[:, 2:] > boxes[:, :2]).all(dim=1)


class UnroundedAnchors(AnchorGenerator):
    def generate_anchors(
        self, scales: list[int], aspect_ratios: list[float], **options: Any
    ) -> torch.Tensor:
        """The formula of torchvision without the rounding."""
        roots, scales = (
            torch.tensor(aspect_ratios).sqrt(),
            torch.tensor(scales, dtype=torch.float32),
        )
        width, height = ((roots**power)[:, None] * scales[None] for power in (-1, 1))
        corner = torch.stack([width.flatten(), height.flatten()], dim=1) / 2
        return torch.cat([-corner, corner], dim=1)


@pytest.mark.slow
def test_a_detector_in_the_names_of_its_first_versions(root: Path, tmp_path: Path) -> None:
    """In the file published in 2020, names of the head count ReLUs, and names of the pyramid have
    one number less."""
    theirs = their_detector("v1", 91)
    state = theirs.state_dict()
    for old, new in OLD_NAMES.items():
        for kind in ("weight", "bias"):
            state[f"{old}.{kind}"] = state.pop(f"{new}.{kind}")
    del state._metadata  # versions of the modules
    theirs.load_state_dict(state)  # torchvision can read it too
    torch.save(state, tmp_path / "old.pth")
    torch.save(theirs.state_dict(), tmp_path / "new.pth")
    old, new = our_model(root, CONFIGS["v1"]), our_model(root, CONFIGS["v1"])
    load_weights(old, str(tmp_path / "old.pth"))
    load_weights(new, str(tmp_path / "new.pth"))
    assert_close(old.state_dict(), new.state_dict())


OLD_NAMES = {
    f"backbone.fpn.{x}_blocks.{i}": f"backbone.fpn.{x}_blocks.{i}.0"
    for x in ("inner", "layer")
    for i in range(3)
}
OLD_NAMES |= {
    f"head.{x}_head.conv.{2 * i}": f"head.{x}_head.conv.{i}.0"
    for x in ("classification", "regression")
    for i in (3, 2, 1, 0)
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("theirs", "ours", "rows"),
    [
        pytest.param(4, 4, [0, 1, 2, 3], id="background kept, as class 0"),
        pytest.param(4, 3, [1, 2, 3], id="background dropped"),
        pytest.param(
            91, 80, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13], id="COCO's 80 among its ids up to 90"
        ),
    ],
)
def test_classes(root: Path, tmp_path: Path, theirs: int, ours: int, rows: list[int]) -> None:
    model = their_detector("v1", theirs)
    nn.init.normal_(model.head.classification_head.cls_logits.bias)
    torch.save(model.state_dict(), tmp_path / "x.pth")
    own = our_model(root, CONFIGS["v1"], MODEL__RETINANET__NUM_CLASSES=ours)
    load_weights(own, str(tmp_path / "x.pth"))
    bias = model.head.classification_head.cls_logits.bias.view(3, 3, theirs)  # ratio, size, class
    assert_close(
        own.head.cls_score.bias.view(3, 3, ours)[:, :, : len(rows)],
        bias.transpose(0, 1)[:, :, rows],
    )


@pytest.mark.slow
def test_the_wrong_version_names_the_key(root: Path, tmp_path: Path) -> None:
    torch.save(their_detector("v1", 91).state_dict(), tmp_path / "v1.pth")
    with pytest.raises(
        WeightsError,
        match=r"(?s)top_block.p6.weight: \(256, 256, 3, 3\) in the "
        r"file.*P6_FROM",
    ):
        load_weights(
            our_model(root, CONFIGS["v1"], MODEL__RETINA_PLUGIN__P6_FROM="res5"),
            str(tmp_path / "v1.pth"),
        )


def test_another_order_of_channels_is_a_warning(tmp_path: Path) -> None:
    """torchvision's networks expect RGB images divided by a standard deviation; the defaults of
    this project are those of MSRA's weights."""
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    options = {
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
        "MODEL.RESNETS.NORM": "BN",
    }
    cfg = compact_cfg(**{key.replace(".", "__"): value for key, value in options.items()})
    with pytest.warns(
        UserWarning, match=r"trained with INPUT.FORMAT RGB \(here BGR\), MODEL.PIXEL_MEAN \(123"
    ) as caught:
        load_initial_weights(build_model(cfg), str(tmp_path / "resnet18.pth"), fine_tune=False)
    assert "STRIDE_IN_1X1" not in str(caught[0].message)  # basic blocks have no 1x1 convolution
