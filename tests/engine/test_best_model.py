"""Which evaluation is the best one, when training stops improving, and what runs do with both."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.checkpoint import read_checkpoint
from retina_plugin.cli.eval import from_run_folder
from retina_plugin.config import get_cfg
from retina_plugin.config.errors import ConfigError
from retina_plugin.engine import best_model
from retina_plugin.engine.best_model import BestModel, check_selection, selection_note
from retina_plugin.engine.host import Request
from retina_plugin.engine.launch import launch
from tests.scenes import write_run, write_scenes

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
NODE = "MODEL.RETINA_PLUGIN"
NAN = math.nan


def get_cfg_of(changes: dict[str, Any]) -> Any:
    cfg = get_cfg()
    pairs = {"TEST.EVAL_PERIOD": 10, "DATASETS.TEST": ("a",), **changes}
    cfg.merge_from_list([item for pair in pairs.items() for item in pair])
    return cfg


def best_of(**changes: Any) -> BestModel:
    return BestModel(get_cfg_of(changes))


def bbox(**values: float) -> dict[str, Any]:
    return {"bbox": values}


def test_thresholds_of_an_evaluation_are_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def thresholds(cfg: Any) -> dict[str, Any]:
        calls.append({"score_thresholds": {"a": 0.1 * len(calls)}})
        return calls[-1]

    monkeypatch.setattr(best_model, "threshold_metadata", thresholds)
    model = best_of(OUTPUT_DIR=str(tmp_path))
    model.update(bbox(AP=1.0), step=10)
    model.write({}, {})
    assert model.last_thresholds(10) == calls[0]
    model.update(bbox(AP=0.5), step=20)  # not the best, so nothing is written
    assert model.last_thresholds(20) == calls[1]
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("metric", "values", "best", "waited"),
    [
        ("bbox/AP", [1.0, 3.0, 2.0, 2.5], 2, 2),
        ("bbox/AP", [1.0, 3.0, 3.0], 2, 1),  # the first of equal ones
        ("bbox/AP", [NAN, 0.0, NAN, 0.0], 2, 0),  # nothing is found yet
        ("bbox/AP", [NAN, 0.0, 0.1, NAN, 0.0], 3, 2),
        ("bbox/AP", [NAN, NAN], 0, 0),
        ("validation/loss_cls", [3.0, 1.0, 2.0], 2, 1),  # of losses, the lowest
    ],
)
def test_the_best_evaluation(metric: str, values: list[float], best: int, waited: int) -> None:
    model = best_of(**{f"{NODE}.SOLVER.BEST_METRIC": metric})
    group, name = metric.split("/")
    news = [model.update({group: {name: value}}, step=step) for step, value in enumerate(values, 1)]
    assert model.step == best
    assert model.waited == waited
    assert [step for step, new in enumerate(news, 1) if new][-1:] == ([best] if best else [])


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("validation/total_loss", True),
        ("b/validation/loss_box_reg", True),  # of one of several sets
        ("validation/loss_of_a_plugin", True),
        ("bbox/AP-floss", False),  # the AP of a class
        ("b/bbox/AP-hair loss", False),
        ("bbox/AP-a/validation/loss_x", False),
        ("bbox/AP", False),
    ],
)
def test_only_losses_are_minimised(metric: str, lower: bool) -> None:
    sets = {f"{NODE}.DATASETS.VALIDATION": ("a", "b")}
    assert best_of(**sets, **{f"{NODE}.SOLVER.BEST_METRIC": metric}).lower_is_better == lower


def test_several_validation_sets() -> None:
    """A metric without the name of a set is the mean over the sets; a set without ground truth
    does not count."""
    sets = {f"{NODE}.DATASETS.VALIDATION": ("a", "b", "c")}
    results = {"a": bbox(AP=10.0), "b": bbox(AP=30.0), "c": {}}
    mean, one = best_of(**sets), best_of(**sets, **{f"{NODE}.SOLVER.BEST_METRIC": "b/bbox/AP"})
    mean.update(results, step=1)
    one.update(results, step=1)
    assert (mean.value, one.value) == (20.0, 30.0)


def test_evaluations_without_ground_truth_change_nothing() -> None:
    model = best_of(**{f"{NODE}.SOLVER.PATIENCE": 1})
    assert not model.update({}, step=10)
    assert (model.step, model.waited, model.is_exhausted) == (0, 0, False)


def test_patience() -> None:
    model = best_of(**{f"{NODE}.SOLVER.PATIENCE": 2})
    exhausted = []
    for step, ap in enumerate([1.0, 0.5, 2.0, 1.0, 2.0], start=1):
        model.update(bbox(AP=ap), step=step)
        exhausted.append(model.is_exhausted)
    assert exhausted == [False, False, False, False, True]
    again = best_of(**{f"{NODE}.SOLVER.PATIENCE": 2})
    again.load_state_dict(model.state_dict())
    assert again.is_exhausted
    longer = best_of(**{f"{NODE}.SOLVER.PATIENCE": 3})
    longer.load_state_dict(model.state_dict())
    assert not longer.is_exhausted


@pytest.mark.parametrize(
    "changes",
    [{f"{NODE}.SOLVER.BEST_METRIC": "bbox/AP50"}, {f"{NODE}.DATASETS.VALIDATION": ("b",)}],
    ids=["metric", "sets"],
)
def test_values_that_cannot_be_compared_are_forgotten(changes: dict[str, Any]) -> None:
    before, after = best_of(), best_of(**changes)
    before.update(bbox(AP=90.0), step=10)
    after.load_state_dict(before.state_dict())
    assert after.value is None
    assert after.misses_evaluation(10, 40)


def evaluate(model: BestModel, ap: float, *, step: int) -> None:
    if model.update(bbox(AP=ap), step=step):
        model.write({"weight": torch.tensor([float(step)])}, {})


def test_a_best_model_that_is_newer_than_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is killed after the evaluation of step 20, whose model_best.pth is newer than its last
    checkpoint. The resumed run is worse at step 20."""
    monkeypatch.setattr(best_model, "threshold_metadata", lambda cfg: {})
    sets = {f"{NODE}.DATASETS.VALIDATION": ("b",), "DATASETS.TEST": ()}
    options = {"OUTPUT_DIR": str(tmp_path), **sets}
    killed, resumed = best_of(**options), best_of(**options)
    evaluate(killed, 50.0, step=10)
    checkpoint = killed.state_dict()
    evaluate(killed, 60.0, step=20)
    capsys.readouterr()
    resumed.load_state_dict(checkpoint)
    assert (resumed.value, resumed.step, resumed.evaluated_at) == (60.0, 20, 10)
    assert "best bbox/AP 60, after step 20, which was after this" in capsys.readouterr().out
    evaluate(resumed, 55.0, step=20)
    assert read_checkpoint(str(tmp_path / "model_best.pth"))["best"]["value"] == 60.0
    final = resumed.final_evaluation(get_cfg_of(options), 20)
    assert "best bbox/AP 60, after step 20" in final.note
    assert not final.is_done  # the last evaluation was not that of model_best.pth
    evaluate(resumed, 65.0, step=30)
    assert read_checkpoint(str(tmp_path / "model_best.pth"))["iteration"] == 29


