"""The tool at tiny sizes: everything runs, agrees and is reported. The times have no meaning."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from retina_plugin.evaluation import coco as evaluation


@pytest.fixture
def measure(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "tools"))
    return importlib.import_module("benchmarks.measure")


@pytest.fixture
def tool(root: Path, measure: ModuleType) -> Iterator[ModuleType]:
    threads = torch.get_num_threads()
    yield importlib.import_module("benchmark")
    torch.set_num_threads(threads)


def test_small_parts(
    tool: ModuleType,
    measure: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """One size of each comparison: the table has a row for every contestant, and the JSON has the
    values behind it."""
    monkeypatch.setattr(measure, "_peak_in_new_process", lambda *_: 12.0)
    file = tmp_path / "numbers.json"
    tool.main(
        [
            "loss",
            "match",
            "eval",
            "input",
            "--quick",
            "--repeats",
            "2",
            "--threads",
            "1",
            "--json",
            str(file),
        ]
    )
    printed, report = capsys.readouterr().out, json.loads(file.read_text())
    assert report["machine"]["threads"] == 1
    titles = [comparison["title"] for comparison in report["comparisons"]]
    names = [title.split(",")[0] for title in titles]
    assert names == ["loss", "match", "assign", "eval", "input"]
    for comparison in report["comparisons"]:
        assert comparison["title"] in printed
        assert next(iter(comparison["rows"].values()))["ratio"] == 1
        for name, row in comparison["rows"].items():
            assert len(row["times"]) == 2
            assert row["median"] > 0
            assert re.search(rf"^{re.escape(name)} .* 12( |$)", printed, flags=re.MULTILINE)


@pytest.mark.parametrize("part", ["loss", "match", "step", "infer", "eval", "input"])
def test_without_optional_libraries(
    part: str, tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other libraries may be missing, and are then listed."""
    for module in ("detectron2", "fvcore", "torchvision", "faster_coco_eval"):
        monkeypatch.setitem(sys.modules, module, None)
    (first, *_) = tool.comparisons(tool.parse([part, "--quick"]))
    assert len(first.implementations) == (2 if part == "input" else 1)  # both resizers
    assert any("not installed" in reason for reason in first.absent)


@pytest.mark.long
@pytest.mark.long
def test_memory_is_measured_in_a_fresh_process(
    root: Path, tool: ModuleType, measure: ModuleType
) -> None:
    arguments = ["loss", "--quick"]
    (comparison,) = tool.comparisons(tool.parse(arguments))
    command = [sys.executable, str(root / "tools/benchmark.py"), *arguments]
    assert 0 <= measure._peak_in_new_process(command, comparison.title, "retina_plugin") < 200
    with pytest.raises(RuntimeError, match="nobody failed in a new process"):
        measure._peak_in_new_process(
            [sys.executable, "-c", "raise SystemExit(1)"], comparison.title, "nobody"
        )


@pytest.mark.slow
def test_exported_files(tool: ModuleType, measure: ModuleType) -> None:
    (comparison,) = tool.comparisons(tool.parse(["export", "--quick"]))
    model, exported = (prepare() for prepare in comparison.implementations.values())
    comparison.check(exported(), model())


def test_our_loss_keeps_one_tensor_of_the_logits_size(measure: ModuleType) -> None:
    losses = importlib.import_module("benchmarks.losses")
    work = losses._work(losses._ours, 500, 20, "cpu")
    assert losses.saved_bytes(work) <= 1.05 * 4 * 500 * 20


def test_bandwidth_runs(measure: ModuleType) -> None:
    losses = importlib.import_module("benchmarks.losses")
    for prepare in losses.bandwidth(50, 8, "cpu").implementations.values():
        assert prepare()().isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["los"], "invalid choice: 'los'"),
        (["loss", "--repeats", "0"], "must be at least 1"),
        (["loss", "--device", "gpu"], "--device must be cpu, cuda or cuda:N, found 'gpu'"),
        (["loss", "--device", "mps"], "--device must be cpu, cuda or cuda:N, found 'mps'"),
        (["loss", "--json", "no/such/folder/x.json"], "there is no folder 'no/such/folder'"),
        pytest.param(
            ["loss", "--device", "cuda"],
            "torch finds no GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_mistakes(
    tool: ModuleType, arguments: list[str], words: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        tool.parse(arguments)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "boxes", "words"),
    [
        pytest.param(
            [80, 3, -1],
            [0, 1, 2],
            None,
            id="equal; the match of a negative does not matter",
        ),
        pytest.param([80, 4, -1], [0, 1, 0], "Tensor-likes are not equal", id="another class"),
        pytest.param(
            [80, 3, 80],
            [0, 1, 0],
            "Tensor-likes are not equal",
            id="a negative instead of an ignored anchor",
        ),
        pytest.param([80, 3, -1], [0, 2, 0], "Tensor-likes are not equal", id="another box"),
    ],
)
def test_when_two_matchings_are_equal(
    measure: ModuleType, labels: list[int], boxes: list[int], words: str | None
) -> None:
    same = importlib.import_module("benchmarks.matching")._check_equal
    expected = torch.tensor([80, 3, -1]), torch.tensor([0, 1, 0])
    with pytest.raises(AssertionError, match=words) if words else contextlib.nullcontext():
        same((torch.tensor(labels), torch.tensor(boxes)), expected)


