"""Costs of a model, compared with sums computed by hand."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.build_backbone import set_timm_pixel_constants
from tests.models import compact_cfg, compact_model

pytestmark = pytest.mark.slow


@pytest.fixture
def tool(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "tools"))
    return importlib.import_module("analyze_model")


def test_costs_of_parts_by_hand(tool: ModuleType) -> None:
    """An FPN with 32 channels on maps with 32, 64 and 128; a head with 2 + 2 convolutions without
    norm, A = 6, K = 3.

    The input has 64x96 pixels, so the levels have 96, 24, 6, 2 and 1 cells.
    """
    model = compact_model(MODEL__RETINANET__NUM_CONVS=2)
    rows = {part.name: part for part in tool.analyze(model, 64, 96, repeats=1)}
    assert list(rows) == ["backbone", "neck", "head", "detections", "all"]
    cells, width = [96, 24, 6, 2, 1], 32
    convolution, outputs = 9 * width * width, 6 * (3 + 4)
    assert rows["head"].flops == sum(cells) * (4 * convolution + 9 * width * outputs)
    assert rows["head"].activations == sum(cells) * (4 * width + outputs)
    assert rows["head"].parameters == 4 * (convolution + width) + (9 * width + 1) * outputs
    lateral = 96 * 32 * width + 24 * 64 * width + 6 * 128 * width
    upsampled = (96 + 24) * width  # fvcore counts one operation for each value
    extra = 2 * 9 * 128 * width + 1 * convolution
    assert rows["neck"].flops == lateral + (96 + 24 + 6) * convolution + upsampled + extra
    assert rows["neck"].activations == 2 * (96 + 24 + 6) * width + 3 * width
    assert rows["all"].parameters == sum(p.numel() for p in model.parameters())
    for key in ("flops", "activations", "kept", "ms"):
        assert getattr(rows["all"], key) == pytest.approx(
            sum(getattr(rows[n], key) for n in list(rows)[:-1])
        )
    # The head keeps the input of each convolution and the output of each ReLU, in four bytes; P3 ..
    # P7 are the inputs of both subnets.
    assert rows["head"].kept == 4 * sum(cells) * 5 * width
    assert all(rows[n].ms > 0 for n in ("backbone", "neck", "head"))


def test_a_backbone_without_a_neck_has_one_part(tool: ModuleType) -> None:
    model = compact_model()
    model.backbone.bottom_up, inner = None, model.backbone.bottom_up
    assert list(tool.modules_of(model)) == ["backbone", "head"]
    model.backbone.bottom_up = inner
    assert list(tool.modules_of(model)) == ["backbone", "neck", "head"]


@pytest.mark.parametrize("name", ["mobilevit_xxs", "pvt_v2_b0"])
def test_fused_attention_counts_as_its_two_products(tool: ModuleType, name: str) -> None:
    """timm's models can also run without fused attention; then fvcore counts the two matrix
    products itself."""
    pytest.importorskip("timm")
    cfg = compact_cfg(
        MODEL__BACKBONE__NAME="build_retina_timm_fpn_backbone",
        MODEL__RETINA_PLUGIN__TIMM__NAME=name,
    )
    set_timm_pixel_constants(cfg)
    model = build_model(cfg)
    attentions = [module for module in model.modules() if hasattr(module, "fused_attn")]
    assert attentions
    assert all(module.fused_attn for module in attentions)
    fused = tool.analyze(model, 64, 96, repeats=1)[0]
    for module in attentions:
        module.fused_attn = False
    plain = tool.analyze(model, 64, 96, repeats=1)[0]
    assert (fused.flops, fused.activations) == (plain.flops, plain.activations)


@pytest.mark.parametrize(
    ("options", "words"), [(["--size", "0", "64"], "--size"), (["--repeats", "0"], "--repeats")]
)
def test_bad_numbers(
    tool: ModuleType, options: list[str], words: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        tool.parse(["--config-file", "x.yaml", *options])
    assert f"argument {words}: expected at least 1, found 0" in capsys.readouterr().err


def test_command_line(
    tool: ModuleType, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = [
        "--config-file",
        str(root / "configs/digits/retinanet_compact.yaml"),
        "--size",
        "64",
        "64",
        "--repeats",
        "1",
    ]
    tool.main(
        [
            *argv,
            "--json",
            str(tmp_path / "parts.json"),
            "MODEL.RETINANET.NUM_CLASSES",
            "7",
            "MODEL.DEVICE",
            "cpu",
        ]
    )
    printed = capsys.readouterr().out
    assert "K = 7 classes, A = 6 anchors per cell of p3, p4; the head gives K x A = 42" in printed
    assert "one image of 64x64 pixels on cpu" in printed
    rows = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("|")]
    assert rows == ["part", "-----------:", "backbone", "neck", "head", "detections", "all"]
    assert [
        row["name"] for row in json.loads((tmp_path / "parts.json").read_text(encoding="utf-8"))
    ] == rows[2:]


def test_default_size(tool: ModuleType, root: Path) -> None:
    cfg = tool.config_of(str(root / "configs/coco/retinanet_R_50_FPN_1x.yaml"), [])
    assert tool.default_size(cfg) == (800, 1067)
