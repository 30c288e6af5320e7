"""``${configDir}`` in config files, and the names of data sets that are written with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retina_plugin.config import get_cfg
from retina_plugin.config.config_dir import expand_config_dir


@pytest.mark.parametrize(
    ("value", "folder", "expected"),
    [
        ("${configDir}/a.json@${configDir}/b", "run", "run/a.json@run/b"),
        ("${configDir}/a.json@", "", "a.json@"),
        ("${configDir}", "", "."),
        ("${configDir}:val", "x/y", "x/y:val"),
        (["${configDir}/a", 3], "run", ["run/a", 3]),
        ({"k": ["${configDir}"]}, "run", {"k": ["run"]}),
        (None, "run", None),
    ],
)
def test_values(value: object, folder: str, expected: object) -> None:
    assert expand_config_dir(value, folder) == expected


def test_it_is_the_folder_of_the_file_that_has_it(tmp_path: Path) -> None:
    """This also holds for a file that another one names in ``_BASE_``."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.yaml").write_text('DATASETS: {TRAIN: ["${configDir}/a.json@"]}')
    (tmp_path / "sub/run.yaml").write_text(
        '_BASE_: "../base.yaml"\nDATASETS: {TEST: ["${configDir}/b.json@"]}'
    )
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "sub/run.yaml"))
    paths = [name.removesuffix("@") for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)]
    assert [os.path.relpath(path, tmp_path) for path in paths] == ["a.json", "sub/b.json"]
