"""Advice in the message of a failed write."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from retina_plugin.config.disk import DiskError, disk_errors


@pytest.mark.parametrize(
    ("number", "advice", "others"),
    [
        (errno.ENOSPC, "it needs 7 bytes, .* are free.*free some space", ["ulimit"]),
        (errno.EDQUOT, "it needs 7 bytes, .* are free.*free some space", ["ulimit"]),
        (
            errno.EFBIG,
            "its size of 7 bytes exceeds the limit .*ulimit -f.*raise the limit",
            ["free some space"],
        ),
        (errno.EACCES, "Permission denied$", ["free some space", "ulimit"]),
    ],
)
def test_advice(tmp_path: Path, number: int, advice: str, others: list[str]) -> None:
    path = str(tmp_path / "model_final.pth")
    with (
        pytest.raises(DiskError, match=f"cannot write {path}: .*{advice}") as error,
        disk_errors(path, lambda: 7),
    ):
        raise OSError(number, os.strerror(number))
    assert error.value.errno == number
    assert not any(word in str(error.value) for word in others)
