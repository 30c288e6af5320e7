"""Registries: config keys of parts, and the message for each mistake in a registration."""

from __future__ import annotations

import dataclasses
import functools
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from retina_plugin.config import ConfigError, Key, Registry, above, get_cfg
from retina_plugin.config.imports import part_keys
from retina_plugin.config.registry import REGISTRIES
from retina_plugin.modeling import BACKBONE_REGISTRY
from tests.conftest import ROOT

KEYS = {"RADIUS": Key(2.0, "strides", above(0))}


@pytest.fixture
def parts() -> Iterator[Registry]:
    """An empty registry, removed after the test."""
    yield Registry("thing", node="MODEL.RETINA_PLUGIN.THING", runtime_arguments=("size",))
    REGISTRIES.pop()


def test_a_part_gets_its_keys_and_the_arguments_of_the_builder(parts: Registry) -> None:
    @parts.register("near", keys=KEYS)
    class Near:
        def __init__(self, *, size: int, radius: float) -> None:
            self.size, self.radius = size, radius

    cfg = {"MODEL": {"RETINA_PLUGIN": {"THING": {"NAME": "near", "near": {"RADIUS": 3.0}}}}}
    part = parts.build(cfg, size=7)
    assert (part.size, part.radius) == (7, 3.0)

    @parts.register("nearer")  # a subclass reads the keys of its base
    class Nearer(Near):
        pass

    cfg["MODEL"]["RETINA_PLUGIN"]["THING"]["NAME"] = "nearer"
    assert parts.build(cfg, size=7).radius == 3.0


def test_a_config_without_the_keys_of_a_part(parts: Registry) -> None:
    @parts.register("near", keys=KEYS)
    class Near:
        def __init__(self, *, radius: float) -> None: ...

    cfg = {"MODEL": {"RETINA_PLUGIN": {"THING": {"NAME": "near"}}}}
    with pytest.raises(ConfigError, match=r"no key \S+near\.RADIUS, which thing 'near' .*test_reg"):
        parts.build(cfg)


def test_the_keys_of_a_base_come_with_its_subclass(parts: Registry) -> None:
    """This also works if another module has registered the base before."""

    @parts.register("near", keys=KEYS)
    class Near:
        def __init__(self, *, radius: float) -> None: ...

    Near.__module__ = "first"
    parts._parts["near"] = dataclasses.replace(parts.part("near"), module="first")
    near = "MODEL.RETINA_PLUGIN.THING.near.RADIUS"
    assert near not in part_keys(["second"])

    class Nearer(Near): ...

    Nearer.__module__ = "second"
    parts.register("nearer")(Nearer)
    assert near in part_keys(["second"])


def test_a_name_with_a_dot_cannot_have_keys(parts: Registry) -> None:
    with pytest.raises(ConfigError, match=r"a name without dots"):
        parts.register("a.b", keys=KEYS)(lambda *, radius: radius)


def test_a_key_without_a_default(parts: Registry) -> None:
    with pytest.raises(ConfigError, match=r"test_registry.*key RADIUS has no default: write RADIU"):

        @parts.register(keys={"RADIUS": above(0)})
        class Near:
            def __init__(self, *, radius: float) -> None: ...


def test_a_key_without_an_argument(parts: Registry) -> None:
    words = r"thing 'Near': key RADIUS needs the constructor argument 'radius', found size"
    with pytest.raises(ConfigError, match=words):

        @parts.register(keys=KEYS)
        class Near:
            def __init__(self, *, size: int) -> None: ...


@pytest.mark.parametrize(
    ("name", "keys", "words"),
    [
        ("NAME", KEYS, r"needs another name, because MODEL\.RETINA_PLUGIN\.THING\.NAME is a key"),
        ("near", ["RADIUS"], r"write keys=\{'RADIUS': Key\(2\.0, 'what it means'\)\}, found list"),
        ("near", {"SIZE": Key(1, "size")}, r"argument 'size' is given by the builder"),
        ("near", {"radius": Key(1, "r")}, r"key 'radius': expected a name in capitals"),
        ("near", {"A.B": Key(1, "r")}, r"key 'A\.B': expected a name in capitals"),
        ("near", {1: Key(1, "r")}, r"key 1: expected a name in capitals"),
        ("near", {"RADIUS": Key({"a": 1}, "r")}, r"default that YAML can hold .* found dict"),
        ("near", {"RADIUS": Key(torch.ones(2), "r")}, r"default that YAML can hold .*found Tensor"),
        ("near", {"RADIUS": Key(float("nan"), "r")}, r"a finite number.* found float nan"),
        ("near", {"RADIUS": Key([{1}], "r")}, r"or a list of them\), found list"),
        ("near", {"RADIUS": Key(1.0, above(0))}, r"expected a description after the default"),
        ("near", {"RADIUS": Key(1.0, "r", lambda v: v > 0)}, r"expected a rule .*found <function"),
        (
            "near",
            {"RADIUS": Key(0.0, "r", above(0))},
            r"its default does not follow its rule: expected above 0",
        ),
    ],
)
def test_keys_that_cannot_be_used(parts: Registry, name: str, keys: Any, words: str) -> None:
    class Near:
        def __init__(self, **arguments: Any) -> None: ...

    with pytest.raises(ConfigError, match=rf"Near: thing '{name}': .*{words}"):
        parts.register(name, keys=keys)(Near)