def test_without_the_file_the_next_evaluation_is_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(best_model, "threshold_metadata", lambda cfg: {})
    before, after = (best_of(OUTPUT_DIR=str(tmp_path)) for _ in range(2))
    evaluate(before, 50.0, step=10)
    (tmp_path / "model_best.pth").unlink()
    after.load_state_dict(before.state_dict())
    evaluate(after, 40.0, step=20)
    assert (after.value, after.step) == (40.0, 20)


@pytest.mark.parametrize(
    ("step", "evaluated_at", "missing"),
    [(0, -1, False), (10, -1, True), (10, 10, False), (15, 10, False), (40, 30, True)],
)
def test_a_missing_evaluation(step: int, evaluated_at: int, missing: bool) -> None:
    """Evaluations every 10 of 40 steps and after the last one."""
    model = best_of()
    model.evaluated_at = evaluated_at
    assert model.misses_evaluation(step, 40) == missing


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {f"{NODE}.SOLVER.BEST_METRIC": "bbox/AP5"},
            "'bbox/AP5' is not.*Nearest: bbox/AP",
        ),
        ({f"{NODE}.SOLVER.BEST_METRIC": "validation/loss_cl"}, "is not measured"),
        ({f"{NODE}.SOLVER.PATIENCE": 3, "TEST.EVAL_PERIOD": 0}, "TEST.EVAL_PERIOD is 0"),
        ({f"{NODE}.SOLVER.PATIENCE": 3, "DATASETS.TEST": ()}, "DATASETS.TEST are empty"),
    ],
)
def test_refused(changes: dict[str, Any], words: str) -> None:
    cfg = get_cfg_of(changes)
    with pytest.raises(ConfigError, match=words):
        check_selection(cfg, ["square", "bar"])


