"""``MODEL.RETINA_PLUGIN.IMPORTS``: modules that fail, and whose keys a config has."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import retina_plugin.modeling  # the registries
from retina_plugin.config import ConfigError, get_cfg
from retina_plugin.config.imports import IMPORTS
from retina_plugin.config.moved import MOVED
from retina_plugin.config.registry import REGISTRIES
from retina_plugin.modeling import ASSIGNER_REGISTRY

NEAR = """from retina_plugin.config import Key
from retina_plugin.modeling import ASSIGNER_REGISTRY
@ASSIGNER_REGISTRY.register(keys={"RADIUS": Key(2.0, "strides")})
class Near:
    def __init__(self, *, radius): ...
"""
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules that can be imported; what they register is taken away afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file may change within a second
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))
    before = set(sys.modules)

    def files(**codes: str) -> None:
        for name, code in codes.items():
            (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        importlib.invalidate_caches()

    yield files
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


def merged(*names: str) -> retina_plugin.config.CfgNode:
    cfg = get_cfg()
    cfg.merge_from_list([IMPORTS, list(names)])
    return cfg


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param(
            "\nimport sys\nsys.exit(3)", r"SystemExit: 3 \(\S+my_bad.py, line 3\)", id="exit"
        ),
        pytest.param("\ndef f(:", r"invalid syntax \(\S+my_bad.py, line 2\)", id="syntax"),
        pytest.param("import my_below", r"never closed \(\S+my_below\.py, line 1\)", id="below"),
        pytest.param(
            "import json\njson.loads('{')",
            r"JSONDecodeError.*\(\S+my_bad\.py, line 2\)",
            id="library",
        ),
        pytest.param("raise RuntimeError", r"RuntimeError .*python -c 'import my_bad'", id="empty"),
        pytest.param("import my_none", r"'my_none' \(\S+my_bad.py, line 1\)", id="missing"),
        pytest.param(
            "from retina_plugin.backbones import Backbone",
            r"of version 0\.1\. It is called retina_plugin\.modeling\.backbones now",
            id="version 0.1",
        ),
        pytest.param(
            "from retina_plugin.losses import CLASS_LOSSES\n"
            "@CLASS_LOSSES.register('l')\ndef l(logits, labels, *, alpha): ...",
            r"'logits': .* have alpha, gamma\. A function is called once and returns",
            id="class loss of version 0.1",
        ),
        pytest.param(
            "from retina_plugin.losses import BOX_LOSSES\n"
            "@BOX_LOSSES.register('l')\nclass L:\n  def __init__(self, *, power): ...",
            r"keys=\{'POWER': Key\(\.\.\.\)\} \(\S+my_bad\.py, line 2\)",
            id="nothing else to have",
        ),
    ],
)
def test_a_module_that_fails(write: Write, code: str, words: str) -> None:
    write(my_bad=code, my_below="f((")
    with pytest.raises(ConfigError, match=words):
        merged("my_bad")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["my_near.py"], r"found 'my_near\.py': leave out \.py, 'my_near'"),
        (["./my/my_near.py"], r"leave out \.py, 'my\.my_near'"),
    ],
)
def test_a_file_for_a_module(write: Write, value: list[str], words: str) -> None:
    write(my_near=NEAR)
    with pytest.raises(ConfigError, match=words):
        merged(*value)


@pytest.mark.parametrize("name", MOVED)
def test_every_new_name_is_there(name: str) -> None:
    assert importlib.util.find_spec(name) is None
    for new in MOVED[name].split(" and "):
        assert importlib.util.find_spec(new) is not None


def test_a_failed_module_leaves_nothing_and_can_be_corrected(write: Write) -> None:
    write(my_near=f"{NEAR}\nraise ValueError('a slip')")
    with pytest.raises(ConfigError, match="a slip"):
        merged("my_near")
    assert "Near" not in ASSIGNER_REGISTRY
    write(my_near=NEAR.replace("2.0", "3.0"))
    assert merged("my_near").MODEL.RETINA_PLUGIN.ASSIGNER.Near.RADIUS == 3.0


def test_a_module_that_is_imported_again_replaces_its_parts(write: Write) -> None:
    write(my_near=NEAR)
    merged("my_near")
    write(my_near=NEAR.replace("2.0", "3.0"))
    module = importlib.reload(sys.modules["my_near"])
    assert ASSIGNER_REGISTRY.get("Near") is module.Near
    assert merged("my_near").MODEL.RETINA_PLUGIN.ASSIGNER.Near.RADIUS == 3.0


@pytest.mark.parametrize(
    "entry",
    [
        "import my_near",
        "from my_near import Near",
        "import my_middle",
        "from my_middle import other",
    ],
)
@pytest.mark.parametrize("first", ["", "my_entry", "my_near", "my_middle"])
def test_keys_do_not_depend_on_who_imported_first(write: Write, entry: str, first: str) -> None:
    write(
        my_near=NEAR,
        my_middle="import my_near\ndef other(): ...",
        my_entry=entry,
        my_apart="",
    )
    if first:
        importlib.import_module(first)
    assert "Near" in merged("my_entry").MODEL.RETINA_PLUGIN.ASSIGNER
    assert "Near" in merged("my_middle").MODEL.RETINA_PLUGIN.ASSIGNER
    assert "Near" not in merged("my_apart").MODEL.RETINA_PLUGIN.ASSIGNER
