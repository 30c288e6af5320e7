"""Which checkpoint a resumed run uses if the newest one or ``last_checkpoint`` is broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from retina_plugin.checkpoint import WeightsError
from retina_plugin.engine.checkpoints import newest_checkpoint, remove_old_checkpoints

NAMES = {"model_0000009.pth": 9, "model_0000019.pth": 19, "model_final.pth": 29}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of a finished run, which also contains weights of other origin."""
    for name, iteration in NAMES.items():
        torch.save({"model": {"a": torch.arange(300.0)}, "iteration": iteration}, tmp_path / name)
    torch.save({"model": {"a": torch.arange(3.0)}}, tmp_path / "backbone.pth")
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    return tmp_path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


BREAKS = [
    pytest.param(flip, "damaged", id="one bit"),
    pytest.param(cut, "cannot be|can be read safely", id="cut off"),
    pytest.param(lambda path: path.write_bytes(b""), "can be read safely", id="empty"),
    pytest.param(lambda path: path.unlink(), "which is not a file", id="gone"),
]


def test_the_checkpoint_named_by_last_checkpoint_is_used(folder: Path) -> None:
    printed: list[str] = []
    for name in NAMES:
        (folder / "last_checkpoint").write_text(f"{name}\n")
        assert newest_checkpoint(str(folder), report=printed.append) == str(folder / name)
    assert not printed


@pytest.mark.parametrize("name", ["", "not there"])
def test_a_folder_without_checkpoints(tmp_path: Path, name: str) -> None:
    (tmp_path / "model_final.pth.part").write_bytes(b"half")
    assert newest_checkpoint(str(tmp_path / name)) is None


@pytest.mark.parametrize(("damage", "words"), BREAKS)
def test_a_broken_checkpoint_falls_back_to_the_one_before_it(
    folder: Path, damage: Callable[[Path], None], words: str
) -> None:
    printed: list[str] = []
    damage(folder / "model_final.pth")
    assert newest_checkpoint(str(folder), report=printed.append) == str(
        folder / "model_0000019.pth"
    )
    assert len(printed) == 1
    assert "model_final.pth" in printed[0]
    assert "Using" in printed[0]
    assert re.search(words, printed[0])
    damage(folder / "model_0000019.pth")
    assert newest_checkpoint(str(folder), report=printed.append) == str(
        folder / "model_0000009.pth"
    )


@pytest.mark.parametrize(("damage", "words"), BREAKS)
def test_no_intact_checkpoint_is_an_error(
    folder: Path, damage: Callable[[Path], None], words: str
) -> None:
    """The run must not silently start again from step 0."""
    for name in NAMES:
        damage(folder / name)
    with pytest.raises(
        WeightsError, match=f"(?s)({words}).*has no (other )?checkpoint that is whole"
    ):
        newest_checkpoint(str(folder))


def as_folder(pointer: Path) -> None:
    pointer.unlink()
    pointer.mkdir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pointer: pointer.unlink(), "last_checkpoint is missing"),
        (as_folder, "last_checkpoint cannot be read: it is a directory"),
        (lambda pointer: pointer.write_text(" \n"), "last_checkpoint is empty"),
        (
            lambda pointer: pointer.write_text("model_0000099.pth"),
            "names model_0000099.pth, which is not a file",
        ),
        (
            lambda pointer: pointer.write_text("../x/model_final.pth"),
            "found '../x/model_final.pth'",
        ),
        (lambda pointer: pointer.write_text("/etc/passwd"), "found '/etc/passwd'"),
        (lambda pointer: pointer.write_text("."), "names ., which is not a file"),
        (lambda pointer: pointer.write_text("last_checkpoint"), "can be read safely"),
        (
            lambda pointer: pointer.write_bytes(bytes(range(256)) * 40),
            "expected the name of a checkpoint",
        ),
    ],
    ids=[
        "missing",
        "a folder",
        "empty",
        "no such file",
        "outside",
        "absolute",
        "dot",
        "itself",
        "garbage",
    ],
)
def test_an_invalid_last_checkpoint_falls_back_to_the_newest(
    folder: Path, change: Callable[[Path], None], words: str
) -> None:
    printed: list[str] = []
    change(folder / "last_checkpoint")
    assert newest_checkpoint(str(folder), report=printed.append) == str(folder / "model_final.pth")
    assert len(printed) == 1
    assert words in printed[0]


def test_the_newest_is_the_one_with_the_most_steps(folder: Path) -> None:
    """A finished run that was continued has checkpoints newer than ``model_final.pth``."""
    torch.save({"model": {"a": torch.arange(3.0)}, "iteration": 39}, folder / "model_0000039.pth")
    (folder / "last_checkpoint").unlink()
    assert newest_checkpoint(str(folder), report=lambda printed: None) == str(
        folder / "model_0000039.pth"
    )


@pytest.mark.parametrize(
    ("newest", "keep", "left"),
    [
        (39, 0, [9, 19, 29, 39, 49]),  # all
        (39, 1, [39, 49]),  # 49 is of an earlier attempt of the run
        (39, 3, [19, 29, 39, 49]),
        (39, 9, [9, 19, 29, 39, 49]),
        (49, 2, [39, 49]),
        ("final", 1, [9, 19, 29, 39, 49]),
    ],
)
def test_old_checkpoints_are_removed(
    tmp_path: Path, newest: int | str, keep: int, left: list[int]
) -> None:
    others = ("model_best.pth", "model_final.pth", "model_0000009.pth.part", "backbone.pth")
    for name in (*(f"model_{n:07d}.pth" for n in (9, 19, 29, 39, 49)), *others):
        (tmp_path / name).write_bytes(b"x")
    name = f"model_{newest:07d}.pth" if isinstance(newest, int) else "model_final.pth"
    (tmp_path / "last_checkpoint").write_text(name)
    remove_old_checkpoints(str(tmp_path / name), keep)
    expected = {f"model_{n:07d}.pth" for n in left} | {*others, "last_checkpoint"}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_the_file_in_last_checkpoint_is_not_removed(tmp_path: Path) -> None:
    for n in (9, 19, 29):
        (tmp_path / f"model_{n:07d}.pth").write_bytes(b"x")
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    remove_old_checkpoints(str(tmp_path / "model_0000029.pth"), 1)
    assert not (tmp_path / "model_0000019.pth").exists()
    assert (tmp_path / "model_0000009.pth").exists()


def test_a_file_that_cannot_be_removed_stays_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model_0000009.pth").mkdir()
    (tmp_path / "model_0000019.pth").write_bytes(b"x")
    remove_old_checkpoints(str(tmp_path / "model_0000019.pth"), 1)
    assert "model_0000009.pth" in caplog.text
    assert (tmp_path / "model_0000009.pth").exists()
