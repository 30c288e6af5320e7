"""Checkpoints: what is read, what is refused and how."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from retina_plugin.model import RetinaNet
from retina_plugin.weights import WeightsError, load_weights, start_from
from tests.models import compact_model


class Payload:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("bare", [False, True], ids=["under 'model'", "bare state_dict"])
def test_round_trip(tmp_path: Path, bare: bool) -> None:
    model, other = compact_model(), compact_model()
    state = model.state_dict()
    torch.save(state if bare else {"model": state, "metadata": {"class_names": ["a", "b", "c"]}}, tmp_path / "x.pth")
    metadata = load_weights(other, str(tmp_path / "x.pth"))
    assert metadata == ({} if bare else {"class_names": ["a", "b", "c"]})
    assert_close(other.state_dict(), state)


def test_the_normalizer_may_be_missing(tmp_path: Path) -> None:
    state = compact_model().state_dict()
    del state["loss_normalizer"]
    torch.save({"model": state}, tmp_path / "x.pth")
    load_weights(compact_model(), str(tmp_path / "x.pth"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"MODEL__RETINANET__NUM_CLASSES": 7},
            "NUM_CLASSES is not that of the training of this file: 7 there, 3 here.*FINE_TUNE",
            id="classes",
        ),
        pytest.param(
            {"MODEL__RESNETS__DEPTH": 34},
            r"has more \(\d+\).*res2\.2.*ResNet of \[3, 4, 6, 3\] blocks, the model has \[2, 2, 2, 2\]: MODEL.RESNETS.DEPTH",
            id="depth",
        ),
        pytest.param({"MODEL__FPN__OUT_CHANNELS": 64}, "in the file.*in the model", id="width"),
        pytest.param(
            {"MODEL__ANCHOR_GENERATOR__ASPECT_RATIOS": [[1.0]]}, "It has 2 anchors per cell, the model 6", id="anchors"
        ),
        pytest.param({"MODEL__RETINANET__NUM_CONVS": 4}, r"has more \(8\): head.bbox_subnet.4", id="more convolutions"),
        pytest.param({"MODEL__RETINANET__NUM_CONVS": 4}, r"lacks \(\d+\): head.cls_subnet.4", id="convolutions"),
    ],
)
def test_another_architecture(tmp_path: Path, changes: dict, words: str) -> None:
    torch.save({"model": compact_model(**changes).state_dict()}, tmp_path / "x.pth")
    model = compact_model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    if "lacks" in words:
        torch.save({"model": before}, tmp_path / "x.pth")
        model = compact_model(**changes)
        before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError, match="(?s)x.pth does not fit this model.*" + words):
        load_weights(model, str(tmp_path / "x.pth"))
    assert_close(model.state_dict(), before)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "cannot|can be read safely", id="empty"),
        pytest.param(b"not a checkpoint", "can be read safely", id="text"),
    ],
)
def test_broken_files(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        load_weights(compact_model(), str(tmp_path / "x.pth"))


def test_a_truncated_file(tmp_path: Path) -> None:
    torch.save({"model": compact_model().state_dict()}, tmp_path / "x.pth")
    whole = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="can be read safely"):
        load_weights(compact_model(), str(tmp_path / "x.pth"))


def test_a_malicious_file_runs_nothing(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth", "c.pkl", "d.pkl"):
        save = torch.save if name in ("a.pth", "c.pkl") else lambda x, p: p.write_bytes(pickle.dumps(x))
        save({"model": Payload(tmp_path / "created")}, tmp_path / name)
        with pytest.raises(WeightsError, match="can be read safely"):
            load_weights(compact_model(), str(tmp_path / name))
    assert not (tmp_path / "created").exists()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere.pth", "no checkpoint at nowhere.pth"),
        ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", "nothing is downloaded here.*linked from .*MODEL_ZOO.md"),
        ("https://localhost/x.pth", "nothing is downloaded here. Get the file and give its path"),
        ("model_final_bfca0b.pkl", "no checkpoint at .*linked from .*MODEL_ZOO.md"),
        ("resnet50-0676ba61.pth", "no checkpoint at .*torchvision.models.get_model_weights"),
    ],
)
def test_files_that_are_not_there(path: str, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        load_weights(compact_model(), path)


@pytest.mark.parametrize("content", [{"optimizer": {}}, [1, 2]], ids=["no model", "a list"])
def test_files_of_something_else(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="expected a state_dict"):
        load_weights(compact_model(), str(tmp_path / "x.pth"))


def backbone(model: RetinaNet) -> dict[str, torch.Tensor]:
    """A state dict of its backbone alone, as classifiers leave it, with their last layer."""
    return {**model.backbone.bottom_up.state_dict(), "stem.fc.weight": torch.zeros(10, 4)}


def test_training_may_start_from_a_backbone(tmp_path: Path) -> None:
    other, model = compact_model(), compact_model()
    head = {name: value.clone() for name, value in model.head.state_dict().items()}
    torch.save(backbone(other), tmp_path / "x.pth")
    report = str(start_from(model, str(tmp_path / "x.pth"), fine_tune=False))
    assert_close(model.backbone.bottom_up.state_dict(), other.backbone.bottom_up.state_dict())
    assert_close(model.head.state_dict(), head)
    assert "fresh (28): backbone.top_block.p6" in report
    assert "not used (1): backbone.bottom_up.stem.fc" in report


def test_detecting_with_a_backbone_alone_is_an_error(tmp_path: Path) -> None:
    torch.save(backbone(compact_model()), tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="a backbone alone, enough to start training from, not to detect with"):
        load_weights(compact_model(), str(tmp_path / "x.pth"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"MODEL__RESNETS__DEPTH": 34}, r"ResNet of \[3, 4, 6, 3\] blocks", id="deeper"),
        pytest.param({"MODEL__RESNETS__RES2_OUT_CHANNELS": 32}, "It is another backbone", id="wider"),
        pytest.param({"MODEL__RESNETS__NORM": "BN"}, "MODEL.RESNETS.NORM", id="another norm"),
    ],
)
def test_a_backbone_that_would_start_in_part(tmp_path: Path, changes: dict, words: str) -> None:
    for theirs, ours in ((changes, {}), ({}, changes)):
        torch.save(backbone(compact_model(**theirs)), tmp_path / "x.pth")
        words = words.replace("3, 4, 6, 3", "2, 2, 2, 2") if ours else words
        with pytest.raises(WeightsError, match=words):
            start_from(compact_model(**ours), str(tmp_path / "x.pth"), fine_tune=False)


def test_nothing_of_the_model(tmp_path: Path) -> None:
    torch.save({"encoder.0.weight": torch.zeros(3)}, tmp_path / "x.pth")
    for load in (load_weights, lambda model, path: start_from(model, path, fine_tune=True)):
        with pytest.raises(WeightsError, match="Not one name is known; the file has encoder"):
            load(compact_model(), str(tmp_path / "x.pth"))


def test_a_fresh_class_head_for_other_classes(tmp_path: Path) -> None:
    other, model = compact_model(MODEL__RETINANET__NUM_CLASSES=7), compact_model()
    fresh = model.head.cls_score.weight.detach().clone()
    torch.save({"model": other.state_dict()}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="7 there, 3 here"):
        start_from(model, str(tmp_path / "x.pth"), fine_tune=False)
    report = str(start_from(model, str(tmp_path / "x.pth"), fine_tune=True))
    assert "fresh (2): head.cls_score" in report
    assert_close(model.head.cls_score.weight.detach(), fresh)
    assert_close(model.head.bbox_pred.weight, other.head.bbox_pred.weight)
    assert_close(model.backbone.state_dict(), other.backbone.state_dict())


def test_fine_tuning_takes_no_other_difference(tmp_path: Path) -> None:
    other = compact_model(MODEL__RETINANET__NUM_CLASSES=7, MODEL__RETINANET__NUM_CONVS=1)
    torch.save({"model": other.state_dict()}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"lacks \(4\): head.cls_subnet.2.weight"):
        start_from(compact_model(), str(tmp_path / "x.pth"), fine_tune=True)


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s}, lambda s: {f"module.{k}": v for k, v in s.items()}])
def test_other_homes_of_a_state_dict(tmp_path: Path, wrap) -> None:
    other, model = compact_model(), compact_model()
    torch.save(wrap(other.state_dict()), tmp_path / "x.pth")
    load_weights(model, str(tmp_path / "x.pth"))
    assert_close(model.state_dict(), other.state_dict())


def test_a_pickle_of_arrays(tmp_path: Path) -> None:
    other, model = compact_model(), compact_model()
    arrays = {name: value.contiguous().numpy() for name, value in other.state_dict().items()}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": arrays, "__author__": "me"}))
    load_weights(model, str(tmp_path / "x.pkl"))
    assert_close(model.state_dict(), other.state_dict())


class TimmLike(nn.Module):
    """Named as timm names maps of a ConvNeXt: ``stages_0.blocks.0`` for ``stages.0.blocks.0``, below ``model``."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        for i in range(2):
            self.model.add_module(f"stages_{i}", nn.ModuleDict({"blocks": nn.Sequential(nn.Conv2d(3, 3, 1))}))


def test_names_of_timm(tmp_path: Path) -> None:
    model = compact_model()
    model.backbone.bottom_up = TimmLike()
    names = [f"stages.{i}.blocks.0.{kind}" for i in range(2) for kind in ("weight", "bias")]
    own = model.backbone.bottom_up.state_dict()
    state = {name: torch.rand_like(own[f"model.{name.replace('stages.', 'stages_')}"]) for name in names}
    torch.save({**state, "head.fc.weight": torch.zeros(10, 3), "norm_pre.weight": torch.zeros(3)}, tmp_path / "x.pth")
    report = str(start_from(model, str(tmp_path / "x.pth"), fine_tune=False))
    assert_close(model.backbone.bottom_up.model.stages_1.blocks[0].bias, state["stages.1.blocks.0.bias"])
    assert "not used (2): head.fc, norm_pre" in report
    del state["stages.1.blocks.0.bias"]
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"lacks \(1\): backbone.bottom_up.model.stages_1"):
        start_from(model, str(tmp_path / "x.pth"), fine_tune=False)
