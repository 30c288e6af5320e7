"""Range checks: invalid values are errors that name the key, on either host, before training."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from retina_plugin.config import DETECTRON2_KEYS, MULTI_TYPE_KEYS, PLUGIN_KEYS, leaves
from retina_plugin.config.checks import DETECTRON2_RULES, check_rules
from retina_plugin.config.conflicts import warn_of_conflicts, warn_of_unused_augmentation
from retina_plugin.config.errors import ConfigError
from retina_plugin.engine.process import USER_ERRORS
from retina_plugin.modeling.build import build_model
from tests.load_tools import load_tool
from tests.models import compact_model
from tests.scenes import write_run

HOSTS = {"lightning": "retina_plugin.config"}
if importlib.util.find_spec("detectron2") is not None:
    HOSTS["detectron2"] = "retina_plugin.d2"
STAR = ["MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME", "focal_star"]
SGD = ["MODEL.RETINA_PLUGIN.OPTIMIZER", "SGD"]
CROP = ["INPUT.CROP.ENABLED", "True", "INPUT.CROP.TYPE"]


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["MODEL.ANCHOR_GENERATOR.SIZES", "[['a'], ['b']]"],
            "SIZES: expected numbers from 1 to 100000",
        ),
        (["MODEL.ANCHOR_GENERATOR.SIZES", "[]"], "SIZES: expected numbers from 1 to 100000"),
        (["MODEL.ANCHOR_GENERATOR.SIZES", "[[], []]"], "SIZES: expected numbers from 1 to 100000"),
        (
            ["MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[0.0, 1.0]]"],
            "ASPECT_RATIOS: expected numbers from 0.001 to 1000",
        ),
        (["MODEL.DEVICE", "gpu"], "MODEL.DEVICE: expected cuda, cuda:0, ... or cpu, found 'gpu'"),
        (["MODEL.PIXEL_MEAN", "[100.0]"], "PIXEL_MEAN: expected three numbers"),
        (["MODEL.PIXEL_MEAN", "['a', 'b', 'c']"], "PIXEL_MEAN: expected three numbers"),
        (
            ["MODEL.RETINANET.IN_FEATURES", "['p9']"],
            "IN_FEATURES: the backbone has no map 'p9', only p3, p4",
        ),
        (
            ["MODEL.RETINANET.IOU_THRESHOLDS", "['a', 'b']"],
            "IOU_THRESHOLDS: expected one or two rising numbers from 0 to 1",
        ),
        (["MODEL.RETINANET.NMS_THRESH_TEST", "50.0"], "NMS_THRESH_TEST: expected from 0 to 1"),
        (
            ["MODEL.RETINANET.FOCAL_LOSS_ALPHA", "[-1, 0.2]"],
            "FOCAL_LOSS_ALPHA: expected a weight in",
        ),
        (
            ["MODEL.RETINANET.FOCAL_LOSS_GAMMA", "1e400"],
            "FOCAL_LOSS_GAMMA: expected a finite number, found inf",
        ),
        (
            [*STAR, "MODEL.RETINANET.FOCAL_LOSS_GAMMA", "0.0"],
            "FOCAL_LOSS_GAMMA for CLASS_LOSS focal_star: expected above 0",
        ),
        (
            ["MODEL.RETINA_PLUGIN.AUTO_ALPHA_CLIP", "[0.1]"],
            "AUTO_ALPHA_CLIP: expected two rising numbers",
        ),
        (
            ["MODEL.RETINA_PLUGIN.AUTO_ALPHA_CLIP", "[0.1, 1.0]"],
            "AUTO_ALPHA_CLIP: expected two rising numbers",
        ),
        (
            ["MODEL.RETINA_PLUGIN.AUTO_ALPHA_CLIP", "['a', 0.2]"],
            "AUTO_ALPHA_CLIP: expected two rising numbers",
        ),
        (
            ["MODEL.RETINA_PLUGIN.AUTO_ALPHA_POWER", "-1.0"],
            "AUTO_ALPHA_POWER: expected from 0 to 4",
        ),
        (
            ["MODEL.RETINA_PLUGIN.AUTO_ALPHA_POWER", "1000.0"],
            "AUTO_ALPHA_POWER: expected from 0 to 4, found 1000.0",
        ),
        (
            ["MODEL.RESNETS.STEM_OUT_CHANNELS", "0"],
            "STEM_OUT_CHANNELS: expected from 1 to 65536, found 0",
        ),
        (
            ["MODEL.RESNETS.RES2_OUT_CHANNELS", "-16"],
            "RES2_OUT_CHANNELS: expected from 1 to 65536, found -16",
        ),
        (["MODEL.RESNETS.NUM_GROUPS", "0"], "NUM_GROUPS: expected from 1 to 65536, found 0"),
        (
            ["MODEL.RETINA_PLUGIN.NECK.LEVELS", "200"],
            "NECK.LEVELS: expected from 1 to 8, found 200",
        ),
        (["MODEL.RETINANET.NUM_CONVS", "-1"], "NUM_CONVS: expected from 0 to 100"),
        (["DATASETS.TRAIN", "(1, 2)"], "DATASETS.TRAIN: expected names"),
        (["DATASETS.TEST", "(1,)"], "DATASETS.TEST: expected names"),
        (
            [*CROP, "relative", "INPUT.CROP.SIZE", "[1.5, 1.5]"],
            "CROP.SIZE .*: expected two fractions of an image side",
        ),
        (
            [*CROP, "relative_range", "INPUT.CROP.SIZE", "[0.001, 0.5]"],
            "CROP.SIZE .*: expected two fractions of an image side",
        ),
        (
            [*CROP, "absolute", "INPUT.CROP.SIZE", "[0.5, 0.5]"],
            "CROP.SIZE .*: expected two numbers of pixels",
        ),
        (
            [*CROP, "absolute_range", "INPUT.CROP.SIZE", "[60, 30]"],
            "CROP.SIZE .*: expected .* rising",
        ),
        (
            [*CROP, "square"],
            "INPUT.CROP.TYPE: expected relative_range, relative, absolute or absolute_range",
        ),
        (
            ["INPUT.RANDOM_FLIP", "both"],
            "RANDOM_FLIP: expected horizontal, vertical or none, found 'both'",
        ),
        (
            ["INPUT.MIN_SIZE_TRAIN_SAMPLING", "any"],
            "MIN_SIZE_TRAIN_SAMPLING: expected choice or range",
        ),
        (
            ["SOLVER.BASE_LR_END", "0.5"],
            "BASE_LR_END: expected at most SOLVER.BASE_LR, 0.01, found 0.5",
        ),
        (["SOLVER.MOMENTUM", "5.0"], "MOMENTUM: expected at least 0 and below 1, found 5.0"),
        (
            ["SOLVER.NESTEROV", "True", "SOLVER.MOMENTUM", "0.0", *SGD],
            "MOMENTUM for SOLVER.NESTEROV: expected above 0",
        ),
        (["SOLVER.STEPS", "(10, 40)"], "STEPS: expected no step at SOLVER.MAX_ITER 40"),
        (["SOLVER.NUM_DECAYS", "0"], "SOLVER.NUM_DECAYS: expected from 1 to 1000, found 0"),
        (["SOLVER.STEPS", "(10, 10)"], "STEPS: expected rising numbers .* all different"),
        (["SOLVER.STEPS", "(20, 10)"], "STEPS: expected rising numbers"),
        (["SOLVER.STEPS", "(1.5,)"], "STEPS: expected rising numbers .* without a fraction"),
        (["SOLVER.STEPS", "[[[1]]]"], "STEPS: expected rising numbers"),
        (["SOLVER.WEIGHT_DECAY_BIAS", "[[1]]"], "WEIGHT_DECAY_BIAS: expected None, or from 0 to 1"),
        (
            ["SOLVER.WEIGHT_DECAY_BIAS", "little"],
            "WEIGHT_DECAY_BIAS: expected None, or from 0 to 1",
        ),
        (
            ["MODEL.RETINANET.FOCAL_LOSS_ALPHA", "-0.25"],
            "FOCAL_LOSS_ALPHA: expected auto or -1.0, or from 0 to 1",
        ),
        (
            ["MODEL.RETINANET.IOU_LABELS", "[0, 1, 2]"],
            r"IOU_LABELS: expected \[0, 1\] or \[0, -1, "
            r"1\]",
        ),
        (
            ["INPUT.MIN_SIZE_TRAIN_SAMPLING", "range", "INPUT.MIN_SIZE_TRAIN", "(64, 32)"],
            "expected two rising numbers",
        ),
        (
            ["INPUT.MIN_SIZE_TRAIN", "(64.5,)"],
            "MIN_SIZE_TRAIN: expected sizes in pixels .* without a fraction",
        ),
        (["VERSION", "1"], "VERSION: expected 2, found 1"),
        (
            ["SOLVER.LR_SCHEDULER_NAME", "Cosine"],
            "LR_SCHEDULER_NAME: expected WarmupMultiStepLR, WarmupCosineLR",
        ),
        (
            ["SOLVER.WARMUP_METHOD", "burnin"],
            "WARMUP_METHOD: expected linear or constant, found 'burnin'",
        ),
        (
            ["SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "all"],
            "CLIP_TYPE: expected value or norm, found 'all'",
        ),
        (["SOLVER.BASE_LR", "1e-300"], "BASE_LR: expected from 1e-12 to 100, found 1e-300"),
        (["MODEL.RETINANET.PRIOR_PROB", "[0.1, 0.1, 1e-300]"], "PRIOR_PROB: expected auto, or"),
        (["MODEL.RETINA_PLUGIN.AUTO_PRIOR_BASE", "1e-5"], "AUTO_PRIOR_BASE: .* from 0.0001"),
        (["MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE", "[0, 1e-300]"], "PIXEL_RANGE: .* apart, found"),
        (["MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE", "[1e9, 1000000000.0000001]"], "PIXEL_RANGE: "),
        (["INPUT.MAX_SIZE_TRAIN", "2"], "MAX_SIZE_TRAIN: expected from 8 to 100000, found 2"),
        (
            ["SOLVER.WARMUP_METHOD", "constant", "SOLVER.WARMUP_FACTOR", "0.0"],
            "WARMUP_FACTOR for SOLVER.WARMUP_METHOD constant: expected above 0",
        ),
        (
            ["MODEL.RETINANET.IOU_THRESHOLDS", "[0.5]"],
            r"IOU_THRESHOLDS for IOU_LABELS \[0, -1, 1\]: expected two rising numbers from 0 to 1",
        ),
        (["MODEL.RETINANET.IOU_LABELS", "[0, 1]"], r"LABELS \[0, 1\]: expected one rising number"),
        (["MODEL.RETINANET.PRIOR_PROB", "1e-300"], "PRIOR_PROB: expected auto, or from 1e-06"),
        (["MODEL.RETINANET.IN_FEATURES", "['p3', 'p3']"], "IN_FEATURES: .* and all different"),
        (
            ["MODEL.RETINANET.IOU_THRESHOLDS", "[0.5, 0.4]"],
            "IOU_THRESHOLDS: expected one or two rising",
        ),
        (["MODEL.FPN.IN_FEATURES", "[['res3']]"], "FPN.IN_FEATURES: expected names of stages"),
        (["MODEL.RESNETS.OUT_FEATURES", "[[1]]"], "OUT_FEATURES: expected names of stages"),
        (
            ["INPUT.MIN_SIZE_TRAIN", "(1,)"],
            "MIN_SIZE_TRAIN: expected sizes in pixels from 8 to 100000",
        ),
        (["DATASETS.TEST", "('a', 'a')"], "DATASETS.TEST: .* and all different"),
        (["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.0"], "CLIP_VALUE: expected from 1e-06"),
        (["OUTPUT_DIR", ""], "OUTPUT_DIR: expected a folder"),
        (["SEED", "99999999999"], r"SEED: expected below 2\^32"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_invalid_values_are_refused(
    tmp_path: Path, root: Path, host: str, overrides: list[str], words: str
) -> None:
    config = write_run(tmp_path, root)
    with pytest.raises(ValueError, match=words):
        load_tool("train_net").main(["--config-file", config, "--host", host, *overrides])
    assert not list(tmp_path.rglob("*.pth"))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param([], id="defaults"),
        pytest.param(["MODEL.ANCHOR_GENERATOR.SIZES", [32, 64.5]], id="one list for all levels"),
        pytest.param(["MODEL.PIXEL_MEAN", [0, 0, 0]], id="no mean"),
        pytest.param(
            [*CROP, "absolute_range", "INPUT.CROP.SIZE", [30, 30]], id="a range of one size"
        ),
        pytest.param([*CROP, "relative", "INPUT.CROP.SIZE", [1.0, 1.0]], id="all of the image"),
        pytest.param(["INPUT.CROP.SIZE", [5, 5]], id="a size that is not read"),
        pytest.param(["DATASETS.TRAIN", ("a.json@b", "digits_train")], id="names"),
        pytest.param(["SEED", -5], id="any seed"),
        pytest.param(
            ["MODEL.RETINANET.IOU_THRESHOLDS", [0.5], "MODEL.RETINANET.IOU_LABELS", [0, 1]],
            id="one threshold",
        ),
        pytest.param(["SOLVER.WARMUP_FACTOR", 0.0], id="a linear warm-up from 0"),
        pytest.param(["MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE", [0, 1e-6]], id="small floats"),
    ],
)
def test_valid_values_are_accepted(host: str, overrides: list[Any]) -> None:
    cfg = importlib.import_module(HOSTS[host]).get_cfg()
    cfg.merge_from_list(overrides)
    check_rules(cfg)


INPUT = "MODEL.RETINA_PLUGIN.INPUT"
DEFAULT_TRANSFORMS = ["RandomCrop", "ResizeShortestEdge", "RandomFlip"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["AUGMENTATION", "string"], "AUGMENTATION: expected none, light, medium or strong, found"),
        (
            ["AUGMENTATION", "light", f"{INPUT}.TRANSFORMS", ["RandomFlip"]],
            r"TRANSFORMS for .*AUGMENTATION light: expected its default .*AUGMENTATION none and "
            r"name all .*found \['RandomFlip'\]",
        ),
        (
            ["MAPPER", "detectron2", f"{INPUT}.AUGMENTATION", "light"],
            "AUGMENTATION for .*MAPPER detectron2: expected none, because Detectron2's mapper",
        ),
        (
            ["MAPPER", "detectron2", f"{INPUT}.RESIZER", "torch"],
            "RESIZER for .*MAPPER detectron2: expected pillow, .* does not use this key, found",
        ),
        (["Mosaic.PROBABILITY", 1.5], "Mosaic.PROBABILITY: expected from 0 to 1, found 1.5"),
        (["Mosaic.SCALE", [1.0, 0.5]], "Mosaic.SCALE: expected two rising numbers"),
        (["AUGMENTATION", "strong", f"{INPUT}.TRANSFORMS", DEFAULT_TRANSFORMS], None),
        (["AUGMENTATION", "none", f"{INPUT}.TRANSFORMS", ["Mosaic"]], None),
    ],
)
def test_augmentation(overrides: list[Any], words: str | None) -> None:
    cfg = importlib.import_module(HOSTS["lightning"]).get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "FocalRetinaNet"
    cfg.merge_from_list([f"{INPUT}.{overrides[0]}", *overrides[1:]])
    if words is None:
        check_rules(cfg)
        return
    with pytest.raises(ConfigError, match=words):
        check_rules(cfg)


DETECTRON2 = pytest.mark.skipif("detectron2" not in HOSTS, reason="keys of Detectron2")
PRECISE_BN = ["TEST.PRECISE_BN.ENABLED", True]


@DETECTRON2
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (PRECISE_BN, "TEST.PRECISE_BN.ENABLED: expected False, because no norm"),
        (["MODEL.MASK_ON", True], "MODEL.MASK_ON: expected False, because it detects only boxes"),
        (
            ["MODEL.KEYPOINT_ON", True],
            "MODEL.KEYPOINT_ON: expected False, because it detects only boxes",
        ),
        (
            ["MODEL.LOAD_PROPOSALS", True],
            "MODEL.LOAD_PROPOSALS: expected False, because it uses no",
        ),
        (["MODEL.RESNETS.RES5_DILATION", 0], "MODEL.RESNETS.RES5_DILATION: expected 1 or 2"),
        (["MODEL.RESNETS.RES5_DILATION", 2], "RES5_DILATION for build_retina.*: expected 1,"),
        (["SOLVER.REFERENCE_WORLD_SIZE", -3], "REFERENCE_WORLD_SIZE: expected from 0"),
        (["MODEL.ANCHOR_GENERATOR.NAME", "X"], "ANCHOR_GENERATOR.NAME: expected Default"),
        ([*PRECISE_BN, "MODEL.FPN.NORM", "BN"], None),
    ],
)
def test_keys_of_detectron2_have_an_effect_or_are_refused(
    tmp_path: Path, root: Path, overrides: list[Any], words: str | None
) -> None:
    cfg = importlib.import_module(HOSTS["detectron2"]).get_cfg()
    cfg.merge_from_file(write_run(tmp_path, root))
    cfg.merge_from_list(overrides)
    if words is None:
        check_rules(cfg)
        return
    with pytest.raises(ConfigError, match=words):
        check_rules(cfg)


def has_numbers(key: str, default: Any) -> bool:
    """Whether a key takes numbers. A default of None or a rule for several types counts as
    numeric."""
    if isinstance(default, (list, tuple)):
        return any(has_numbers("", entry) for entry in default)
    return (
        key in MULTI_TYPE_KEYS
        or default is None
        or (isinstance(default, (int, float)) and not isinstance(default, bool))
    )


def with_number(default: Any, number: float) -> Any:
    """Replace the first number of a default by ``number``, with the same type if possible."""
    if isinstance(default, (list, tuple)):
        return type(default)([with_number(default[0], number), *default[1:]])
    return int(number) if isinstance(default, int) and math.isfinite(number) else number


def put(cfg: Any, key: str, value: Any) -> None:
    """Set a value without the checks that reading a config makes."""
    *parents, name = key.split(".")
    for parent in parents:
        cfg = cfg[parent]
    cfg[name] = value


NUMERIC = {
    key: default
    for key, (default, _, _) in {**DETECTRON2_KEYS, **PLUGIN_KEYS}.items()
    if has_numbers(key, default)
}
# (key, number) pairs that are within the range of the key, with the reason.
IN_RANGE = {("SEED", -1e9): "as in Detectron2, every negative seed draws another one for each run"}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("key", NUMERIC)
def test_every_numeric_key_has_a_range(host: str, key: str) -> None:
    cfg = importlib.import_module(HOSTS[host]).get_cfg()
    for number in (math.nan, math.inf, -math.inf, -1e9, 1e30):
        put(cfg, key, with_number(NUMERIC[key], number))
        if (key, number) in IN_RANGE:
            check_rules(cfg)
        else:
            with pytest.raises(ConfigError, match=rf"^{key}: expected .*, found"):
                check_rules(cfg)


def test_every_rule_belongs_to_a_key() -> None:
    assert not set(DETECTRON2_RULES) & {*DETECTRON2_KEYS, *PLUGIN_KEYS}


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_key_takes_infinite_numbers(host: str, number: float) -> None:
    """Neither do keys that only Detectron2 has."""
    default = dict(leaves(importlib.import_module(HOSTS[host]).get_cfg()))
    for key in (key for key, value in default.items() if has_numbers(key, value)):
        cfg = importlib.import_module(HOSTS[host]).get_cfg()
        with pytest.raises(ConfigError, match=f"command line: {key}: expected"):
            cfg.merge_from_list([key, with_number(default[key], number)])


ASSIGNER = "MODEL.RETINA_PLUGIN.ASSIGNER"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], []),
        (
            ["SOLVER.STEPS", (35, 50, 60)],
            ["SOLVER.STEPS [50, 60] lie after SOLVER.MAX_ITER 40 and have no effect"],
        ),
        (
            ["SOLVER.WARMUP_ITERS", 40],
            [
                "WARMUP_ITERS is 40, and training ends at step 40: the learning rate never "
                "reaches SOLVER.BASE_LR 0.01"
            ],
        ),
        (
            ["SOLVER.STEPS", (20,)],
            [
                "WARMUP_ITERS is 30, and the learning rate falls at step 20: the learning rate "
                "never reaches SOLVER.BASE_LR"
            ],
        ),
        (["SOLVER.STEPS", (50,), "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"], []),
        (
            ["INPUT.MAX_SIZE_TRAIN", 60],
            ["INPUT.MIN_SIZE_TRAIN is (64,), more than INPUT.MAX_SIZE_TRAIN 60"],
        ),
        (
            ["INPUT.MAX_SIZE_TEST", 60],
            ["INPUT.MIN_SIZE_TEST is 64, more than INPUT.MAX_SIZE_TEST 60"],
        ),
        (
            ["DATALOADER.REPEAT_THRESHOLD", 0.3],
            ["REPEAT_THRESHOLD 0.3 has no effect with DATALOADER.SAMPLER_TRAIN TrainingSampler"],
        ),
        (["TEST.AUG.MIN_SIZES", (64,), "TEST.AUG.ENABLED", True], []),
        (
            ["TEST.AUG.MIN_SIZES", (64,), "MODEL.RETINA_PLUGIN.TEST.AUG.MERGE", "wbf"],
            ["so TEST.AUG.MIN_SIZES, MODEL.RETINA_PLUGIN.TEST.AUG.MERGE has no effect: set TEST"],
        ),
        (
            [f"{ASSIGNER}.ATSSAssigner.TOPK", 5],
            [f"ATSSAssigner.TOPK has no effect, because {ASSIGNER}.NAME is MaxIoUAssigner"],
        ),
        ([f"{ASSIGNER}.ATSSAssigner.TOPK", 5, f"{ASSIGNER}.NAME", "ATSSAssigner"], []),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_conflicting_values_are_reported(
    tmp_path: Path,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    host: str,
    overrides: list[Any],
    words: list[str],
) -> None:
    cfg = importlib.import_module(HOSTS[host]).get_cfg()
    cfg.merge_from_file(write_run(tmp_path, root))
    cfg.merge_from_list(overrides)
    check_rules(cfg)
    warn_of_conflicts(cfg)
    warn_of_unused_augmentation(cfg)
    assert len(caplog.messages) == len(words)
    assert all(word in message for word, message in zip(words, caplog.messages, strict=True))


@pytest.mark.parametrize(
    ("name", "read", "arguments"),
    [
        ("visualize_data", lambda tool, args: tool.config_of(args, "lightning"), []),
        ("demo", lambda tool, args: tool.load(args), ["--input", "x", "--opts"]),
        ("plot_losses", lambda tool, args: tool.load(args), []),
    ],
)
def test_visualization_tools_check_values_too(
    root: Path, tmp_path: Path, name: str, read: Callable[[Any, Any], Any], arguments: list[str]
) -> None:
    tool = load_tool(name)
    argv = ["--config-file", write_run(tmp_path, root), *arguments, "DATASETS.TRAIN", "(1, 2)"]
    with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN: expected names"):
        read(tool, tool.parse(argv))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("names", [[0], [None], [""], ["a b"], [".local"], [["a"]]], ids=str)
def test_names_of_modules(host: str, names: list[Any]) -> None:
    """Modules in ``IMPORTS`` are imported before values are checked, because they may register
    parts."""
    cfg = importlib.import_module(HOSTS[host]).get_cfg()
    with pytest.raises(ConfigError, match=r"IMPORTS: expected names of modules such as"):
        cfg.merge_from_list(["MODEL.RETINA_PLUGIN.IMPORTS", names])


def test_a_mean_of_whole_numbers() -> None:
    """A mean of integers is stored as floats; otherwise the image would be rounded to integers."""
    image = torch.full((3, 64, 64), 7)
    batches = [
        compact_model(MODEL__PIXEL_MEAN=mean, MODEL__PIXEL_STD=std).preprocess([image])[0]
        for mean, std in (([1, 2, 3], [4, 4, 4]), ([1.0, 2.0, 3.0], [4.0, 4.0, 4.0]))
    ]
    assert batches[0].dtype == torch.float32
    torch.testing.assert_close(batches[0], batches[1], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_arbitrary_values_give_a_model_or_a_message(tmp_path: Path, root: Path, host: str) -> None:
    """Any text or list as a value gives a model, or an error that tools report in one line."""
    read = importlib.import_module(HOSTS[host]).get_cfg()
    read.merge_from_file(write_run(tmp_path, root))
    read.merge_from_list(["MODEL.RETINANET.NUM_CLASSES", 3])
    keys = {**DETECTRON2_KEYS, **PLUGIN_KEYS}
    keys = [
        key
        for key in keys
        if key.startswith("MODEL.") and not isinstance(keys[key][0], (int, float))
    ]
    for key, value in product(keys, ["x", "[[1]]", "[None]", "()"]):
        cfg = read.clone()
        with contextlib.suppress(*USER_ERRORS):
            cfg.merge_from_list([key, value])
            check_rules(cfg)
            build_model(cfg)
