"""Checks before a run: the device, the number of classes, batch sizes and processes."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

from retina_plugin import get_cfg
from retina_plugin.config import CfgNode, check_rules
from retina_plugin.config.errors import ConfigError
from retina_plugin.data import catalog, load_dataset
from retina_plugin.engine.checks import (
    check_run,
    freeze_unused_parameters,
    resolve_device,
    resolve_num_classes,
)
from tests.coco_files import write_coco
from tests.models import compact_model

CLASSES = {
    "pets": ["cat", "dog"],
    "more pets": ["cat", "dog"],
    "farm": ["cow", "hen", "pig"],
    "turned": ["dog", "cat"],
    "letters": list("abcdefghijkl"),
}


def cfg_of(number: int, train: list[str], test: list[str]):
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            "MODEL.META_ARCHITECTURE",
            "FocalRetinaNet",
            "MODEL.RETINANET.NUM_CLASSES",
            number,
            "DATASETS.TRAIN",
            tuple(train),
            "DATASETS.TEST",
            tuple(test),
        ]
    )
    return cfg


@pytest.mark.parametrize(
    ("number", "train", "test", "eval_only", "classes"),
    [
        pytest.param(-1, ["pets"], ["pets"], False, ["cat", "dog"], id="as many as there are"),
        pytest.param(2, ["pets"], ["pets"], False, ["cat", "dog"], id="the right number"),
        pytest.param(-1, ["farm"], [], False, ["cow", "hen", "pig"], id="no test set"),
        pytest.param(
            -1, ["pets", "more pets"], ["more pets"], False, ["cat", "dog"], id="two training sets"
        ),
        pytest.param(-1, ["pets"], ["farm"], True, ["cow", "hen", "pig"], id="evaluation"),
        pytest.param(
            3, ["nowhere"], ["farm"], True, ["cow", "hen", "pig"], id="training set not there"
        ),
    ],
)
def test_number_and_names_of_classes(
    number: int, train: list, test: list, eval_only: bool, classes: list
) -> None:
    cfg = cfg_of(number, train, test)
    assert resolve_num_classes(cfg, CLASSES.__getitem__, eval_only=eval_only) == classes
    assert len(classes) == cfg.MODEL.RETINANET.NUM_CLASSES


@pytest.mark.parametrize(
    ("number", "train", "test", "eval_only", "words"),
    [
        pytest.param(
            80,
            ["pets"],
            ["pets"],
            False,
            r"NUM_CLASSES is 80, but data set pets has 2 classes \(cat, dog\). Set it to 2, or to "
            r"-1 to take it from DATASETS.TRAIN",
            id="too many",
        ),
        pytest.param(
            3,
            ["pets"],
            [],
            False,
            "NUM_CLASSES is 3, but .* 2 classes .* background is not",
            id="background",
        ),
        pytest.param(
            0, ["pets"], [], False, "NUM_CLASSES is 0, but data set pets has 2", id="none"
        ),
        pytest.param(
            -2, ["pets"], [], False, "NUM_CLASSES is -2, but data set pets has 2", id="below -1"
        ),
        pytest.param(
            7,
            [],
            ["letters"],
            True,
            r"has 12 classes \(a, b, c, d, e, f, g, h, "
            r"\.\.\.\)",
            id="many names",
        ),
        pytest.param(
            80,
            ["nowhere"],
            ["farm"],
            True,
            "is 80, but data set farm .* from DATASETS.TEST",
            id="evaluation",
        ),
        pytest.param(
            -1,
            ["pets"],
            ["farm"],
            False,
            r"data set pets has 2 classes \(cat, dog\), farm has 3 classes \(cow, hen, pig\): give "
            r"both",
            id="another number for testing",
        ),
        pytest.param(
            2,
            ["pets", "turned"],
            [],
            False,
            "pets and turned name their classes differently, first 'cat' and 'dog': give both the "
            "same categories",
            id="another order",
        ),
        pytest.param(
            -1,
            [],
            ["pets"],
            False,
            "DATASETS.TRAIN is empty: name a data set",
            id="no training set",
        ),
        pytest.param(-1, ["pets"], [], True, "DATASETS.TEST is empty", id="nothing to evaluate"),
    ],
)
def test_wrong_numbers_of_classes(
    number: int, train: list, test: list, eval_only: bool, words: str
) -> None:
    cfg = cfg_of(number, train, test)
    with pytest.raises(ConfigError, match=words):
        resolve_num_classes(cfg, CLASSES.__getitem__, eval_only=eval_only)
    assert number == cfg.MODEL.RETINANET.NUM_CLASSES


@pytest.mark.parametrize(
    ("name", "given", "left"),
    [
        pytest.param("FocalRetinaNet", (2, 80), (2, 80), id="ours"),
        pytest.param("FocalRetinaNet", (80, 2), "MODEL.RETINANET.NUM_CLASSES is 80", id="wrong"),
        pytest.param("GeneralizedRCNN", (80, 2), (80, 2), id="another key"),
        pytest.param("GeneralizedRCNN", (2, 80), "MODEL.ROI_HEADS.NUM_CLASSES is 80", id="its key"),
        pytest.param("PanopticFPN", (-1, -1), (2, 2), id="asked for"),
        pytest.param("MyModel", (80, 80), (80, 80), id="of a plugin"),
        pytest.param("MyModel", (-1, -1), (2, 2), id="of a plugin, asked for"),
    ],
)
def test_the_number_that_the_meta_architecture_reads(
    name: str, given: tuple[int, int], left: tuple[int, int] | str
) -> None:
    cfg = cfg_of(given[0], ["pets"], [])
    cfg.MODEL.META_ARCHITECTURE = name
    cfg.MODEL.ROI_HEADS = CfgNode({"NUM_CLASSES": given[1]})
    wrong = pytest.raises(ConfigError, match=left) if isinstance(left, str) else None
    with wrong or contextlib.nullcontext():
        assert resolve_num_classes(cfg, CLASSES.__getitem__, eval_only=False) == ["cat", "dog"]
    found = cfg.MODEL.RETINANET.NUM_CLASSES, cfg.MODEL.ROI_HEADS.NUM_CLASSES
    assert found == (given if wrong else left)


def test_a_module_of_the_user_may_register_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    json_file, images = write_coco(tmp_path)
    monkeypatch.setattr(catalog, "_CATALOG", dict(catalog._CATALOG))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_pets.py").write_text(
        "from retina_plugin.data import register_dataset\nregister_dataset('my_pets', "
        f"{json_file!r}, {images!r})\n"
    )
    cfg = cfg_of(-1, ["my_pets"], [])
    cfg.MODEL.RETINA_PLUGIN.IMPORTS = ["my_pets"]
    assert resolve_num_classes(
        cfg, lambda name: load_dataset(name).class_names, eval_only=False
    ) == ["cat", "ant"]
    sys.modules.pop("my_pets")
    cfg.MODEL.RETINA_PLUGIN.IMPORTS = ["my_pest"]
    with pytest.raises(ConfigError, match="IMPORTS names 'my_pest'"):
        resolve_num_classes(cfg, lambda name: load_dataset(name).class_names, eval_only=False)


@pytest.mark.parametrize(
    ("wanted", "gpus", "device"),
    [
        ("cuda", True, "cuda"),
        ("cuda", False, "cpu"),
        ("cuda:1", False, "cpu"),
        ("cpu", True, "cpu"),
    ],
)
def test_device(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wanted: str,
    gpus: bool,
    device: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus)
    cfg = get_cfg()
    cfg.MODEL.DEVICE = wanted
    resolve_device(cfg)
    assert device == cfg.MODEL.DEVICE
    assert ("using the CPU" in caplog.text) == (wanted != device)


@pytest.mark.parametrize(
    ("overrides", "gpus", "machines", "words"),
    [
        pytest.param({}, 1, 1, None, id="one process"),
        pytest.param({}, 0, 1, None, id="0 GPUs are one process"),
        pytest.param({}, 2, 4, None, id="16 images for 8"),
        pytest.param(
            {},
            3,
            1,
            "IMS_PER_BATCH is 16: 3 processes cannot share it equally",
            id="16 images for 3",
        ),
        pytest.param(
            {"SOLVER.MAX_ITER": 0},
            1,
            1,
            "SOLVER.MAX_ITER: expected from 1 to 1000000000, found 0",
            id="no step",
        ),
        pytest.param(
            {"SOLVER.IMS_PER_BATCH": 0},
            1,
            1,
            "SOLVER.IMS_PER_BATCH: expected from 1 to 100000",
            id="no image",
        ),
        pytest.param(
            {"SOLVER.BASE_LR": 0.0},
            1,
            1,
            "SOLVER.BASE_LR: expected from 1e-12 to 100, found 0.0",
            id="no learning rate",
        ),
        pytest.param(
            {"SOLVER.STEPS": ("a",)},
            1,
            1,
            "SOLVER.STEPS: expected rising numbers",
            id="a step in letters",
        ),
        pytest.param(
            {"MODEL.RETINANET.SCORE_THRESH_TEST": 1.0},
            1,
            1,
            "expected at least 0 and below 1, found 1.0",
            id="no score",
        ),
        pytest.param(
            {"MODEL.RETINANET.BBOX_REG_WEIGHTS": (1.0, 1.0)},
            1,
            1,
            "expected four numbers from 0.001 to 1000",
            id="two weights",
        ),
        pytest.param(
            {"INPUT.MIN_SIZE_TRAIN": ("a",)},
            1,
            1,
            "expected sizes in pixels",
            id="a size in letters",
        ),
        pytest.param(
            {"MODEL.DEVICE": "cuda"},
            2,
            1,
            "--num-gpus is 2, but this machine has 1",
            id="one GPU too many",
        ),
        pytest.param(
            {"SOLVER.IMS_PER_BATCH": 8}, 2, 2, None, id="2 images for each of 2 machines' 2 ranks"
        ),
        pytest.param(
            {"SOLVER.IMS_PER_BATCH": 6},
            2,
            2,
            "IMS_PER_BATCH is 6: 4 processes cannot share it equally",
            id="images that ranks of one machine could share",
        ),
        pytest.param(
            {"SOLVER.IMS_PER_BATCH": 8},
            0,
            3,
            "IMS_PER_BATCH is 8: 3 processes cannot share it equally",
            id="a process on each of three machines",
        ),
        pytest.param(
            {"INPUT.MIN_SIZE_TRAIN_SAMPLING": "range"},
            1,
            1,
            "INPUT.MIN_SIZE_TRAIN for .* range: expected two rising numbers",
            id="a range of one size",
        ),
    ],
)
def test_processes(
    monkeypatch: pytest.MonkeyPatch, overrides: dict, gpus: int, machines: int, words: str | None
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.merge_from_list([word for pair in overrides.items() for word in pair])
    with pytest.raises(ConfigError, match=words) if words else contextlib.nullcontext():
        check_rules(cfg)  # as read_config does
        check_run(cfg, num_gpus=gpus, num_machines=machines)


def test_layers_that_no_level_uses_are_frozen() -> None:
    sizes = [[16, 24], [32, 48]]
    model = compact_model(
        MODEL__RETINANET__IN_FEATURES=["p3", "p4"], MODEL__ANCHOR_GENERATOR__SIZES=sizes
    )
    freeze_unused_parameters(model)
    frozen = {name.rsplit(".", 1)[0] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"backbone.fpn_output5", "backbone.top_block.p6", "backbone.top_block.p7"}
    assert model.training
    whole = compact_model()
    freeze_unused_parameters(whole)
    assert all(parameter.requires_grad for parameter in whole.parameters())
