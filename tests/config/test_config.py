"""Reading of YAML and overrides: accepted values, and the message for each mistake."""

from pathlib import Path

import pytest

from retina_plugin.config import DETECTRON2_KEYS, PLUGIN_KEYS, CfgNode, get_cfg, leaves
from retina_plugin.config.errors import ConfigError


def write(folder: Path, text: str, name: str = "config.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_every_key_has_a_meaning_and_its_default() -> None:
    cfg = dict(leaves(get_cfg()))
    assert set(cfg) == set(DETECTRON2_KEYS) | set(PLUGIN_KEYS)
    for key, (default, meaning, _) in {**DETECTRON2_KEYS, **PLUGIN_KEYS}.items():
        assert cfg[key] == default
        assert meaning
        assert "\n" not in meaning


def test_defaults_are_not_shared() -> None:
    first, second = get_cfg(), get_cfg()
    first.MODEL.RETINANET.IN_FEATURES.append("p8")
    assert second.MODEL.RETINANET.IN_FEATURES == ["p3", "p4", "p5", "p6", "p7"]


def test_a_file_overrides_its_base(tmp_path: Path) -> None:
    (tmp_path / "leaves").mkdir()
    write(
        tmp_path,
        "SOLVER: {MAX_ITER: 7, BASE_LR: 1}\nINPUT:\n  MIN_SIZE_TRAIN: (320, 640)",
        "base.yaml",
    )
    cfg = get_cfg()
    cfg.merge_from_file(
        write(tmp_path / "leaves", "_BASE_: ../base.yaml\nSOLVER:\n  MAX_ITER: 9\n")
    )
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.INPUT.MIN_SIZE_TRAIN) == (
        9,
        1.0,
        (320, 640),
    )


def test_overrides() -> None:
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            "SOLVER.STEPS",
            "(5,)",
            "SOLVER.BASE_LR",
            "1e-3",
            "DATASETS.TRAIN",
            "('a.json@b',)",
            "SOLVER.WEIGHT_DECAY_BIAS",
            0,
        ]
    )
    assert (
        cfg.SOLVER.STEPS,
        cfg.SOLVER.BASE_LR,
        cfg.DATASETS.TRAIN,
        cfg.SOLVER.WEIGHT_DECAY_BIAS,
    ) == (
        (5,),
        1e-3,
        ("a.json@b",),
        0,
    )


def test_dump_is_read_back(tmp_path: Path) -> None:
    cfg, again = get_cfg(), get_cfg()
    cfg.merge_from_list(["INPUT.MIN_SIZE_TRAIN", (1, 2), "MODEL.WEIGHTS", "x.pth"])
    again.merge_from_file(write(tmp_path, cfg.dump()))
    assert again == cfg


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            "SOLVER: {BASE_LRR: 1}",
            r"config.yaml, line 1: unknown key SOLVER.BASE_LRR. Did you mean SOLVER.BASE_LR",
            id="misspelt",
        ),
        pytest.param(
            "BASE_LR: 1",
            r"unknown key BASE_LR. Did you mean "
            r"SOLVER.BASE_LR",
            id="without its node",
        ),
        pytest.param(
            "MODEL: {ROI_HEADS: {NUM_CLASSES: 3}}",
            "RetinaNet does not read it; set MODEL.RETINANET.NUM_CLASSES",
            id="R-CNN's key",
        ),
        pytest.param(
            "SOLVER: {MAX_ITER: many}",
            "SOLVER.MAX_ITER: expected int like 40000, found str 'many'",
            id="type",
        ),
        pytest.param(
            "DATASETS: {TRAIN: coco}",
            r"found str 'coco'. Write one entry as \('coco',\)",
            id="one name",
        ),
        pytest.param("SOLVER: 3", "SOLVER is a group of keys", id="a number for a node"),
        pytest.param("- a\n- b", "expected keys and values, found a list", id="a list"),
        pytest.param("SOLVER: {MAX_ITER: [1", "is not YAML", id="broken"),
        pytest.param(
            "SEED: !!python/object/apply:eval ['1+1']",
            "tag !!python/object/apply:eval is not allowed",
            id="python tag",
        ),
        pytest.param("_BASE_: none.yaml", "none.yaml cannot be read", id="missing base"),
        pytest.param("_BASE_: config.yaml", "_BASE_ is circular", id="includes itself"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        get_cfg().merge_from_file(write(tmp_path, text))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["SOLVER.MAX_ITER"], "come in pairs KEY VALUE, found an odd"),
        (
            ["SOLVER.MAX_ITERS", "3"],
            "command line: unknown key SOLVER.MAX_ITERS. Did you mean SOLVER.MAX_ITER",
        ),
        (
            ["MODEL.RETINANET.GAMMA", "1"],
            "Did you mean MODEL.RETINANET.FOCAL_LOSS_GAMMA or SOLVER.GAMMA",
        ),
        (["MODEL.RPN.NMS_THRESH", "0.7"], "unknown key MODEL.RPN.NMS_THRESH"),
        (["SOLVER.BASE_LR", "True"], "SOLVER.BASE_LR: expected float like 0.001, found bool True"),
        (["SOLVER.MAX_ITER", "True"], "SOLVER.MAX_ITER: expected int like 40000, found bool True"),
        (["SOLVER.NESTEROV", "1"], "SOLVER.NESTEROV: expected bool like False, found int 1"),
    ],
)
def test_bad_overrides(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        get_cfg().merge_from_list(overrides)


def test_old_and_new_name_of_a_key_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = "MODEL.RETINA_PLUGIN.HEAD_WIDTH", "MODEL.RETINA_PLUGIN.HEAD.WIDTH"
    text = "MODEL:\n  RETINA_PLUGIN:\n    HEAD_WIDTH: 16\n    HEAD: {WIDTH: 32}"
    words = rf"config.yaml, line 4: {old} \(line 3\) and {new} are the same key: keep {new}"
    with pytest.raises(ConfigError, match=words):
        get_cfg().merge_from_file(write(tmp_path, text))
    with caplog.at_level("WARNING", logger="retina_plugin"):
        get_cfg().merge_from_list([old, "16", new, "32"])
    assert f"{new} is given 2 times; the last value is used" in caplog.text


def test_messages_about_keys_of_this_project_do_not_mention_detectron2() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean \S+WIDTH or .*HEAD\.\S+\?$"):
        get_cfg().merge_from_list(["MODEL.RETINA_PLUGIN.HEAD.WIDHT", "1"])
    with pytest.raises(ConfigError, match=r"Keys that only Detectron2 reads"):
        get_cfg().merge_from_list(["MODEL.PROPOSAL_GENERATOR.NAME", "RPN"])


def test_frozen_stays_frozen() -> None:
    cfg = get_cfg()
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.merge_from_list(["SOLVER.MAX_ITER", 3])


def test_clone_keeps_the_class() -> None:
    assert isinstance(get_cfg().clone().SOLVER, CfgNode)


@pytest.mark.parametrize("key", ["MODEL.RETINANET.FOCAL_LOSS_ALPHA", "MODEL.RETINANET.PRIOR_PROB"])
def test_numbers_on_the_command_line_replace_auto(key: str) -> None:
    cfg = get_cfg()
    cfg.merge_from_list([key, "auto"])
    cfg.merge_from_list([key, "0.5"])
    assert dict(leaves(cfg))[key] == 0.5
