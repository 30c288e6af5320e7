"""Evaluations in ``metrics.json``: reading their values, and adding to a line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from retina_plugin.config.disk import DiskError
from retina_plugin.engine.metrics_log import add_to_evaluation, read_scalars, read_series
from tests.full_disk import FullDisk

LINES = [
    '{"iteration": 0, "bbox/AP": 90.0}',  # an evaluation outside of training
    '{"iteration": 9, "bbox/AP": 10.0, "total_loss": 1.0}',
    '{"iteration": 19, "bbox/AP": 30.0}',
    '{"iteration": 29, "total_lo',  # the process was killed
    '{"iteration": 19, "bbox/AP": 20.0}',  # again, after --resume
    "[3]",
    '{"iteration": 29, "bbox/AP": NaN}',
    '{"iteration": 39, "total_loss": 0.5}',
    '{"iteration": 39, "a/bbox/AP": 1.0, "b/bbox/AP": 3.0, "c/bbox/AP": NaN}',
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "metrics.json").write_text("\n".join(LINES) + "\n")
    return tmp_path


def test_series(folder: Path) -> None:
    assert read_series(str(folder), "bbox/AP", ["val"]) == {10: 10.0, 20: 20.0}
    assert read_series(str(folder), "bbox/AP", ["a", "b", "c"]) == {40: 2.0}
    assert read_series(str(folder), "validation/total_loss", ["val"]) == {}
    assert read_series(str(folder / "none"), "bbox/AP", ["val"]) == {}


def test_scalars(folder: Path) -> None:
    """Metrics after step 1 are those of an evaluation outside of training; losses are not."""
    first = {"iteration": 0, "total_loss": 2.0, "test/bbox/AP": 1.0, "validation/loss_cls": 1.0}
    with open(folder / "metrics.json", "a", encoding="utf-8") as file:
        file.write(json.dumps(first) + "\n")
    assert read_scalars(str(folder)) == {
        "a/bbox/AP": {40: 1.0},
        "b/bbox/AP": {40: 3.0},
        "bbox/AP": {10: 10.0, 20: 20.0},
        "total_loss": {1: 2.0, 10: 1.0, 40: 0.5},
    }


@pytest.mark.parametrize(
    ("key", "step", "number"),
    [
        ("bbox/AP", 20, 4),  # the last of this step
        ("bbox/AP", 10, 1),
        ("bbox/AP", 15, 6),  # of no evaluation: the last with the key
        ("test/bbox/AP", 40, None),
    ],
)
def test_values_are_added_to_one_line(
    folder: Path, key: str, step: int, number: int | None
) -> None:
    add_to_evaluation(str(folder), key, {f"{key}_low": 1 / 3}, step=step)
    after = (folder / "metrics.json").read_text().splitlines()
    changed = [i for i, pair in enumerate(zip(LINES, after, strict=True)) if len(set(pair)) == 2]
    assert changed == ([] if number is None else [number])
    if number is not None:
        expected = {**json.loads(LINES[number]), f"{key}_low": 0.3333333}
        found = json.loads(after[number])
        assert found.keys() == expected.keys()
        assert all(
            found[k] == v or (math.isnan(found[k]) and math.isnan(v)) for k, v in expected.items()
        )


def test_a_full_disk_leaves_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "metrics.json").read_bytes()
    with monkeypatch.context() as patched:
        FullDisk(folder, "metrics.").install(patched)
        with pytest.raises(DiskError, match="No space"):
            add_to_evaluation(str(folder), "bbox/AP", {"bbox/AP_low": 1.0}, step=20)
    assert (folder / "metrics.json").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["metrics.json"]
