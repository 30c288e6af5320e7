"""Loading of checkpoints: accepted files, refused files and their messages."""

import os
import pickle
import re
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from retina_plugin.checkpoint import (
    WeightsError,
    download_hint,
    load_initial_weights,
    load_weights,
    read_checkpoint,
    warn_if_classes_differ,
)
from retina_plugin.modeling.retinanet import RetinaNet
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
    torch.save(
        state if bare else {"model": state, "metadata": {"class_names": ["a", "b", "c"]}},
        tmp_path / "x.pth",
    )
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
            "NUM_CLASSES: 7 in the file, 3 in the model.*FINE_TUNE",
            id="classes",
        ),
        pytest.param(
            {"MODEL__RESNETS__DEPTH": 34},
            r"has unexpected \(\d+\).*res2\.2.*ResNet with \[3, 4, 6, 3\] blocks per stage, the "
            r"model has \[2, 2, 2, 2\]: change MODEL.RESNETS.DEPTH",
            id="depth",
        ),
        pytest.param({"MODEL__FPN__OUT_CHANNELS": 64}, "in the file.*in the model", id="width"),
        pytest.param(
            {"MODEL__ANCHOR_GENERATOR__ASPECT_RATIOS": [[1.0]]},
            "The file has 2 anchors per cell, the model has 6",
            id="anchors",
        ),
        pytest.param(
            {"MODEL__RETINANET__NUM_CONVS": 4},
            r"has unexpected \(8\): "
            r"head.bbox_subnet.4",
            id="more convolutions",
        ),
        pytest.param(
            {"MODEL__RETINANET__NUM_CONVS": 4},
            r"lacks \(\d+\): "
            r"head.cls_subnet.4",
            id="convolutions",
        ),
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


def test_a_malicious_file_executes_nothing(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth", "c.pkl", "d.pkl"):
        save = (
            torch.save
            if name in ("a.pth", "c.pkl")
            else lambda x, p: p.write_bytes(pickle.dumps(x))
        )
        save({"model": Payload(tmp_path / "created")}, tmp_path / name)
        with pytest.raises(WeightsError, match="can be read safely"):
            load_weights(compact_model(), str(tmp_path / name))
    assert not (tmp_path / "created").exists()


class Shell:
    """Unpickling this would run a command that does nothing."""

    def __reduce__(self):
        return os.system, ("true",)


def write_script(path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(1, 1), torch.zeros(1)), path)


def write_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(
            lambda path: torch.save({"a": Shell()}, path),
            r"it asks for \w+\.system, and "
            r"only",
            id="blocked",
        ),
        pytest.param(
            lambda path: torch.save(nn.Linear(1, 1), path),
            "it asks for torch.nn.modules.linear",
            id="model",
        ),
        pytest.param(
            lambda path: path.write_bytes(b"<!DOCTYPE html>"),
            "damaged, or torch.save did not",
            id="web page",
        ),
        pytest.param(
            lambda path: path.write_bytes(pickle.dumps({})),
            "damaged, or torch.save did not",
            id="pickle",
        ),
        pytest.param(write_script, "a TorchScript archive with code", id="TorchScript"),
        pytest.param(write_tar, "in the tar format of early torch versions", id="tar"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*jit:FutureWarning")
def test_refusals_give_the_reason_without_advice_to_disable_the_check(
    tmp_path: Path, write: Callable, words: str
) -> None:
    write(tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=words) as caught:
        read_checkpoint(str(tmp_path / "x.pth"))
    assert "weights_only" not in str(caught.value)


def test_parts_of_a_file_of_older_torch(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "x.pth").read_bytes()
    for size in range(0, len(whole), 3):
        (tmp_path / "x.pth").write_bytes(whole[:size])
        with pytest.raises(
            WeightsError,
            match=r"x\.pth is not a checkpoint that can be read "
            r"safely",
        ):
            read_checkpoint(str(tmp_path / "x.pth"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(3, device="meta"), "torch.float32 on meta"),
        (torch.zeros(3).to_sparse(), "torch.sparse_coo"),
    ],
    ids=["meta", "sparse"],
)
def test_only_dense_tensors_are_read(tmp_path: Path, value: torch.Tensor, words: str) -> None:
    torch.save({"model": {"odd.weight": value}}, tmp_path / "x.pth")
    with pytest.raises(
        WeightsError, match=f"x.pth: expected odd.weight to be a dense tensor .*{words}"
    ):
        read_checkpoint(str(tmp_path / "x.pth"))


