"""The last lines of a run: the rules as tables, and complete runs on both hosts."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retina_plugin import build_model, load_weights
from retina_plugin.checkpoint import metadata_of, read_checkpoint
from retina_plugin.config import get_cfg
from retina_plugin.engine.host import Request
from retina_plugin.engine.launch import launch
from retina_plugin.engine.read_config import read_config
from retina_plugin.engine.run_thresholds import describe_thresholds
from retina_plugin.evaluation.bootstrap import Interval, Resamples, resample
from retina_plugin.evaluation.matches import match_detections
from retina_plugin.report.ending import Evaluated, describe_reached
from retina_plugin.report.next_steps import Findings, next_steps
from retina_plugin.report.trend import Trend, trend_of
from retina_plugin.report.worst_class import WorstClass, find_worst_class
from tests.random_detections import box, dataset_of, result
from tests.scenes import write_run, write_scenes

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
HERE = [10.0, 10.0, 20.0, 20.0]


@pytest.mark.parametrize(
    ("values", "noise", "words"),
    [
        # steps 10 to 60; the last third are 50 and 60
        ([10, 20, 30, 35, 40, 39], 4.0, "AP was still rising: .* 40.0 .step 50., before 35.0"),
        ([10, 20, 30, 35, 40, 39], 6.0, "may still be rising, which is uncertain: .*6.0 .half"),
        ([10, 20, 30, 35, 40, 39], None, "which is uncertain: .* there is no interval"),
        ([10, 20, 45, 35, 40, 39], 4.0, "no longer rising: .* 40.0 .step 50., before 45.0"),
        ([10, 20, 40, 35, 40, 39], 0.0, "no longer rising"),
        # fewer than five evaluations
        ([10, 26], 0.5, "may still be rising, but 2 evaluations are too few: .* 26.0 .step 20"),
        ([10, 20, 30, 40], 0.5, "may still be rising, but 4 evaluations are too few"),
        ([10, 20, 30, 35, 40], 2.0, "AP was still rising: .* 40.0 .step 50., before 30.0"),
        ([30, 26], 0.5, "no longer rising"),
    ],
)
def test_trend(values: list[float], noise: float | None, words: str) -> None:
    series = {10 * number: float(value) for number, value in enumerate(values, start=1)}
    found = trend_of(series, noise)
    assert found is not None
    assert re.search(words, str(found)), str(found)


def test_no_trend_without_an_earlier_evaluation() -> None:
    assert trend_of({40: 50.0}, 1.0) is None
    assert trend_of({}, 1.0) is None


def test_worst_class() -> None:
    """Bird has no box. Dog is the lowest in 3 of 4 resamples that have it."""
    dataset = dataset_of([[box(0, HERE), box(1, HERE), box(1, HERE, crowd=True)]])
    nan = math.nan
    of_classes = np.array([[5, 1, nan], [5, 1, nan], [5, 2, nan], [1, 2, nan], [1, nan, nan]])
    resamples = Resamples(np.zeros(5), np.zeros(5), of_classes, images=3)
    metrics = {"AP": 3.0, "AP-cat": 5.0, "AP-dog": 1.0, "AP-bird": nan}
    counts = {"cat": 30, "dog": 9, "bird": 20}
    found = find_worst_class(metrics, resamples, dataset, training_counts=counts)
    assert found == WorstClass("dog", 1.0, 75.0, 9, 1, 20)
    assert found.is_rare
    assert not found.is_certain
    assert str(found) == (
        "worst class, which is uncertain: dog with AP 1.0 (the lowest in 75% of the draws); it has "
        "9 boxes in training and 1 in this evaluation"
    )
    alone = find_worst_class(metrics, None, dataset, training_counts=counts)
    assert "worst class, which is uncertain: dog with AP 1.0 (computed on one image" in str(alone)
    one = {"AP": 5.0, "AP-cat": 5.0, "AP-dog": nan, "AP-bird": nan}
    assert find_worst_class(one, resamples, dataset, training_counts=counts) is None


METRICS = {"AP": 50.0, "AP50": 80.0, "AP75": 55.0, "APs": 48.0, "APm": 50.0, "APl": 52.0}
RISING, FLAT = Trend((60, 50.0), (40, 40.0), 2.0, 6), Trend((60, 50.0), (40, 50.0), 2.0, 6)
RARE = WorstClass("dog", 10.0, 100.0, 9, 30, 20)
COMMON = WorstClass("dog", 10.0, 96.0, 15, 30, 20)

WITH_BUDGET = get_cfg()
WITH_BUDGET.MODEL.RETINA_PLUGIN.SOLVER.MINUTES = 2.5

# changes of the findings -> what the lines are about, in order
NEXT = {
    "nothing else": ({}, ["more images to evaluate on than these 50.*less than 2.0 AP"]),
    "AP rises": (
        {"trend": RISING},
        ["longer, SOLVER.MAX_ITER 80000 instead of 40000: .*by 10.0", "more images to eval"],
    ),
    "AP rises in a run with a time budget": (
        {"trend": RISING, "cfg": WITH_BUDGET},
        ["longer, --minutes 5 instead of 2.5: .*by 10.0", "more images to eval"],
    ),
    "AP may rise": (
        {"trend": Trend((60, 51.0), (40, 50.0), 2.0, 6)},
        ["see whether.*by 1.0", "more"],
    ),
    "AP was evaluated twice": (
        {"trend": Trend((60, 50.0), (30, 34.0), 2.0, 2)},
        [r"see whether AP still rises \(2 evaluations\)", "more"],
    ),
    "the validation loss rises": (
        {"losses": {20: 0.5, 40: 0.4, 60: 0.5}},
        [
            r"SOLVER.MAX_ITER 26667: .* from 0.400 \(step 40\) to 0.500 \(step 60\)",
            "more images to",
        ],
    ),
    "the validation loss rises by less than 5 percent": (
        {"losses": {40: 0.4, 60: 0.41}},
        ["more images to"],
    ),
    "the validation loss rises, but AP too": (
        {"losses": {40: 0.4, 60: 0.5}, "trend": RISING},
        ["longer", "more images to"],
    ),
    "small objects are worst": (
        {"metrics": {**METRICS, "APs": 20.0}},
        [r"INPUT.MIN_SIZE_TEST 1200 .*TRAIN \"\(1200,\)\": .*32 x 32 .* 20.0, .* 52.0", "more"],
    ),
    "small objects are worst, within the noise": (
        {"metrics": {**METRICS, "APs": 48.5}},
        ["more images to"],
    ),
    "a rare class is worst": (
        {"worst": RARE},
        ["more images of dog: 9 boxes in training, the median class has 20", "more images to"],
    ),
    "a common class is worst": (
        {"worst": COMMON},
        [
            r"check the boxes of dog, retina data check my/train: .* 10.0, .*15 boxes in training",
            "more",
        ],
    ),
    "the worst class is uncertain": (
        {"worst": RARE._replace(share=90.0)},
        ["more images to"],
    ),
    "boxes are not exact": (
        {"metrics": {**METRICS, "AP75": 30.0}},
        ["drawn tightly, retina data check my/train: AP75 is 30.0.* AP50 80.0", "more"],
    ),
    "two at most": (
        {"trend": RISING, "worst": RARE, "metrics": {**METRICS, "AP75": 30.0}},
        ["lon", "of dog"],
    ),
    "one image": ({"interval": None}, ["50 are too few"]),
    "nothing is found yet": (
        {"metrics": dict.fromkeys(METRICS, 0.0), "interval": Interval(0.0, 0.0), "trend": RISING},
        ["longer, SOLVER.MAX_ITER 80000 instead of 40000: AP is 0.0, so hardly any"],
    ),
    "everything is found": (
        {"metrics": dict.fromkeys(METRICS, 100.0), "interval": Interval(100.0, 100.0)},
        ["harder images to evaluate on: AP is 100.0"],
    ),
    "the interval is narrow": (
        {"interval": Interval(49.99, 50.01), "metrics": {**METRICS, "APl": 48.0}},
        [],
    ),
    "nothing was detected": (
        {"metrics": dict.fromkeys(METRICS, math.nan), "interval": None, "trend": None},
        ["MAX_ITER 80000 instead of 40000: no score reached MODEL.RETINANET.SCORE_THRESH"],
    ),
}


@pytest.mark.parametrize("case", NEXT)
def test_next_steps(case: str) -> None:
    changes, expected = NEXT[case]
    boxes = [box(0, HERE), box(1, [0, 0, 99, 99])]
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("my/train",)
    usual = Findings(
        cfg, dataset_of([boxes] * 50), METRICS, Interval(48, 52), FLAT, None, losses={}
    )
    lines = next_steps(usual._replace(**changes))
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected, strict=True):
        assert line.startswith("next: ")
        assert re.search(words, line), line


def test_next_steps_of_a_run_that_patience_ended() -> None:
    """It took 500 of 2000 steps, and its validation loss was lowest after 300."""
    cfg = get_cfg()
    cfg.SOLVER.MAX_ITER, cfg.MODEL.RETINA_PLUGIN.SOLVER.PATIENCE = 2000, 2
    losses = {100: 2.0, 300: 1.0, 500: 1.5}
    data = dataset_of([[box(0, HERE)]] * 50)
    found = Findings(cfg, data, METRICS, Interval(48, 52), FLAT, None, losses)
    assert "more training images, or SOLVER.MAX_ITER 300:" in next_steps(found)[0]
    nothing = dict.fromkeys(METRICS, math.nan)
    (line,) = next_steps(found._replace(metrics=nothing, losses={500: 1.0}, trend=None))
    assert "--resume with MODEL.RETINA_PLUGIN.SOLVER.PATIENCE 4 instead of 2" in line


def test_the_command_of_a_check_is_quoted() -> None:
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("my photos/a.json@my photos",)
    data = dataset_of([[box(0, HERE)]] * 50)
    found = Findings(cfg, data, METRICS, Interval(48, 52), FLAT, COMMON, losses={})
    assert "retina data check 'my photos/a.json@my photos':" in next_steps(found)[0]


def test_reached() -> None:
    dataset = dataset_of([[box(0, HERE)]] * 4)
    results = [result(image, 0, HERE, 0.9) for image in range(1, 5)]
    resamples = resample(match_detections(dataset, results, max_detections=100))
    metrics = {"AP": 100.0, "AP50": 100.0}
    assert describe_reached([Evaluated(dataset, metrics, resamples)], "out/a.pth", 7) == (
        "reached: AP 100.0 (100.0 to 100.0) and AP50 100.0 (100.0 to 100.0) on 4 images of val, by "
        "out/a.pth after step 7 (in brackets 95% of 200 random draws of the images)"
    )
    one = Evaluated(dataset_of([[box(0, HERE)]]), metrics, None)
    assert describe_reached([one], "out/a.pth", 7) == (
        "reached: AP 100.0 and AP50 100.0 on 1 image of val, by out/a.pth after step 7 (no "
        "interval, which needs two images and a detection)"
    )


def test_thresholds_in_a_line() -> None:
    source = {"sets": ["val"], "tested": True, "missing": {"bird": "no box"}}
    metadata = {"score_thresholds": {"cat": 0.5, "dog": 0.25}, "score_thresholds_from": source}
    assert describe_thresholds(metadata, reported=["val"]) == (
        "score thresholds in this file, with the highest F1 at IoU 0.5 on these images, chosen on "
        "the images that are tested: cat 0.50, dog 0.25, bird none (no box)"
    )
    for score, words in ((0.0, "of all scores"), (0.05, "above MODEL.RETINANET.SC.* 0.05 only")):
        known = {**metadata, "score_thresholds_from": {**source, "score_filter": score}}
        line = describe_thresholds(known, reported=["val"])
        assert re.search(f"tested, among detections {words}: cat 0.50", line)
    many = {
        "score_thresholds": {str(n): n / 10 for n in range(1, 9)},
        "score_thresholds_from": {"sets": ["val"], "tested": False, "missing": {}},
    }
    assert describe_thresholds(many, reported=["test"]) == (
        "score thresholds in this file, with the highest F1 at IoU 0.5 on val: from 0.10 (1) to "
        "0.80 (8)"
    )
    assert describe_thresholds({"class_names": ["cat"]}, reported=["val"]) == ""


# --------------------------------------------------------------------------------------- both hosts
def train(folder: Path, root: Path, host: str, *overrides: str) -> Path:
    launch(write_run(folder, root), ["TEST.EVAL_PERIOD", "10", *overrides], Request(), host=host)
    return folder / "out"


def last_lines(printed: str) -> list[str]:
    return printed[printed.index("reached: ") :].strip().splitlines()


def log(out: Path) -> list[dict[str, Any]]:
    return list(map(json.loads, (out / "metrics.json").read_text().splitlines()))


@pytest.mark.parametrize("host", HOSTS)
def test_without_validation_sets(
    tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = train(tmp_path, root, host)
    lines = last_lines(capsys.readouterr().out)
    assert 5 <= len(lines) <= 6
    assert f"by {out}/model_final.pth after step 40" in lines[0]
    assert (
        "these images, chosen on the images that are tested, among detections of all scores: sq"
        in lines[1]
    )
    assert "nothing none (no box)" in lines[1]
    assert "boxes in training" in lines[2]
    assert lines[3].startswith("AP may still be rising, but 4 evaluations are too few: ")
    assert lines[4].startswith("next: train longer, SOLVER.MAX_ITER 80")
    line = log(out)[-1]
    assert 0 <= line["bbox/AP_low"] < line["bbox/AP"] < line["bbox/AP_high"] <= 100
    assert line["bbox/AP50_low"] < line["bbox/AP50_high"]
    cfg = read_config(get_cfg(), str(out / "config.yaml"), [])
    metadata = load_weights(build_model(cfg), str(out / "model_final.pth"))
    assert set(metadata["score_thresholds"]) == {"square", "bar"}
    assert all(0.01 < score < 1 for score in metadata["score_thresholds"].values())
    assert metadata["score_thresholds_from"]["missing"] == {"nothing": "no box"}
    assert metadata["score_thresholds_from"]["tested"]
    final = torch.load(out / "model_final.pth", weights_only=True)
    assert {"model", "metadata", "iteration"} < final.keys()  # also what --resume needs
    assert not list(out.glob("*.part*"))


@pytest.mark.parametrize("host", HOSTS)
def test_thresholds_below_the_score_filter(tmp_path: Path, root: Path, host: str) -> None:
    """After two steps all scores are low: AP has no detections, but there are thresholds, equal to
    those of an evaluation without a filter."""
    steps = ["SOLVER.MAX_ITER", "2", "TEST.EVAL_PERIOD", "0"]
    filters = {"filtered": 0.9, "open": 0.0}
    found, lines = {}, {}
    for name, score in filters.items():
        out = train(
            tmp_path / name, root, host, *steps, "MODEL.RETINANET.SCORE_THRESH_TEST", str(score)
        )
        found[name] = metadata_of(read_checkpoint(str(out / "model_final.pth")))
        lines[name] = json.loads((out / "inference/unfiltered_results.json").read_text())
    assert (
        json.loads((tmp_path / "filtered/out/inference/coco_instances_results.json").read_text())
        == []
    )
    assert found["filtered"]["score_thresholds"] == found["open"]["score_thresholds"]
    assert all(0 < score < 0.9 for score in found["filtered"]["score_thresholds"].values())
    assert set(found["filtered"]["score_thresholds"]) == {"square", "bar"}
    assert found["filtered"]["score_thresholds_from"]["score_filter"] == 0
    assert lines["filtered"] == lines["open"]


@pytest.mark.parametrize("host", HOSTS)
def test_with_validation_and_test_sets(
    tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Thresholds of the best and of the last model, each by its detections in the validation set;
    the interval on the test set."""
    validation = write_scenes(tmp_path / "validation", count=4, seed=5)
    out = train(
        tmp_path, root, host, "MODEL.RETINA_PLUGIN.DATASETS.VALIDATION", f"['{validation}']"
    )
    lines = last_lines(capsys.readouterr().out)
    best, final = (read_checkpoint(str(out / f"model_{name}.pth")) for name in ("best", "final"))
    assert best["iteration"] < final["iteration"]  # of this seed
    step = best["iteration"] + 1
    assert f"/test/images, by {out}/model_best.pth after step {step}" in lines[0]
    assert f"on {validation}, among detections of all scores: square" in lines[1]
    thresholds = [metadata_of(file)["score_thresholds"] for file in (best, final)]
    assert thresholds[0] != thresholds[1]
    assert all(set(found) == {"square", "bar"} for found in thresholds)
    assert not metadata_of(final)["score_thresholds_from"]["tested"]
    assert {"test/bbox/AP_low", "test/bbox/AP"} <= log(out)[-1].keys()
    # an evaluation prints no last lines and changes no checkpoint
    before = (out / "model_best.pth").read_bytes()
    launch(
        str(out / "config.yaml"),
        ["MODEL.WEIGHTS", str(out / "model_best.pth")],
        Request(eval_only=True),
        host=host,
    )
    assert "reached" not in capsys.readouterr().out
    assert (out / "model_best.pth").read_bytes() == before


