"""The comparisons of tools/benchmark.py that need Detectron2, at tiny sizes: they run and agree."""

import argparse
import importlib
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("part", ["steps", "inferences"])
@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
def test_both_sides_agree(
    part: str, amp: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(root / "tools"))
    detection = importlib.import_module("benchmarks.detection")
    comparison = getattr(detection, part)(argparse.Namespace(device="cpu", quick=True, amp=amp))[0]
    assert list(comparison.implementations) == ["retina_plugin", "Detectron2 RetinaNet"]
    ours, theirs = (prepare()() for prepare in comparison.implementations.values())
    comparison.check(theirs, ours)