@pytest.mark.parametrize(
    "name", ["head.bbox_pred.bias", "head.cls_score.bias", "backbone.top_block.p6.weight"]
)
@pytest.mark.parametrize("shape", [(), (0,)])
def test_impossible_shapes(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    torch.save(
        {"model": {**compact_model().state_dict(), name: torch.zeros(shape)}}, tmp_path / "x.pth"
    )
    with pytest.raises(WeightsError, match=re.escape(f"{name}: {shape} in the file")):
        load_weights(compact_model(), str(tmp_path / "x.pth"))


@pytest.mark.parametrize("fine_tune", [False, True])
def test_a_class_head_that_is_not_whole(tmp_path: Path, fine_tune: bool) -> None:
    """Missing parameters are not reported as another number of classes."""
    state = compact_model().state_dict()
    del state["head.cls_score.bias"]
    torch.save({"model": state}, tmp_path / "x.pth")
    for load in (
        load_weights,
        lambda model, path: load_initial_weights(model, path, fine_tune=fine_tune),
    ):
        with pytest.raises(WeightsError, match="lacks parameters of the class head") as error:
            load(compact_model(), str(tmp_path / "x.pth"))
        assert "NUM_CLASSES" not in str(error.value)


@pytest.mark.parametrize("metadata", [3, [1], None])
def test_metadata_of_another_kind_is_none(tmp_path: Path, metadata: object) -> None:
    torch.save({"model": compact_model().state_dict(), "metadata": metadata}, tmp_path / "x.pth")
    assert load_weights(compact_model(), str(tmp_path / "x.pth")) == {}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_values_that_are_not_finite(tmp_path: Path, number: float) -> None:
    state = compact_model().state_dict()
    state["head.cls_score.bias"][1] = number
    torch.save({"model": state}, tmp_path / "x.pth")
    for load in (
        load_weights,
        lambda model, path: load_initial_weights(model, path, fine_tune=True),
    ):
        model = compact_model()
        with pytest.raises(WeightsError, match="1 of its parameters are NaN or infinite: head"):
            load(model, str(tmp_path / "x.pth"))
        assert model.head.cls_score.bias.isfinite().all()


def test_values_that_are_not_loaded_may_be_anything(tmp_path: Path) -> None:
    state = backbone(compact_model())
    state["stem.fc.weight"].fill_(float("nan"))
    torch.save(state, tmp_path / "x.pth")
    load_initial_weights(compact_model(), str(tmp_path / "x.pth"), fine_tune=False)


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (["square", "bar", "nothing"], None),
        (["a", "b"], None),  # a separate error
        (
            ["square", "bar", "thing"],
            "x.pth was trained with other classes: thing in the file, nothing in this run",
        ),
        (["bar", "square", "nothing"], "bar, square in the file, square, bar in this run"),
        ([1, 2, 3], None),
        (None, None),
    ],
)
def test_other_names_for_the_same_number_of_classes(theirs: object, words: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_classes_differ({"class_names": theirs}, ["square", "bar", "nothing"], "x.pth")
    assert len(caught) == (words is not None)
    assert words is None or words in str(caught[0].message)


def test_training_from_other_classes_is_a_warning(tmp_path: Path) -> None:
    content = {"model": compact_model().state_dict(), "metadata": {"class_names": ["a", "b", "c"]}}
    torch.save(content, tmp_path / "x.pth")
    with pytest.warns(
        UserWarning, match="was trained with other classes: c in the file, d in this run"
    ):
        load_initial_weights(
            compact_model(), str(tmp_path / "x.pth"), fine_tune=False, class_names=["a", "b", "d"]
        )


def test_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save({"a": torch.zeros(2)}, tmp_path / "x.pth")
    assert_close(read_checkpoint("~/x.pth")["model"], {"a": torch.zeros(2)})


def test_a_moving_average_is_taken_first(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"a": torch.zeros(2)}, "state_dict_ema": {"a": torch.ones(2)}},
        tmp_path / "x.pth",
    )
    assert_close(read_checkpoint(str(tmp_path / "x.pth"))["model"], {"a": torch.ones(2)})


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("R-50-GN.pkl", "MODEL_ZOO.md"),
        ("X-101-32x8d.pkl", "MODEL_ZOO.md"),
        ("X-152-32x8d-IN5k.pkl", "MODEL_ZOO.md"),
        ("model_final.pth", ""),
        ("model_final_mine.pth", ""),
        ("wide_resnet50_2-9ba9bcbe.pth", "torchvision"),
        ("retinanet_resnet50_fpn_v2_coco-5905b1c5.pth", "torchvision"),
        ("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", "torchvision"),
        ("resnet50d_ra2-464e36ba.pth", ""),
        ("resnet50_a1_0-14fe96d1.pth", ""),
        ("resnet50_finetuned.pth", ""),
    ],
)
def test_messages_say_where_to_get_a_file(name: str, source: str) -> None:
    assert source in download_hint(name)
    assert bool(source) == bool(download_hint(name))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere.pth", "no checkpoint at nowhere.pth"),
        (
            "s3://bucket/x.pth",
            "MODEL.WEIGHTS s3://bucket/x.pth: expected the path of a file, or an",
        ),
        ("model_final_bfca0b.pkl", "no checkpoint at .*linked from .*MODEL_ZOO.md"),
        ("resnet50-0676ba61.pth", "no checkpoint at .*torchvision.models.get_model_weights"),
    ],
)
def test_missing_files(path: str, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        load_weights(compact_model(), path)


@pytest.mark.parametrize("content", [{"optimizer": {}}, [1, 2]], ids=["no model", "a list"])
def test_files_with_other_content(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="expected a state_dict"):
        load_weights(compact_model(), str(tmp_path / "x.pth"))


def backbone(model: RetinaNet) -> dict[str, torch.Tensor]:
    """State dict of the backbone only, as image classifiers have it, with their last layer."""
    return {**model.backbone.bottom_up.state_dict(), "stem.fc.weight": torch.zeros(10, 4)}


def test_training_may_start_from_a_backbone(tmp_path: Path) -> None:
    other, model = compact_model(), compact_model()
    head = {name: value.clone() for name, value in model.head.state_dict().items()}
    torch.save(backbone(other), tmp_path / "x.pth")
    report = str(load_initial_weights(model, str(tmp_path / "x.pth"), fine_tune=False))
    assert_close(model.backbone.bottom_up.state_dict(), other.backbone.bottom_up.state_dict())
    assert_close(model.head.state_dict(), head)
    assert "fresh (28): backbone.top_block.p6" in report
    assert "not used (1): backbone.bottom_up.stem.fc" in report


def test_detecting_with_a_backbone_alone_is_an_error(tmp_path: Path) -> None:
    torch.save(backbone(compact_model()), tmp_path / "x.pth")
    with pytest.raises(
        WeightsError, match="only a backbone: training can start from it, but it cannot detect"
    ):
        load_weights(compact_model(), str(tmp_path / "x.pth"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"MODEL__RESNETS__DEPTH": 34},
            r"ResNet with \[3, 4, 6, 3\] "
            r"blocks",
            id="deeper",
        ),
        pytest.param(
            {"MODEL__RESNETS__RES2_OUT_CHANNELS": 32}, "The file has another backbone", id="wider"
        ),
        pytest.param({"MODEL__RESNETS__NORM": "BN"}, "MODEL.RESNETS.NORM", id="another norm"),
    ],
)
def test_a_backbone_that_matches_only_in_part(tmp_path: Path, changes: dict, words: str) -> None:
    for theirs, ours in ((changes, {}), ({}, changes)):
        torch.save(backbone(compact_model(**theirs)), tmp_path / "x.pth")
        words = words.replace("3, 4, 6, 3", "2, 2, 2, 2") if ours else words
        with pytest.raises(WeightsError, match=words):
            load_initial_weights(compact_model(**ours), str(tmp_path / "x.pth"), fine_tune=False)