@pytest.mark.parametrize("host", HOSTS)
def test_with_validation_sets_only(
    tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best model is evaluated again, which is not logged again; its line has the interval."""
    validation = write_scenes(tmp_path / "validation", count=4, seed=5)
    sets = ["MODEL.RETINA_PLUGIN.DATASETS.VALIDATION", f"['{validation}']", "DATASETS.TEST", "()"]
    out = train(tmp_path, root, host, *sets)
    lines = last_lines(capsys.readouterr().out)
    best = read_checkpoint(str(out / "model_best.pth"))
    assert f"by {out}/model_best.pth after step {best['iteration'] + 1} " in lines[0]
    assert "on these images, among detections of all scores: square" in lines[1]
    evaluations = [line for line in log(out) if "bbox/AP" in line]
    assert [line["iteration"] for line in evaluations] == [9, 19, 29, 39]
    with_interval = [line["iteration"] for line in evaluations if "bbox/AP_low" in line]
    assert with_interval == [best["iteration"]]


@pytest.mark.parametrize("host", HOSTS)
def test_one_image_and_no_boxes(
    tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write_scenes(tmp_path / "one", count=1, seed=5)
    short = ["SOLVER.MAX_ITER", "2", "DATASETS.TEST", f"['{one}']"]
    out = train(tmp_path, root, host, *short, "MODEL.RETINANET.SCORE_THRESH_TEST", "0.0")
    lines = last_lines(capsys.readouterr().out)
    assert "no interval" in lines[0]
    assert "whether AP was still rising is not known: 1 evaluation in training" in "\n".join(lines)
    assert not any(key.endswith("_low") for line in log(out) for key in line)
    path = tmp_path / "one/annotations.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    other = ["OUTPUT_DIR", str(tmp_path / "out2")]
    launch(str(tmp_path / "config.yaml"), [*short, *other], Request(), host=host)
    assert "reached" not in capsys.readouterr().out
    thresholds = metadata_of(read_checkpoint(str(tmp_path / "out2/model_final.pth")))
    assert thresholds["score_thresholds"] == {}