def test_different_results_end_the_benchmark(measure: ModuleType) -> None:
    def check(a: int, b: int) -> None:
        assert a == b, f"{a} is not {b}"

    comparison = measure.Comparison(
        "sums", {"one": lambda: lambda: 1, "two": lambda: lambda: 2}, check
    )
    with pytest.raises(measure.DifferentResults, match="sums: two and one disagree: 2 is not 1"):
        measure.measure(comparison, repeats=1, device="cpu", command=[])


def test_results_before_a_difference_are_kept(
    tool: ModuleType, measure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(a: int, b: int) -> None:
        assert a == b

    def parts(*results: int) -> Any:
        implementations = {
            f"contestant {i}": lambda result=result: lambda: result
            for i, result in enumerate(results)
        }
        return lambda args: [measure.Comparison(f"results {results}", implementations, check)]

    monkeypatch.setattr(measure, "_peak_in_new_process", lambda *_: 12.0)
    monkeypatch.setattr(tool, "PARTS", {"same": parts(1, 1), "different": parts(1, 2)})
    file = tmp_path / "numbers.json"
    with pytest.raises(measure.DifferentResults):
        tool.main(["same", "different", "--repeats", "1", "--json", str(file)])
    assert [comparison["title"] for comparison in json.loads(file.read_text())["comparisons"]] == [
        "results (1, 1)"
    ]


def test_rows_and_table_by_hand(measure: ModuleType) -> None:
    """Seconds become milliseconds; the ratio is the time of the other implementation divided by
    ours."""
    ours, theirs = (
        measure._row([0.002, 0.001, 0.005], 0.002),
        measure._row([0.006, 0.008, 0.007], 0.002),
    )
    assert (ours["median"], ours["ratio"]) == (0.002, 1)
    assert theirs["ratio"] == pytest.approx(3.5)
    assert theirs["spread"] == pytest.approx(0.001)  # quartiles 6.5 and 7.5 ms
    comparison = measure.Comparison("sums", {}, lambda a, b: None, ["nobody is not installed"])
    lines = measure.table(
        comparison, {"ours": ours | {"peak": 12.3}, "theirs": theirs | {"peak": 45.6}}
    ).splitlines()
    assert lines[0] == "sums"
    assert lines[1].split() == ["median", "ms", "spread", "ms", "times", "ours", "peak", "MiB"]
    assert lines[2].split() == ["ours", "2.0", "2.0", "1.00", "12"]
    assert lines[3].split() == ["theirs", "7.0", "1.0", "3.50", "46"]
    assert lines[4] == "absent: nobody is not installed"


@pytest.mark.slow
def test_peak_memory_is_the_increase_of_the_first_run(root: Path) -> None:
    """64 MiB allocated before do not count; 128 MiB that are allocated and freed do.

    Measured in a new process, as in the tool, because a process reuses memory that it has freed.
    """
    code = """
        import torch
        from benchmarks.measure import peak_memory

        def prepare():
            kept = torch.ones(2**24)
            return lambda: (torch.ones(2**25).sum(), kept.sum())

        print(peak_memory(prepare, "cpu"))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=root / "tools", check=True)
    assert 120 < float(result.stdout) < 160


# --------------------------------------------------------------------------------- faster-coco-eval


def test_the_faster_back_end_gives_the_same_metrics(
    measure: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    pytest.importorskip("faster_coco_eval")
    from retina_plugin.data import load_dataset

    ground_truth, results = importlib.import_module("benchmarks.evaluation").scene(6, 30)
    (tmp_path / "images").mkdir()
    for image in ground_truth["images"]:
        image["file_name"] = f"{image['id']}.png"
        (tmp_path / "images" / image["file_name"]).touch()
    (tmp_path / "ground_truth.json").write_text(json.dumps(ground_truth))
    dataset = load_dataset(f"{tmp_path / 'ground_truth.json'}@{tmp_path / 'images'}")
    found = []
    for blocked in (False, True):
        evaluation.default_back_end.cache_clear()
        if blocked:
            monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
        found.append(evaluation.compute_metrics(dataset, results, max_detections=100).precision)
        assert ("faster-coco-eval" in capsys.readouterr().out) is not blocked
    evaluation.default_back_end.cache_clear()
    assert found[0].keys() == found[1].keys()
    np.testing.assert_allclose(list(found[0].values()), list(found[1].values()), atol=1e-6)
    assert 1 < found[0]["AP"] < 99
