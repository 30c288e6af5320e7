"""``retina data check``: exit codes, output, JSON, repaired copies."""

from __future__ import annotations

import json

import pytest

from retina_plugin.cli.command import main
from retina_plugin.config.errors import ConfigError
from retina_plugin.data.errors import DatasetError
from tests.data.checks.sets import Scene


def check(*words: str) -> int:
    """Run the command; returns its exit code."""
    try:
        main(["data", "check", *words])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture
def broken(tmp_path) -> str:
    scene = Scene(tmp_path / "broken")
    for i in range(5):
        scene.add_box(3, 1, [10, 10, 0, i])
    scene.path(7).write_text("no image")
    scene.categories.append({"id": 9, "name": "cat"})
    return scene.write()


def test_clean_data(tmp_path, capsys):
    assert check(Scene(tmp_path / "a").write()) == 0
    out = capsys.readouterr().out
    assert "12 images, 24 boxes, 2 classes" in out.replace("\n   ", "")
    assert out.endswith("clean: nothing found that breaks or harms training\n")


def test_notes_do_not_change_the_exit_code(tmp_path, capsys):
    scene = Scene(tmp_path / "a")
    scene.categories.append({"id": 9, "name": "cat"})
    assert check(scene.write()) == 0
    out = capsys.readouterr().out
    assert "NOTE: worth a look" in out
    assert out.endswith("clean: nothing found that breaks or harms training (1 notes)\n")


def test_findings(broken, tmp_path, capsys):
    file = tmp_path / "findings.json"
    assert check(broken, "--json", str(file)) == 1
    out = capsys.readouterr().out
    assert "BREAKS: training ends with an error" in out
    assert "         5  no-area" in out
    assert "  and 2 more\n" in out
    assert "6 findings break or harm training" in out
    folder = len(str(tmp_path))  # a path is not wrapped
    assert all(len(line) <= 80 + folder for line in out.splitlines())
    entries = json.loads(file.read_text())
    assert [list(entry) for entry in entries] == [["rule", "file", "annotation", "message"]] * 7
    assert [(e["rule"], e["annotation"]) for e in entries] == [
        ("unreadable-image", None),
        *(("no-area", number) for number in range(24, 29)),
        ("unused-class", None),
    ]


def test_a_repaired_copy(broken, tmp_path, capsys):
    assert check(broken, "--fix", str(tmp_path / "copy")) == 1
    assert "repaired: 5 no-area: the box is left out" in capsys.readouterr().out
    assert check(str(tmp_path / "copy")) == 0
    with pytest.raises(DatasetError, match="exists: name a new or empty folder"):
        check(broken, "--fix", str(tmp_path / "copy"))


def test_config_keys(tmp_path, capsys):
    name = Scene(tmp_path / "a").write()
    assert check(name, "INPUT.MIN_SIZE_TEST", "20", "INPUT.MAX_SIZE_TEST", "40") == 1
    assert "in an input of 20" in capsys.readouterr().out.replace("\n    ", " ")
    assert check(name, name, "MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES", "xywh pixels") == 0


def test_data_with_crowds_only(tmp_path):
    scene = Scene(tmp_path / "a")
    for annotation in scene.annotations:
        annotation["iscrowd"] = 1
    assert check(scene.write()) == 0


def test_a_folder_with_the_name_of_a_config_node(tmp_path, monkeypatch, capsys):
    for name in ("TRAIN", "TEST", "SEED"):
        Scene(tmp_path / name, first_seed=100 * len(name)).write()
    monkeypatch.chdir(tmp_path)
    assert check("TRAIN", "TEST", "INPUT.MIN_SIZE_TEST", "48") == 0
    out = capsys.readouterr().out
    assert "TRAIN (COCO" in out
    assert "TEST (COCO" in out
    assert check("SEED", "SEED") == 0
    with pytest.raises(ConfigError, match=r"INPUT\.MIN_SIZE_TESTS"):
        check("TEST", "INPUT.MIN_SIZE_TESTS", "48")
    with pytest.raises(DatasetError, match="MODEL"):
        check("MODEL")
