"""What cannot be exported or loaded is an error that says what to do, and no file is left."""

from __future__ import annotations

import errno
import importlib.util
import io
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from retina_plugin.cli import main
from retina_plugin.config import ConfigError
from retina_plugin.config.disk import DiskError
from retina_plugin.engine import trained_model
from retina_plugin.export import torch_format, torchscript_format, write
from retina_plugin.export.errors import ExportError
from retina_plugin.export.evaluate import evaluate_exported
from retina_plugin.export.limits import notes_for_other_programs
from retina_plugin.export.load import load_exported
from retina_plugin.export.torchscript_format import METADATA
from tests.export.models import export
from tests.models import compact_model
from tests.scenes import write_scenes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("format", "outputs", "changes", "message"),
    [
        ("torch", "detections", {}, "possible with --format onnx and openvino"),
        (
            "onnx",
            "detections",
            {"MODEL__RETINA_PLUGIN__SUPPRESSOR__NAME": "SoftNMS"},
            r"SoftNMS of MODEL\.RETINA_PLUGIN\.SUPPRESSOR\.NAME cannot be exported",
        ),
        (
            "onnx",
            "detections",
            {"MODEL__RETINA_PLUGIN__TEST__SLICE__SIZE": 64},
            r"Set MODEL\.RETINA_PLUGIN\.TEST\.SLICE\.SIZE 0",
        ),
        ("onnx", "detections", {"size": (64, 100)}, "--size 64x100: .* multiples of 32"),
        ("onnx", "boxes", {"size": (64, 96)}, "only detections need one"),
    ],
)
def test_what_cannot_be_exported(
    format: str, outputs: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message):
        export(tmp_path, format, outputs, **changes)
    assert os.listdir(tmp_path) == []


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network that is written has one wrong bias; the old file stays."""
    build = write.build_network

    def wrong(model: Any, outputs: str) -> Any:
        network = build(model, outputs)
        network.model.head.cls_score.bias.data[0] += 1
        return network

    monkeypatch.setattr(write, "build_network", wrong)
    old = tmp_path / "model.pt"
    old.write_text("old")
    with pytest.raises(ExportError, match="was not written, because it differs from the model for"):
        export(tmp_path, "torchscript")
    assert old.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.pt"]


def test_the_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match=r"files of --format onnx end in \.onnx"):
        write.require_output("model.pt", "onnx")
    with pytest.raises(ExportError, match="there is no folder"):
        write.require_output(str(tmp_path / "no" / "model.onnx"), "onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=re.escape("pip install 'retina_plugin[export]'")):
        write.require_output("model.xml", "openvino")
    write.require_output("model.pt2", "torch")


def test_other_files_are_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's second file has the name of other programs' weights; the checkpoint stays too."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    (tmp_path / "model.bin").write_text("of another program")
    with pytest.raises(ExportError, match=r"model\.bin, which exists, would be replaced"):
        write.require_output(str(tmp_path / "model.xml"), "openvino")
    (tmp_path / "model.xml").write_text("an earlier export")
    write.require_output(str(tmp_path / "model.xml"), "openvino")
    checkpoint = tmp_path / "model.pt"
    checkpoint.write_text("weights")
    trained = SimpleNamespace(checkpoint=str(checkpoint), config_source="")
    monkeypatch.setattr(trained_model, "load_trained_model", lambda *_, **__: trained)
    command = ["export", str(tmp_path), "--format", "torchscript", "--output", str(checkpoint)]
    with pytest.raises(ExportError, match=r"model\.pt is the checkpoint: choose another name"):
        main(command)


def test_a_folder_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root can write everywhere
    with pytest.raises(ExportError, match="cannot be written to"):
        write.require_output(str(tmp_path / "model.pt"), "torchscript")


@pytest.mark.parametrize("format", ["torchscript", pytest.param("torch", marks=pytest.mark.long)])
def test_a_full_disk(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own writers would end the process, and leave an incomplete file."""

    class FullFile(io.BytesIO):
        def write(self, content: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    module = {"torchscript": torchscript_format, "torch": torch_format}[format]
    monkeypatch.setattr(module, "open", lambda *_: FullFile(), raising=False)
    with pytest.raises(DiskError, match=r"cannot write .*model\.pt2?: No space left"):
        export(tmp_path, format)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"MODEL__RETINA_PLUGIN__SUPPRESSOR__NAME": "SoftNMS"}, ["suppresses with SoftNMS"]),
        (
            {
                "MODEL__RETINA_PLUGIN__SUPPRESSOR__NAME": "ClassAgnosticNMS",
                "MODEL__RETINA_PLUGIN__TEST__SLICE__SIZE": 64,
            },
            ["suppresses with ClassAgnosticNMS", "several views of an image"],
        ),
    ],
)
def test_notes_about_steps_that_are_not_in_the_file(
    changes: dict[str, Any], words: list[str]
) -> None:
    lines = notes_for_other_programs(compact_model(**changes))
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))