def test_a_file_without_any_parameter_of_the_model(tmp_path: Path) -> None:
    torch.save({"encoder.0.weight": torch.zeros(3)}, tmp_path / "x.pth")
    for load in (
        load_weights,
        lambda model, path: load_initial_weights(model, path, fine_tune=True),
    ):
        with pytest.raises(
            WeightsError, match=r"The model has none of the file's parameter names: encoder"
        ):
            load(compact_model(), str(tmp_path / "x.pth"))


def test_a_fresh_class_head_for_other_classes(tmp_path: Path) -> None:
    other, model = compact_model(MODEL__RETINANET__NUM_CLASSES=7), compact_model()
    fresh = model.head.cls_score.weight.detach().clone()
    torch.save({"model": other.state_dict()}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="7 in the file, 3 in the model"):
        load_initial_weights(model, str(tmp_path / "x.pth"), fine_tune=False)
    report = str(load_initial_weights(model, str(tmp_path / "x.pth"), fine_tune=True))
    assert "fresh (2): head.cls_score" in report
    assert_close(model.head.cls_score.weight.detach(), fresh)
    assert_close(model.head.bbox_pred.weight, other.head.bbox_pred.weight)
    assert_close(model.backbone.state_dict(), other.backbone.state_dict())


def test_fine_tuning_takes_no_other_difference(tmp_path: Path) -> None:
    other = compact_model(MODEL__RETINANET__NUM_CLASSES=7, MODEL__RETINANET__NUM_CONVS=1)
    torch.save({"model": other.state_dict()}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"lacks \(4\): head.cls_subnet.2.weight"):
        load_initial_weights(compact_model(), str(tmp_path / "x.pth"), fine_tune=True)


