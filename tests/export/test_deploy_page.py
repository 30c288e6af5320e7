"""The programs of docs/deploy.md work on a file that ``retina export`` writes."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import retina_plugin
from retina_plugin.export.compare import detection_difference
from retina_plugin.export.load import load_exported
from tests.export.models import NAMES, export, photos
from tests.test_docs import named_block


def program(name: str, root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Write a program of the page beside model.onnx and my/images/001.png, and import it there."""
    (folder / "my/images").mkdir(parents=True)
    Image.fromarray(photos()[1].permute(1, 2, 0).numpy()).save(folder / "my/images/001.png")
    (folder / name).write_text(named_block(root, "docs/deploy.md", "python", name))
    monkeypatch.chdir(folder)
    spec = importlib.util.spec_from_file_location(name.removesuffix(".py"), folder / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def need_onnx() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_loading_a_file(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    need_onnx()
    model, _ = export(tmp_path, "onnx")
    program("load.py", root, tmp_path, monkeypatch)
    count = len(model.predict([photos()[1]])[0]["scores"])
    assert capsys.readouterr().out == f"{NAMES} {count} 32\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"INPUT__MIN_SIZE_TEST": 0},
        {"MODEL__RETINA_PLUGIN__HEAD__QUALITY": "iou", "INPUT__MIN_SIZE_TEST": 0},
        {},
    ],
    ids=["same size", "quality", "resized"],
)
def test_python_without_this_package(
    changes: dict[str, Any], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without resizing, the detections are those of the model. Pillow's resized pixels are rounded,
    so then the best score is nearly equal."""
    need_onnx()
    model, _ = export(tmp_path, "onnx", **changes)
    module = program("detect.py", root, tmp_path, monkeypatch)
    assert "retina_plugin" not in Path("detect.py").read_text().replace('["retina_plugin"]', "")
    expected = {name: x.numpy() for name, x in model.predict([photos()[1]])[0].items()}
    boxes, scores, labels = module.detect(Image.open("my/images/001.png"))
    assert len(expected["scores"]) > 5
    if not changes:
        assert abs(scores[0] - expected["scores"][0]) < 0.02
        assert len(scores) == pytest.approx(len(expected["scores"]), rel=0.2)
        return
    np.testing.assert_allclose(scores, expected["scores"], atol=1e-4)
    np.testing.assert_allclose(boxes, expected["boxes"], atol=0.1)
    assert labels.tolist() == expected["labels"].tolist()


def compile_detect(root: Path, folder: Path) -> str:
    """Compile the C++ program of the page with the library of the Python package; return its
    path."""
    onnxruntime = pytest.importorskip("onnxruntime")
    libraries = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*")
    compiler, library = shutil.which("g++"), next(libraries, None)
    if compiler is None or library is None:
        pytest.skip("there is no g++, or no libonnxruntime.so in the package onnxruntime")
    source, program = folder / "detect.cpp", folder / "detect"
    source.write_text(named_block(root, "docs/deploy.md", "cpp", source.name))
    command = [compiler, "-std=c++17", "-I/usr/include/stb", str(source)]
    if subprocess.run([*command, "-M"], capture_output=True).returncode:
        pytest.skip("g++ finds no headers of ONNX Runtime or stb_image; CPATH names folders")
    link = folder / "libonnxruntime.so.1"
    link.symlink_to(library)
    subprocess.run([*command, str(link), f"-Wl,-rpath,{folder}", "-o", str(program)], check=True)
    return str(program)


@pytest.mark.slow
def test_cpp_without_this_package(root: Path, tmp_path: Path) -> None:
    """The detections are those of this package, also if the image does not fit into the fixed size
    of the file and is scaled down."""
    need_onnx()
    detect = compile_detect(root, tmp_path)
    model, path = export(tmp_path, "onnx", "detections")
    detector, labels = load_exported(path), ["_".join(name.split()) for name in NAMES]
    for image in photos():
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "image.png")
        command = [detect, path, str(tmp_path / "image.png")]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in output.splitlines()]
        found = {
            "labels": torch.tensor([labels.index(row[0]) for row in rows]),
            "scores": torch.tensor([float(row[1]) for row in rows]),
            "boxes": torch.tensor([[float(x) for x in row[2:]] for row in rows]),
        }
        expected = detector.predict([image])[0]
        assert len(rows) > 5
        assert detection_difference(found, expected, model.postprocessor) == ""


@pytest.mark.slow
def test_the_web_service(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_onnx()
    pytest.importorskip("fastapi")
    try:
        from fastapi.testclient import TestClient
    except (ImportError, RuntimeError):
        pytest.skip("fastapi's client for tests needs httpx")
    _, path = export(tmp_path, "onnx")
    client = TestClient(program("service.py", root, tmp_path, monkeypatch).app)
    content = Path("my/images/001.png").read_bytes()
    answer = client.post("/detect", content=content).json()["detections"]
    expected = retina_plugin.load(path)("my/images/001.png")
    assert len(answer) == len(expected["scores"]) > 0
    assert [x["score"] for x in answer] == expected["scores"].tolist()
    assert {x["class"] for x in answer} <= set(NAMES)
    for broken in (b"no image", content[: len(content) // 2]):
        assert client.post("/detect", content=broken).status_code == 415
