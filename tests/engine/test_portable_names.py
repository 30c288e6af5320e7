"""Names of data sets in config files whose folder can be moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from retina_plugin.config.config_dir import expand_config_dir
from retina_plugin.data.data_path import absolute_name
from retina_plugin.engine.portable_names import portable_name


@pytest.mark.parametrize(
    ("name", "folder", "expected"),
    [
        ("run/plan.train.json@", "run", "${configDir}/plan.train.json@"),
        ("plan.train.json@", "", "${configDir}/plan.train.json@"),
        ("run/my/data.yaml:val", "run", "${configDir}/my/data.yaml:val"),
        ("run/a.csv@run/images", "run", "${configDir}/a.csv@${configDir}/images"),
        ("run/a.csv@/elsewhere", "run", "${configDir}/a.csv@/elsewhere"),
        ("my/a.json@run/images", "run", "my/a.json@run/images"),
        ("../a.json@", "", "../a.json@"),
        ("run.1/a.json@", "run", "run.1/a.json@"),
        ("bccd_train", "", "bccd_train"),  # may be a registered name
        ("${configDir}/a.json@", "", "${configDir}/a.json@"),
    ],
)
def test_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bccd_train").mkdir()
    found = portable_name(name, folder)
    assert found == expected
    if not name.startswith("$"):
        assert absolute_name(expand_config_dir(found, folder)) == absolute_name(name)
    if folder:
        assert portable_name(name, str(tmp_path / folder)) == expected
