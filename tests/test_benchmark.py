"""The tool at tiny sizes: everything runs, agrees and is reported. The times mean nothing."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from retina_plugin.lit import evaluation


@pytest.fixture
def measure(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "tools"))
    return importlib.import_module("benchmarks.measure")


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(root / "tools/benchmark.py"), *arguments, "--threads", "1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_small_parts(root: Path, tmp_path: Path) -> None:
    """One size of each: the table has a line for every contestant, the JSON has the numbers behind it."""
    result = run(root, "loss", "match", "eval", "--quick", "--repeats", "2", "--json", str(tmp_path / "numbers.json"))
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "numbers.json").read_text())
    assert report["machine"]["threads"] == 1
    titles = [comparison["title"] for comparison in report["comparisons"]]
    assert [title.split(",")[0] for title in titles] == ["loss", "loss", "match", "match", "eval"]
    for comparison in report["comparisons"]:
        assert comparison["title"] in result.stdout
        first = next(iter(comparison["rows"].values()))
        assert first["ratio"] == 1
        for name, row in comparison["rows"].items():
            assert len(row["times"]) == 2
            assert row["median"] > 0
            assert row["peak"] >= 0
            assert re.search(rf"^{re.escape(name)}  ", result.stdout, flags=re.MULTILINE)


def test_our_loss_keeps_one_tensor_of_the_logits_size(root: Path, measure: ModuleType) -> None:
    losses = importlib.import_module("benchmarks.losses")
    work = losses._work(losses._ours, 500, 20, "cpu")
    assert losses.saved_bytes(work) <= 1.05 * 4 * 500 * 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["los"], "invalid choice: 'los'"),
        (["loss", "--repeats", "0"], "must be at least 1"),
        pytest.param(
            ["loss", "--device", "cuda"],
            "torch finds no GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_mistakes(root: Path, arguments: list[str], words: str) -> None:
    result = run(root, *arguments)
    assert result.returncode == 2
    assert words in result.stderr


def test_different_results_end_it(measure: ModuleType) -> None:
    def check(a: int, b: int) -> None:
        assert a == b, f"{a} is not {b}"

    comparison = measure.Comparison("sums", {"one": lambda: lambda: 1, "two": lambda: lambda: 2}, check)
    with pytest.raises(measure.Disagreement, match="sums: two and one disagree: 2 is not 1"):
        measure.measure(comparison, repeats=1, device="cpu", command=[])


def test_peak_is_what_the_first_run_adds(measure: ModuleType) -> None:
    """64 MiB that were there before do not count, 128 MiB that come and go do."""

    def prepare() -> Callable[[], Any]:
        kept = torch.ones(2**24)
        return lambda: (torch.ones(2**25).sum(), kept.sum())

    assert 120 < measure.peak_memory(prepare, "cpu") < 160


# -------------------------------------------------------------------------------------------------------- faster-coco-eval


def test_the_faster_back_end_gives_the_same_metrics(
    measure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("faster_coco_eval")
    from retina_plugin.data import load_dataset

    truth, results = importlib.import_module("benchmarks.evaluation").scene(6, 30)
    (tmp_path / "images").mkdir()
    for image in truth["images"]:
        image["file_name"] = f"{image['id']}.png"
        (tmp_path / "images" / image["file_name"]).touch()
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    dataset = load_dataset(f"{tmp_path / 'truth.json'}@{tmp_path / 'images'}")
    found = []
    for blocked in (False, True):
        evaluation.back_end.cache_clear()
        if blocked:
            monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
        found.append(evaluation.evaluate(dataset, results, str(tmp_path / "out"))["bbox"])
        assert ("faster-coco-eval" in capsys.readouterr().out) is not blocked
    evaluation.back_end.cache_clear()
    assert found[0].keys() == found[1].keys()
    np.testing.assert_allclose(list(found[0].values()), list(found[1].values()), atol=1e-6)
    assert 1 < found[0]["AP"] < 99
