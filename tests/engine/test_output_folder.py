"""Folders that are made, or cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from retina_plugin.config.errors import ConfigError
from retina_plugin.engine.output_folder import make_folder, require_writable


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"OUTPUT_DIR .*out cannot be written to: Not a direc"):
        make_folder(str(tmp_path / "file/out"))
    make_folder(str(tmp_path / "a/out"))
    make_folder(str(tmp_path / "a/out"))
    monkeypatch.setattr("os.access", lambda *args: False)  # root may write everywhere
    with pytest.raises(ConfigError, match="cannot be written to: Permission denied"):
        make_folder(str(tmp_path / "a/out"))


def test_the_check_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "old").mkdir()
    before = sorted(tmp_path.rglob("*"))
    require_writable(str(tmp_path / "old/new/run"))
    require_writable(str(tmp_path / "old"))
    with pytest.raises(ConfigError, match=r"folder .*file/a/b cannot be written to"):
        require_writable(str(tmp_path / "file/a/b"), key="folder")
    assert sorted(tmp_path.rglob("*")) == before
