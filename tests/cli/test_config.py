"""``retina config`` prints the config of a run and where each value was set."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from retina_plugin.cli.command import main
from retina_plugin.cli.config import annotated_config, get_cfg_of_host
from retina_plugin.config import ConfigError, leaves
from retina_plugin.config.packaged import packaged_configs
from retina_plugin.config.registry import REGISTRIES
from retina_plugin.engine.read_config import read_config

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
NAMES = [
    "digits/retinanet_compact.yaml",
    "coco/retinanet_R_101_BiFPN_3x.yaml",
    "coco/retinanet_timm_resnet50d_FPN_3x.yaml",
]


def reasons(text: str) -> dict[str, str]:
    """Key -> its comment."""
    found, parents = {}, []
    for line in text.splitlines():
        indent, name, comment = re.fullmatch(r"( *)(\w+):.*?(?:  # (.*))?", line).groups()
        parents = [*parents[: len(indent) // 2], name]
        if comment is not None:
            found[".".join(parents)] = comment
    return found


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_the_config(tmp_path: Path, host: str, name: str) -> None:
    if "timm" in name:
        pytest.importorskip("timm")
    overrides = ["OUTPUT_DIR", "größer: #1", "SOLVER.STEPS", "()", "SEED", "-1"]
    text = annotated_config(name, overrides, host=host)
    (tmp_path / "printed.yaml").write_text(text, encoding="utf-8")
    get_cfg = get_cfg_of_host(host)
    expected = read_config(get_cfg(), name, overrides)
    again = read_config(get_cfg(), str(tmp_path / "printed.yaml"), [])
    # tuples inside Detectron2's tuples become lists
    assert json.dumps(again) == json.dumps(expected)
    assert yaml.safe_load(text)["OUTPUT_DIR"] == "größer: #1"
    default = dict(leaves(get_cfg()))
    changed = {key for key, value in leaves(expected) if value != default[key]}
    assert set(reasons(text)) == changed


def test_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    Path("my.yaml").write_text(
        "_BASE_: digits/retinanet_compact.yaml\n"
        "SEED: 5\n"
        "SOLVER:\n  MAX_ITER: 20\n  BASE_LR: 0.5\n  GAMMA: 0.1\n"
        "MODEL: {RETINA_PLUGIN: {IMPORTS: ['json']}}\n"
    )
    found = reasons(
        annotated_config("my.yaml", ["SEED", "6", "MODEL.RETINA_PLUGIN.IMPORTS", "['cmd']"])
    )
    assert found["SEED"] == "command line"
    assert found["SOLVER.MAX_ITER"] == "my.yaml, line 4"
    assert found["MODEL.RETINA_PLUGIN.IMPORTS"] == "my.yaml, line 7; command line"
    assert found["MODEL.DEVICE"] == "no GPU is available"
    assert "SOLVER.GAMMA" not in found  # the default value
    compact, base = (packaged_configs()[n] for n in (NAMES[0], "Base-RetinaNet.yaml"))
    for key, path, text in (
        ("SOLVER.IMS_PER_BATCH", compact, "IMS_PER_BATCH: 4"),
        ("MODEL.META_ARCHITECTURE", base, "META_ARCHITECTURE"),
    ):
        line = next(
            n for n, row in enumerate(Path(path).read_text().splitlines(), 1) if text in row
        )
        assert found[key] == f"{path}, line {line}"


def test_keys_of_imported_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only values that differ from the default of the part have a comment."""
    (tmp_path / "parts_of_this_test.py").write_text(
        "from retina_plugin.config import Key\n"
        "from retina_plugin.losses import CLASS_LOSSES\n"
        "@CLASS_LOSSES.register('of_this_test', keys={'A': Key(1.0, 'a'), 'B': Key(2.0, 'b')})\n"
        "class OfThisTest:\n    def __init__(self, *, a, b, **others): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))
    node = "MODEL.RETINA_PLUGIN.CLASS_LOSS.of_this_test"
    imports = ["MODEL.RETINA_PLUGIN.IMPORTS", "['parts_of_this_test']"]
    found = reasons(annotated_config(NAMES[0], [*imports, f"{node}.A", "3.0"]))
    assert found[f"{node}.A"] == "command line"
    assert f"{node}.B" not in found


def test_pixels_of_the_backbone() -> None:
    pytest.importorskip("timm")
    found = reasons(annotated_config(NAMES[2], [], host="lightning"))
    assert found["MODEL.PIXEL_MEAN"] == "the pixel statistics of the backbone's weights"


def test_mistakes(capsys: pytest.CaptureFixture) -> None:
    for argv, words in (
        ([NAMES[0], "SOLVER.MAX_ITERS", "5"], "SOLVER.MAX_ITER"),
        ([NAMES[0], "SOLVER.MAX_ITER", "-5"], "SOLVER.MAX_ITER: expected"),
        (["digits/compact.yaml"], "cannot be read"),
        ([NAMES[0], "SEED"], "overrides come in pairs"),
    ):
        with pytest.raises(ConfigError, match=words):
            main(["config", *argv])
    main(["config", NAMES[0], "SEED", "3"])
    assert "SEED: 3  # command line\n" in capsys.readouterr().out