@pytest.mark.parametrize(
    "wrap", [lambda s: {"state_dict": s}, lambda s: {f"module.{k}": v for k, v in s.items()}]
)
def test_other_keys_that_hold_a_state_dict(tmp_path: Path, wrap) -> None:
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
    """Has timm's names for the feature maps of a ConvNeXt: ``stages_0.blocks.0`` for
    ``stages.0.blocks.0``."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        for i in range(2):
            self.model.add_module(
                f"stages_{i}", nn.ModuleDict({"blocks": nn.Sequential(nn.Conv2d(3, 3, 1))})
            )


def test_names_of_timm(tmp_path: Path) -> None:
    model = compact_model()
    model.backbone.bottom_up = TimmLike()
    names = [f"stages.{i}.blocks.0.{kind}" for i in range(2) for kind in ("weight", "bias")]
    own = model.backbone.bottom_up.state_dict()
    state = {
        name: torch.rand_like(own[f"model.{name.replace('stages.', 'stages_')}"]) for name in names
    }
    torch.save(
        {**state, "head.fc.weight": torch.zeros(10, 3), "norm_pre.weight": torch.zeros(3)},
        tmp_path / "x.pth",
    )
    report = str(load_initial_weights(model, str(tmp_path / "x.pth"), fine_tune=False))
    assert_close(
        model.backbone.bottom_up.model.stages_1.blocks[0].bias, state["stages.1.blocks.0.bias"]
    )
    assert "not used (2): head.fc, norm_pre" in report
    del state["stages.1.blocks.0.bias"]
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"lacks \(1\): backbone.bottom_up.model.stages_1"):
        load_initial_weights(model, str(tmp_path / "x.pth"), fine_tune=False)
