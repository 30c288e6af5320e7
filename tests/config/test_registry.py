"""Parts from outside: their keys, and what each mistake in registering one is told."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from retina_plugin.config import ConfigError, Key, Registry, above, get_cfg
from retina_plugin.config.imports import keys_of_parts
from retina_plugin.config.registry import REGISTRIES
from tests.conftest import ROOT

KEYS = {"RADIUS": Key(2.0, "strides", above(0))}


@pytest.fixture
def parts() -> Iterator[Registry]:
    """A registry of its own kind."""
    yield Registry("thing", node="MODEL.RETINA_PLUGIN.THING", given=("size",))
    REGISTRIES.pop()


def test_a_part_gets_its_keys_and_what_it_is_given(parts: Registry) -> None:
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
    with pytest.raises(ConfigError, match=r"no key 'near' of thing 'near': name .*test_registry"):
        parts.build(cfg)


def test_the_keys_of_a_base_come_with_its_subclass(parts: Registry) -> None:
    """Also when another module has registered the base before."""

    @parts.register("near", keys=KEYS)
    class Near:
        def __init__(self, *, radius: float) -> None: ...

    Near.__module__ = "first"
    parts._parts["near"] = dataclasses.replace(parts.part("near"), module="first")
    near = "MODEL.RETINA_PLUGIN.THING.near.RADIUS"
    assert near not in keys_of_parts(["second"])

    class Nearer(Near): ...

    Nearer.__module__ = "second"
    parts.register("nearer")(Nearer)
    assert near in keys_of_parts(["second"])


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


def test_an_argument_that_nothing_gives(parts: Registry) -> None:
    with pytest.raises(ConfigError, match=r"nothing gives the constructor argument 'speed'"):

        @parts.register()
        class Near:
            def __init__(self, *, speed: int) -> None: ...


def test_a_name_that_is_taken(parts: Registry) -> None:
    class Near: ...

    class Other: ...

    parts.register("near")(Near)
    parts.register("near")(Near)  # the same once more is harmless
    with pytest.raises(KeyError, match=r"'near' is registered already, by .*Near; .*Other has to"):
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
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert "HEAD_WIDTH is called MODEL.RETINA_PLUGIN.HEAD.WIDTH now" in said[1]
