"""``MODEL.RETINA_PLUGIN.IMPORTS``: errors of modules, and the config keys that modules add."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

import pytest

from retina_plugin.config import CfgNode, ConfigError, get_cfg
from retina_plugin.config.imports import IMPORTS, part_keys_of, require_imported
from retina_plugin.config.moved import MOVED, new_module_name
from retina_plugin.modeling import ASSIGNER_REGISTRY
from retina_plugin.modeling.build_backbone import register_pairs

NEAR = """from retina_plugin.config import Key
from retina_plugin.modeling import ASSIGNER_REGISTRY
@ASSIGNER_REGISTRY.register(keys={"RADIUS": Key(2.0, "strides")})
class Near:
    def __init__(self, *, radius): ...
"""
WriteModules = Callable[..., None]


def merged(*names: str) -> CfgNode:
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
            r"'logits' has no source: .* have alpha, gamma\. A registered function must return",
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
def test_a_module_that_fails(write_modules: WriteModules, code: str, words: str) -> None:
    write_modules(my_bad=code, my_below="f((")
    with pytest.raises(ConfigError, match=words):
        merged("my_bad")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["my_near.py"], r"found 'my_near\.py': leave out \.py, 'my_near'"),
        (["./my/my_near.py"], r"leave out \.py, 'my\.my_near'"),
    ],
)
def test_a_file_for_a_module(write_modules: WriteModules, value: list[str], words: str) -> None:
    write_modules(my_near=NEAR)
    with pytest.raises(ConfigError, match=words):
        merged(*value)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_all_new_names_exist(old: str, new: str) -> None:
    assert importlib.util.find_spec(f"retina_plugin.{old}") is None
    assert importlib.util.find_spec(f"retina_plugin.{new}") is not None
    assert new_module_name(f"retina_plugin.{old}") == f"retina_plugin.{new}"
    assert new_module_name(old) == new_module_name("retina_plugin.none") == ""


def test_a_failed_module_registers_nothing_and_can_be_corrected(
    write_modules: WriteModules,
) -> None:
    write_modules(my_near=f"{NEAR}\nraise ValueError('a slip')")
    with pytest.raises(ConfigError, match="a slip"):
        merged("my_near")
    assert "Near" not in ASSIGNER_REGISTRY
    write_modules(my_near=NEAR.replace("2.0", "3.0"))
    assert merged("my_near").MODEL.RETINA_PLUGIN.ASSIGNER.Near.RADIUS == 3.0


def test_a_module_that_is_imported_again_replaces_its_parts(write_modules: WriteModules) -> None:
    write_modules(my_near=NEAR)
    merged("my_near")
    write_modules(my_near=NEAR.replace("2.0", "3.0"))
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
def test_keys_do_not_depend_on_the_order_of_imports(
    write_modules: WriteModules, entry: str, first: str
) -> None:
    write_modules(
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


def test_forgotten_imports(write_modules: WriteModules) -> None:
    radius = "MODEL.RETINA_PLUGIN.ASSIGNER.Near.RADIUS"
    words = rf"unknown key {radius}\. If it is a key .* registers the part in {IMPORTS}\.$"
    with pytest.raises(ConfigError, match=words):
        get_cfg().merge_from_list([radius, "1"])
    write_modules(my_near=NEAR)
    importlib.import_module("my_near")
    with pytest.raises(ConfigError, match=r"'Near' is defined in module my_near: add the"):
        get_cfg().merge_from_list([radius, "1"])
    with pytest.raises(ConfigError, match=r"assigner 'MaxIoUAssigner' has no keys"):
        get_cfg().merge_from_list(["MODEL.RETINA_PLUGIN.ASSIGNER.MaxIoUAssigner.X", "1"])
    with pytest.raises(ConfigError, match=r"Did you mean \S+Near\.RADIUS\?"):
        merged("my_near").merge_from_list([radius.replace("Near", "Neer"), "1"])


def test_parts_that_another_process_could_not_import(write_modules: WriteModules) -> None:
    write_modules(my_near=NEAR)
    importlib.import_module("my_near")
    cfg = get_cfg()
    cfg.MODEL.RETINA_PLUGIN.ASSIGNER.NAME = "Near"
    with pytest.raises(
        ConfigError, match=r"'Near' is defined in module my_near, .*IMPORTS \['my_near'\]"
    ):
        require_imported(cfg)
    cfg.merge_from_list([IMPORTS, "['my_near']"])
    require_imported(cfg)


def test_a_neck_of_another_module(write_modules: WriteModules) -> None:
    """A neck is chosen by the name of the backbone."""
    write_modules(
        my_neck="from retina_plugin.modeling import NECK_REGISTRY\n"
        "@NECK_REGISTRY.register('mine')\nclass Mine(NECK_REGISTRY.get('fpn')): ..."
    )
    importlib.import_module("my_neck")
    register_pairs()
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_retina_resnet_mine_backbone"
    with pytest.raises(
        ConfigError, match=r"BACKBONE\.NAME: backbone \S+ is defined in module my_neck"
    ):
        require_imported(cfg)


def test_a_part_of_a_notebook(
    write_modules: WriteModules, caplog: pytest.LogCaptureFixture
) -> None:
    exec(NEAR, {"__name__": "__main__"})
    cfg = get_cfg()
    cfg.MODEL.RETINA_PLUGIN.ASSIGNER.NAME = "Near"
    assert part_keys_of(cfg)["MODEL.RETINA_PLUGIN.ASSIGNER.Near.RADIUS"].default == 2.0
    with caplog.at_level("WARNING", logger="retina_plugin"):
        require_imported(cfg)
    (record,) = caplog.records
    assert "move the code to a module and name the module in" in record.getMessage()
