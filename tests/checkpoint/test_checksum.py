"""A damaged checkpoint is not loaded, and an intact one can be read by torch and other programs."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.checkpoint import WeightsError, load_weights, read_checkpoint
from retina_plugin.checkpoint.checksum import is_damaged, save_with_checksum, saved_size
from tests.models import compact_model

CONTENT = {"model": {"a": torch.arange(200.0), "b": torch.zeros(0)}, "iteration": 7}


def with_flipped_bit(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    save_with_checksum(CONTENT, str(path))
    content = path.read_bytes()
    # the archive contains the name of the file
    assert saved_size(CONTENT) == pytest.approx(len(content), abs=200)
    for place in {*range(0, len(content), 17), *range(len(content) - 120, len(content))}:
        path.write_bytes(with_flipped_bit(content, place))
        with pytest.raises(
            WeightsError,
            match=r"x\.pth (is damaged|is not a checkpoint that can "
            r"be read)",
        ):
            read_checkpoint(str(path))


@pytest.mark.parametrize("length", [0, 3, 500, -107, -100, -85, -60, -1])
def test_a_file_that_was_cut_off(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.pth"
    save_with_checksum(CONTENT, str(path))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(
        WeightsError,
        match=r"x\.pth (is damaged|is not a checkpoint that can be "
        r"read)",
    ):
        read_checkpoint(str(path))


def test_files_without_our_checksum(tmp_path: Path) -> None:
    """Files from ``torch.save`` are checked with the checksums of the zip archive if it has
    them."""
    path = tmp_path / "x.pth"
    torch.save(CONTENT, path)
    assert not is_damaged(str(path))
    content = path.read_bytes()
    path.write_bytes(
        with_flipped_bit(content, content.index(CONTENT["model"]["a"].numpy().tobytes()) + 100)
    )
    with pytest.raises(WeightsError, match="is damaged: its checksum is wrong"):
        read_checkpoint(str(path))
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert_close(read_checkpoint(str(path))["model"], CONTENT["model"])


def test_an_archive_that_unpacks_to_more_than_its_size_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(10**6))
    assert not is_damaged(str(tmp_path / "bomb.pth"))


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_reads_it(tmp_path: Path, mmap: bool) -> None:
    path = str(tmp_path / "x.pth")
    save_with_checksum(CONTENT, path)
    found: dict[str, Any] = torch.load(path, weights_only=True, mmap=mmap)
    assert_close(found["model"], CONTENT["model"])
    assert zipfile.ZipFile(path).testzip() is None


def test_load_weights_refuses_a_damaged_file(tmp_path: Path) -> None:
    model, path = compact_model(), tmp_path / "model.pth"
    save_with_checksum({"model": model.state_dict()}, str(path))
    load_weights(model, str(path))
    path.write_bytes(with_flipped_bit(path.read_bytes(), path.stat().st_size // 2))
    with pytest.raises(WeightsError, match="is damaged: its checksum is wrong"):
        load_weights(model, str(path))
