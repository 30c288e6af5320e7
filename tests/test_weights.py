"""Checkpoints: what is read, what is refused and how."""

import pickle
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.weights import WeightsError, load_weights
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
            "Only the class head differs: MODEL.RETINANET.NUM_CLASSES",
            id="classes",
        ),
        pytest.param({"MODEL__RESNETS__DEPTH": 34}, r"has more \(\d+\).*res2\.2", id="depth"),
        pytest.param({"MODEL__FPN__OUT_CHANNELS": 64}, "in the file.*in the model", id="width"),
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
    for name, save in (("a.pth", torch.save), ("b.pth", lambda x, p: p.write_bytes(pickle.dumps(x)))):
        save({"model": Payload(tmp_path / "created")}, tmp_path / name)
        with pytest.raises(WeightsError, match="can be read safely"):
            load_weights(compact_model(), str(tmp_path / name))
    assert not (tmp_path / "created").exists()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere.pth", "no checkpoint at nowhere.pth"),
        ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", "nothing is downloaded here"),
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
