"""Packaged configs are found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from retina_plugin.config import ConfigError, get_cfg
from retina_plugin.config.packaged import find_config, packaged_configs

NAME = "digits/retinanet_compact.yaml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_config_of_the_tree_has_a_name(root: Path) -> None:
    found = {str(path.relative_to(root / "configs")) for path in (root / "configs").rglob("*.yaml")}
    assert set(packaged_configs()) == found


def test_a_path_that_exists_is_preferred() -> None:
    cfg = get_cfg()
    cfg.merge_from_file(NAME)
    assert cfg.DATASETS.TRAIN == ("digits_train",)
    Path("digits").mkdir()
    Path(NAME).write_text("SEED: 7\n")
    assert find_config(NAME) == NAME
    Path(NAME).unlink()
    Path(NAME).symlink_to("nowhere")  # a dangling link still counts as present
    with pytest.raises(ConfigError, match=f"config file {NAME} cannot be read"):
        get_cfg().merge_from_file(NAME)


def test_a_base_may_be_a_packaged_config() -> None:
    Path("mine").mkdir()
    Path("mine/my.yaml").write_text(f"_BASE_: {NAME}\nSEED: 7\n")
    cfg = get_cfg()
    cfg.merge_from_file("mine/my.yaml")
    assert (cfg.SEED, cfg.DATASETS.TRAIN) == (7, ("digits_train",))
    Path("mine/digits").mkdir()
    Path("mine", NAME).write_text("SEED: 8\nOUTPUT_DIR: beside\n")
    cfg = get_cfg()
    cfg.merge_from_file("mine/my.yaml")
    assert (cfg.SEED, cfg.OUTPUT_DIR, cfg.DATASETS.TRAIN) == (7, "beside", ())
    Path("mine/my.yaml").write_text("_BASE_: digits/retinanet_longtale.yaml\n")
    with pytest.raises(
        ConfigError,
        match=r"mine/digits/retinanet_longtale.yaml cannot be read: .*"
        r"Did you mean digits/retinanet_longtail\.yaml\?",
    ):
        get_cfg().merge_from_file("mine/my.yaml")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("digits/retinanet_compct.yaml", f"Did you mean {NAME}?"),
        (f"configs/{NAME}", f"Did you mean {NAME}?"),
        ("digits/retinanet_compact", f"Did you mean {NAME}?"),
        ("coco/retinanet_R_50_FPN_2x.yaml", "coco/retinanet_R_50_FPN_1x.yaml"),
        ("retinanet_longtail.yaml", "Did you mean digits/retinanet_longtail.yaml?"),
        ("nothing", "retina config --help lists the packaged configs."),
        ("../digits/retinanet_compact.yaml", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_an_unknown_name(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as error:
        find_config(name)
    assert nearest in str(error.value)