def test_files_that_are_not_exported_detectors(tmp_path: Path) -> None:
    for name in ("a.onnx", "a.pt", "a.pt2", "a.xml"):
        path = tmp_path / name
        with pytest.raises(ExportError, match="cannot be read: No such file"):
            load_exported(str(path))
        if name.endswith(("onnx", "xml")):
            pytest.importorskip({"a.onnx": "onnxruntime", "a.xml": "openvino"}[name])
        path.write_bytes(b"nothing of the kind")
        with pytest.raises(
            ExportError, match=rf"{name} cannot be read by|{name} cannot be read as"
        ):
            load_exported(str(path))
    with pytest.raises(ExportError, match="expected an exported file"):
        load_exported("model.pth")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{}", "has no metadata 'retina_plugin': it was not written by retina export"),
        ('{"retina_plugin": "{\\"version\\": 2}"}', "metadata of version 2"),
        ('{"retina_plugin": "{\\"version\\": 1}"}', "cannot be read"),
        ('{"retina_plugin": "[]"}', "cannot be read"),
    ],
)
def test_a_network_without_our_metadata(metadata: str, message: str, tmp_path: Path) -> None:
    path = str(tmp_path / "other.pt")
    traced = torch.jit.trace(torch.nn.ReLU(), torch.zeros(1))
    torch.jit.save(traced, path, _extra_files={METADATA: metadata})
    with pytest.raises(ExportError, match=message):
        load_exported(path)


def test_metadata_of_another_network(tmp_path: Path) -> None:
    """The metadata of a detector around another network: the first image is an error."""
    _, path = export(tmp_path, "torchscript")
    files = {METADATA: ""}
    torch.jit.load(path, _extra_files=files)

    class Other(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images.new_zeros(1, 5, 4), images.new_zeros(1, 5, 3)

    other = torch.jit.trace(Other(), torch.zeros(1, 3, 64, 64))
    torch.jit.save(other, path, _extra_files=files)
    with pytest.raises(ExportError, match="metadata are those of another network"):
        load_exported(path).predict([torch.zeros(3, 64, 64)])


def test_sizes_that_a_file_does_not_take(tmp_path: Path) -> None:
    _, path = export(tmp_path, "torchscript")
    with pytest.raises(ExportError, match="must be multiples of 32, found 64x80"):
        load_exported(path).run(torch.zeros(1, 3, 64, 80))


@pytest.mark.parametrize(
    "override",
    [
        ["MODEL.RETINANET.SCORE_THRESH_TEST", "0.5"],
        ["MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE", "64"],
        ["INPUT.MIN_SIZE_TEST", "32"],
    ],
)
def test_an_evaluation_refuses_values_that_a_file_cannot_follow(
    override: list[str], tmp_path: Path
) -> None:
    _, path = export(tmp_path, "torchscript")
    with pytest.raises(ConfigError, match=rf"values are fixed: expected {override[0]} .*, found"):
        evaluate_exported(path, write_scenes(tmp_path, count=1, seed=0), "out", override)
    assert not os.path.exists("out")