@pytest.mark.parametrize(
    ("node", "name"),
    [("HEAD", "WIDTH"), ("ASSIGNER", "NAME"), ("INPUT", "MAX_PIXELS"), ("INPUT", "TRANSFORMS")],
)
def test_a_name_that_is_a_key_of_the_node(node: str, name: str) -> None:
    registry = next(r for r in REGISTRIES if r.node == f"MODEL.RETINA_PLUGIN.{node}")
    with pytest.raises(ConfigError, match=rf"MODEL\.RETINA_PLUGIN\.{node}\.{name} is a key"):
        registry.register(name, keys=KEYS)(lambda *, radius: radius)
    assert name not in registry


def test_arguments_of_the_builder_are_not_read_from_the_config(parts: Registry) -> None:
    with pytest.raises(ConfigError, match=r"'size' is given by the builder .* out of reads"):
        parts.register("near", reads={"size": "SEED"})(lambda *, size: size)


def test_register_as_a_decorator_without_parentheses(parts: Registry) -> None:
    @parts.register
    class Near: ...

    class Far: ...

    parts.register(Far)
    assert isinstance(Near, type)
    assert dict(parts.items()) == {"Near": Near, "Far": Far}


@pytest.mark.parametrize("entry", [3, functools.partial(int)])
def test_objects_that_cannot_be_registered(parts: Registry, entry: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected register\('name'\)\(part\), found"):
        parts.register()(entry)


def test_a_backbone_has_no_keys() -> None:
    words = (
        r"backbone 'mine': .* cannot have keys: leave out keys and reads, and read existing keys"
    )
    with pytest.raises(ConfigError, match=words):
        BACKBONE_REGISTRY.register("mine", keys=KEYS)(lambda cfg, input_shape: None)
    assert "mine" not in BACKBONE_REGISTRY


def test_a_cell_of_a_notebook_that_runs_twice(parts: Registry) -> None:
    cell = "@register('near', keys=KEYS)\nclass Near:\n    def __init__(self, *, radius): ..."
    sub = "@register('nearer')\nclass Nearer(Near): ..."
    names = {"register": parts.register, "KEYS": KEYS, "__name__": "__main__"}
    exec(f"{cell}\n{sub}", names)
    first = parts.get("near")
    exec(cell, names)
    assert parts.get("near") is names["Near"] is not first
    assert parts.users(parts.part("near")) == ["near", "nearer"]  # the old subclass too


def test_a_required_argument_without_a_key(parts: Registry) -> None:
    with pytest.raises(ConfigError, match=r"the constructor argument 'speed' has no source"):

        @parts.register()
        class Near:
            def __init__(self, *, speed: int) -> None: ...


def test_a_name_that_is_taken(parts: Registry) -> None:
    class Near: ...

    class Other: ...

    parts.register("near")(Near)
    parts.register("near")(Near)  # the same once more is harmless
    with pytest.raises(
        KeyError, match=r"'near' is registered already, by .*Near; use another name for .*Other"
    ):
        parts.register("near")(Other)


def test_an_unknown_name_names_the_key(parts: Registry) -> None:
    @parts.register("near")
    class Near: ...

    cfg = {"MODEL": {"RETINA_PLUGIN": {"THING": {"NAME": "neer"}}}}
    with pytest.raises(KeyError, match=r"THING\.NAME: no thing is called 'neer'. Nearest: near"):
        parts.build(cfg)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param("1 / 0", "fails while it is imported: ZeroDivisionError", id="an error"),
        pytest.param("import no_such_thing", "No module named 'no_such_thing'", id="missing"),
    ],
)
def test_a_module_that_fails_while_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    (tmp_path / "my_broken.py").write_text(code, encoding="utf-8")
    (tmp_path / "c.yaml").write_text(
        "MODEL: {RETINA_PLUGIN: {IMPORTS: [my_broken]}}", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        ConfigError, match=rf"c\.yaml, line 1: .*IMPORTS names 'my_broken'.*{words}"
    ):
        get_cfg().merge_from_file(str(tmp_path / "c.yaml"))


def test_imports_add_up(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "MODEL: {RETINA_PLUGIN: {IMPORTS: [json]}}", encoding="utf-8"
    )
    (tmp_path / "c.yaml").write_text(
        "_BASE_: base.yaml\nMODEL: {RETINA_PLUGIN: {IMPORTS: [csv]}}", encoding="utf-8"
    )
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "c.yaml"))
    cfg.merge_from_list(["MODEL.RETINA_PLUGIN.IMPORTS", "['cmd']"])
    assert cfg.MODEL.RETINA_PLUGIN.IMPORTS == ["json", "csv", "cmd"]
    assert "cmd" in sys.modules


def test_names_of_version_0_1_still_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(
        f"_BASE_: {ROOT / 'configs/Base-RetinaNet.yaml'}\nMODEL:\n  RETINA_PLUGIN:\n"
        "    HEAD: RetinaHead\n    HEAD_WIDTH: 48\n    CLASS_LOSS: balanced_ce\n",
        encoding="utf-8",
    )
    cfg = get_cfg()
    with caplog.at_level(logging.WARNING, logger="retina_plugin"):
        cfg.merge_from_file(str(path))
    node = cfg.MODEL.RETINA_PLUGIN
    assert (node.HEAD.NAME, node.HEAD.WIDTH, node.CLASS_LOSS.NAME) == (
        "RetinaHead",
        48,
        "balanced_ce",
    )
    printed = [record.getMessage() for record in caplog.records]
    assert len(printed) == 3
    assert "HEAD_WIDTH is now called MODEL.RETINA_PLUGIN.HEAD.WIDTH" in printed[1]