@pytest.mark.parametrize(
    "metric", ["bbox/AP-bar", "bbox/AP", "a/bbox/APs", "validation/total_loss"]
)
def test_accepted_metrics(metric: str) -> None:
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "FocalRetinaNet"
    cfg.DATASETS.TEST = ("a", "b")
    cfg.MODEL.RETINA_PLUGIN.SOLVER.BEST_METRIC = metric
    check_selection(cfg, ["square", "bar"])


def test_a_best_model_chosen_on_the_test_images_is_reported() -> None:
    cfg = get_cfg()
    cfg.DATASETS.TEST, cfg.TEST.EVAL_PERIOD = ("a",), 10
    assert "chosen on the images that are tested" in selection_note(cfg)
    cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION = ("b",)
    assert not selection_note(cfg)


def run(config: str, host: str, *overrides: str, resume: bool = False) -> None:
    launch(config, overrides, Request(resume=resume), host=host)


def metrics(folder: Path) -> list[dict[str, float]]:
    return list(map(json.loads, (folder / "out/metrics.json").read_text().splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_validation_and_test_sets(
    tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Evaluations during training use VALIDATION; TEST is evaluated once, with the best model."""
    config = write_run(tmp_path, root)
    validation = write_scenes(tmp_path / "validation", count=4, seed=5)
    sets = [f"{NODE}.DATASETS.VALIDATION", f"['{validation}']"]
    run(config, host, *sets, "TEST.EVAL_PERIOD", "2", "SOLVER.MAX_ITER", "4")
    out, printed = tmp_path / "out", capsys.readouterr().out
    lines = metrics(tmp_path)
    assert [line["iteration"] for line in lines if "bbox/AP" in line] == [1, 3]
    final = [line for line in lines if "test/bbox/AP" in line]
    assert [line["iteration"] for line in final] == [3]
    results = json.loads((out / "inference/coco_instances_results.json").read_text())
    assert {found["image_id"] for found in results} <= set(range(1, 7))  # of the test set
    assert len(list((out / "inference").rglob("coco_instances_results.json"))) == 2
    best = read_checkpoint(str(out / "model_best.pth"))
    values = {line["iteration"]: line["bbox/AP"] for line in lines if "bbox/AP" in line}
    assert_close(best["best"]["value"], values[best["iteration"]], rtol=1e-5, atol=0)
    assert best["metadata"]["class_names"] == ["square", "bar", "nothing"]
    assert f"weights of the results below: {out}/model_best.pth, best bbox/AP " in printed
    assert "chosen on the images that are tested" not in printed
    assert from_run_folder(str(out), None)[1][-1] == str(out / "model_best.pth")


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_early_stop_and_resume(
    tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With learning rate 1e-12, no evaluation is better than the first: the run ends with
    model_final.pth, and a resumed run is the same."""
    steps = ["SOLVER.MAX_ITER", "8", "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.BASE_LR", "1e-12"]
    keep = [f"{NODE}.SOLVER.KEEP", "2"]
    keys = [*steps, *keep, "TEST.EVAL_PERIOD", "2", f"{NODE}.SOLVER.PATIENCE", "2"]
    config = write_run(tmp_path, root)
    run(config, host, *keys)
    out, printed = tmp_path / "out", capsys.readouterr().out
    assert "training ends after step 6 of 8: no new best bbox/AP in 2 evaluations" in printed
    assert "chosen on the images that are tested" in printed
    assert printed.count("model_best.pth: best bbox/AP") == 1
    final = read_checkpoint(str(out / "model_final.pth"))
    assert final["iteration"] == 5
    numbered = sorted(path.name for path in out.glob("model_0*.pth"))
    assert numbered == ["model_0000003.pth", "model_0000005.pth"]
    # killed after the checkpoint of step 4, before its evaluation
    for name in ("model_final.pth", "model_0000005.pth"):
        (out / name).unlink()
    (out / "last_checkpoint").write_text("model_0000003.pth")
    run(config, host, *keys, resume=True)
    assert "training ends after step 6 of 8" in capsys.readouterr().out
    again = read_checkpoint(str(out / "model_final.pth"))
    assert again["iteration"] == 5
    assert all(torch.equal(again["model"][name], value) for name, value in final["model"].items())
    # nothing is left to train; with more patience, the run continues
    run(config, host, *keys, resume=True)
    assert "training ends after step 6 of 8" in capsys.readouterr().out
    assert read_checkpoint(str(out / "model_final.pth"))["iteration"] == 5
    run(config, host, *keys[:-1], "9", resume=True)
    assert read_checkpoint(str(out / "model_final.pth"))["iteration"] == 7
