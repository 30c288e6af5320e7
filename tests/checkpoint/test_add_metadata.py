"""Metadata are added to a checkpoint; all else in the file stays."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from retina_plugin.checkpoint import WeightsError, metadata_of, read_checkpoint
from retina_plugin.checkpoint.add_metadata import add_metadata
from retina_plugin.checkpoint.checksum import save_with_checksum
from retina_plugin.config.disk import DiskError
from tests.full_disk import FullDisk


def content() -> dict[str, Any]:
    """Content like that of Lightning's checkpoints: "state_dict" shares its storage with
    "model"."""
    state = nn.BatchNorm1d(1000).state_dict()
    return {
        "model": state,
        "state_dict": OrderedDict((f"model.{name}", value) for name, value in state.items()),
        "optimizer": {"step": torch.tensor(3.0), "betas": (0.9, 0.999)},
        "metadata": {"class_names": ["cat"], "score_thresholds": {"cat": 0.9}},
        "iteration": 7,
    }


def test_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "model_final.pth"
    save_with_checksum(content(), str(path))
    size = path.stat().st_size
    add_metadata(str(path), {"score_thresholds": {"cat": 0.25}})
    assert metadata_of(read_checkpoint(str(path))) == {
        "class_names": ["cat"],
        "score_thresholds": {"cat": 0.25},
    }
    found = torch.load(path, weights_only=True)
    assert found.keys() == content().keys()
    assert list(found["model"]) == list(content()["model"])
    assert found["model"]._metadata == content()["model"]._metadata
    assert all(torch.equal(found["model"][k], v) for k, v in content()["model"].items())
    assert found["optimizer"]["betas"] == (0.9, 0.999)
    weight = found["model"]["weight"]
    assert weight.data_ptr() == found["state_dict"]["model.weight"].data_ptr()
    assert abs(path.stat().st_size - size) < 200


def test_completely_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model_final.pth"
    save_with_checksum(content(), str(path))
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        FullDisk(tmp_path, "model_final").install(patched)
        with pytest.raises(DiskError, match="No space"):
            add_metadata(str(path), {"score_thresholds": {}})
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(WeightsError, match="no checkpoint at"):
        add_metadata(str(tmp_path / "other.pth"), {})
