"""The programs of docs/deploy.md work on a file that ``retina export`` writes."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

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


@pytest.mark.slow
def test_the_web_service(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_onnx()
    pytest.importorskip("fastapi")
    try:
        from fastapi.testclient import TestClient
    except (ImportError, RuntimeError):
        pytest.skip("fastapi's client for tests needs httpx")
    model, _ = export(tmp_path, "onnx")
    client = TestClient(program("service.py", root, tmp_path, monkeypatch).app)
    content = io.BytesIO()
    Image.open("my/images/001.png").save(content, "PNG")
    answer = client.post("/detect", content=content.getvalue()).json()["detections"]
    expected = model.predict([photos()[1]])[0]
    assert len(answer) == len(expected["scores"]) > 5
    torch.testing.assert_close(
        torch.tensor([x["score"] for x in answer]), expected["scores"], atol=1e-4, rtol=0
    )
    assert {x["class"] for x in answer} <= set(NAMES)
    assert client.post("/detect", content=b"no image").status_code == 415
