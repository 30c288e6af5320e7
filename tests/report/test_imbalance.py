"""Shares of the loss of easy and hard examples: the worked example by hand, measured curves, and
their figures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from retina_plugin.data import load_dataset, read_record
from retina_plugin.losses import INITIAL, derivatives, focal_terms
from retina_plugin.losses.one_pass import NO_WEIGHTS
from retina_plugin.report import imbalance, loss_figures
from retina_plugin.report.imbalance import (
    anchor_losses,
    cumulative_share,
    easy_to_hard,
    loss_variants,
)
from tests.models import compact_model
from tests.scenes import write_scenes

pytestmark = pytest.mark.slow

CE = 100_000 * 0.1 / (100 * 2.3)
# 1 - q of an easy example divided by that of a hard one: 0.0952 / 0.8997
WRONG = (1 - math.exp(-0.1)) / (1 - math.exp(-2.3))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("cross entropy", 43.478, id="10 000 / 230"),
        pytest.param("balanced, alpha 0.75", 43.478 / 3, id="background counts a third of objects"),
        pytest.param("balanced, alpha = 1 / (f + "
                     "eps)", 43.478 * 101 / 100_001, id="a thousandth, with an epsilon of one "
                                                        "example"),
        pytest.param("balanced, alpha "
                     "auto", 43.478 * math.sqrt(101 / 100_001), id="square root of 101 / 100 001"),
        pytest.param("focal, gamma 1, alpha "
                     "0.25", 43.478 * 0.105768 * 3, id="1 - q is 0.095163 and 0.899741"),
        pytest.param("focal, gamma 2, alpha 0.25", 1.45916, id="43.478 x 0.105768^2 x 3"),
        pytest.param("focal, gamma 5, alpha 0.25", CE * WRONG**5 * 3, id="43.478 x 0.105768^5 x 3"),
        pytest.param("focal*, gamma 2, alpha "
                     "0.25", 3.563, id="1000 x log(1 + e^-5.5044) / log(1 + e^3.3884) x 3"),
    ],
)  # fmt: skip
def test_the_worked_example(name: str, expected: float) -> None:
    (variant,) = [variant for variant in loss_variants() if variant.name == name]
    assert_close(easy_to_hard(variant), expected, rtol=1e-3, atol=0)


def test_the_page_has_the_numbers_of_the_functions(root: Path) -> None:
    page = (root / "docs/theory.md").read_text(encoding="utf-8")
    printed = dict(re.findall(r"^\| (.+?) \| ([\d.]+) \|$", page, flags=re.MULTILINE))
    for variant in loss_variants():
        assert printed[variant.name] == f"{easy_to_hard(variant):.3g}"


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        pytest.param([4.0, 1.0, 3.0, 2.0], [0, 0.1, 0.3, 0.6, 1], id="sorted from easy to hard"),
        pytest.param([1.0, 1.0], [0, 0.5, 1], id="equal ones share equally"),
        pytest.param([0.0, 0.0, 7.0], [0, 0, 0, 1], id="one example has all"),
        pytest.param([2.0], [0, 1], id="a single example"),
    ],
)
def test_cumulative_share_by_hand(losses: list[float], expected: list[float]) -> None:
    assert_close(
        cumulative_share(torch.tensor(losses)), torch.tensor(expected, dtype=torch.float64)
    )


@pytest.mark.parametrize("losses", [[], [0.0, 0.0]], ids=["no examples", "no loss"])
def test_no_loss(losses: list[float]) -> None:
    with pytest.raises(ValueError, match="the total loss of"):
        cumulative_share(torch.tensor(losses))


def test_curves_rise_from_0_to_1_and_fall_with_gamma() -> None:
    """For any losses, a larger gamma gives the easier examples a smaller share."""
    logits = torch.randn(1000, dtype=torch.float64)
    curves = [
        cumulative_share(derivatives.value(logits.sigmoid(), focal_terms, gamma=gamma))
        for gamma in loss_figures.GAMMAS
    ]
    for curve in curves:
        assert (curve.diff() >= 0).all()
        assert_close(curve[[0, -1]], torch.tensor([0, 1], dtype=torch.float64))
    for easier, bent in pairwise(curves):
        assert (bent[1:-1] < easier[1:-1]).all()


@pytest.mark.parametrize("input_format", ["BGR", "RGB"])
def test_anchor_losses_are_those_of_training(tmp_path: Path, input_format: str) -> None:
    """The losses of objects and background add up to the loss of the model for the untransformed
    images, times its normalizer."""
    records = load_dataset(write_scenes(tmp_path, count=3, seed=0)).records
    model = compact_model(MODEL__RETINANET__FOCAL_LOSS_ALPHA=NO_WEIGHTS, INPUT__FORMAT=input_format)
    objects, background = anchor_losses(model, records, gammas=(0.0, 2.0))
    assert model.training
    assert model.loss_normalizer == INITIAL
    expected = torch.zeros(())
    for record in records:
        image = torch.tensor(read_record(record)).permute(2, 0, 1)
        boxes = [a for a in record["annotations"] if not a["iscrowd"]]
        target = {
            "boxes": torch.tensor([a["bbox"] for a in boxes]).view(-1, 4).float(),
            "labels": torch.tensor([a["category_id"] for a in boxes], dtype=torch.int64),
        }
        batch = model.preprocess([image.flip(0) if input_format == "BGR" else image])
        expected += model(*batch, [target])["loss_cls"].detach() * model.loss_normalizer
    assert_close(objects[1].sum() + background[1].sum(), expected)
    assert 0 < objects.shape[1] < background.shape[1]
    assert (objects[1] < objects[0]).all()


def test_boxes_follow_the_size_of_the_test(tmp_path: Path) -> None:
    (record, *_) = load_dataset(write_scenes(tmp_path, count=1, seed=0)).records
    image, target = imbalance._resized_sample(compact_model(INPUT__MIN_SIZE_TEST=128), record)
    assert image.shape == (3, 128, 160)
    assert_close(
        target["boxes"], 2 * torch.tensor([a["bbox"] for a in record["annotations"]]).float()
    )


def test_a_box_of_the_whole_image_is_one_of_the_whole_input(tmp_path: Path) -> None:
    """30 x 70 pixels become 32 x 75, not 74.67, so the two sides have different scales."""
    Image.new("RGB", (70, 30)).save(tmp_path / "x.png")
    box = {"bbox": [0.0, 0.0, 70.0, 30.0], "category_id": 1, "iscrowd": 0}
    record = {"file_name": str(tmp_path / "x.png"), "annotations": [box]}
    image, target = imbalance._resized_sample(compact_model(INPUT__MIN_SIZE_TEST=32), record)
    assert image.shape == (3, 32, 75)
    assert_close(target["boxes"], torch.tensor([[0.0, 0, 75, 32]]))


def test_lines_are_the_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_figures, "render_figure", lambda figure: figure)
    (focal,), (by_q, by_logit) = (
        loss_figures.focal_figure().axes,
        loss_figures.derivatives_figure().axes,
    )
    for axes in (focal, by_q, by_logit):
        for gamma, line in zip(loss_figures.GAMMAS, axes.lines, strict=True):
            x, y = (np.asarray(values, dtype=np.float64) for values in line.get_data())
            q = 1 / (1 + np.exp(-x)) if axes is by_logit else x
            formula = {
                focal: -((1 - q) ** gamma) * np.log(q),
                by_q: (1 - q) ** gamma * (gamma * np.log(q) / (1 - q) - 1 / q),
                by_logit: (1 - q) ** gamma * (gamma * q * np.log(q) + q - 1),
            }
            np.testing.assert_allclose(y, formula[axes], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "draw",
    [
        loss_figures.cross_entropy_figure,
        loss_figures.focal_figure,
        loss_figures.derivatives_figure,
        lambda: loss_figures.loss_variants_figure(loss_variants()),
        lambda: loss_figures.loss_shares_figure(torch.rand(2, 3), torch.rand(2, 5000), (0.0, 2.0)),
    ],
    ids=["cross entropy", "focal", "derivatives", "ladder", "shares"],
)
def test_figures_are_drawn(draw: Callable[[], np.ndarray]) -> None:
    picture = draw()
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 300
    assert picture.shape[1] > picture.shape[0]
    assert (picture == (0, 114, 178)).all(axis=2).any()  # the first colour of the palette
