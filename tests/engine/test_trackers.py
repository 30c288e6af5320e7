"""Trackers without a run: order of steps, errors, images with boxes, W&B and MLflow."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from retina_plugin import get_cfg
from retina_plugin.config import ConfigError
from retina_plugin.engine.read_config import read_config
from retina_plugin.engine.trackers import (
    TRACKERS,
    RunTrackers,
    TrackedImage,
    Tracker,
    track_run,
    wandb,
)
from retina_plugin.engine.trackers.images import validation_images
from retina_plugin.engine.trackers.mlflow import box_table, metric_name
from retina_plugin.engine.trackers.registry import require_trackers
from retina_plugin.engine.trackers.tracker import TrackedRun
from tests.scenes import write_scenes

NODE = "MODEL.RETINA_PLUGIN.TRACKING"
IMAGE = TrackedImage(
    name="a.png",
    pixels=np.zeros((20, 30, 3), dtype=np.uint8),
    ground_truth=[{"bbox": [1, 2, 11, 12], "category_id": 1}],
    detections=[{"bbox": [2, 3, 12, 13], "category_id": 0, "score": 0.75}],
    class_names=("cell", "platelet"),
)


class Recorder(Tracker):
    """Keeps what it gets; fails in the call number ``fails_at``."""

    def __init__(self, fails_at: int = -1) -> None:
        self.calls: list[Any] = []
        self.fails_at = fails_at

    def _record(self, *call: Any) -> None:
        if len(self.calls) == self.fails_at:
            raise ConnectionError("no route to host")
        self.calls.append(call)

    def start(self, run: TrackedRun) -> str:
        self._record("start", run.tracker_id)
        return run.tracker_id or "new"

    def log_scalars(self, values: Mapping[str, float], *, step: int) -> None:
        self._record(step, dict(values))

    def log_images(self, images: Sequence[TrackedImage], *, step: int) -> None:
        self._record(step, len(images))

    def finish(self, *, completed: bool) -> None:
        self._record("finish", completed)


def test_the_step_is_the_number_of_completed_steps() -> None:
    recorder = Recorder()
    trackers = RunTrackers({"recorder": recorder})
    trackers.log_scalars({"a": 1, "b": float("nan"), "c": float("inf")}, iteration=19)
    trackers.log_scalars({"b": float("nan")}, iteration=20)
    trackers.finish(completed=True)
    assert recorder.calls == [(20, {"a": 1.0}), ("finish", True)]
    assert not trackers


def test_a_tracker_that_fails_is_reported_once(capsys: pytest.CaptureFixture) -> None:
    bad, good = Recorder(fails_at=1), Recorder()
    trackers = RunTrackers({"bad": bad, "good": good})
    for iteration in range(3):
        trackers.log_scalars({"a": 1}, iteration=iteration)
    assert [step for step, _ in good.calls] == [1, 2, 3]
    assert len(bad.calls) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        "warning: the tracker bad fails with ConnectionError: no route to host; the run continues "
        "without it"
    )


def config_of(tmp_path: Path, *names: str) -> Any:
    cfg = get_cfg()
    cfg.merge_from_list(["OUTPUT_DIR", str(tmp_path), f"{NODE}.TRACKERS", list(names)])
    return cfg


def test_ids_are_kept_for_resumed_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(TRACKERS, "build_all", lambda cfg, names: [("recorder", recorder)])
    cfg = config_of(tmp_path, "recorder")
    with track_run(cfg, resumed=False, main=True):
        pass
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"recorder": "new"}
    (tmp_path / "trackers.json").write_text('{"recorder": "old"}')
    with pytest.raises(KeyboardInterrupt), track_run(cfg, resumed=True, main=True):
        raise KeyboardInterrupt
    with track_run(cfg, resumed=True, main=False) as trackers:
        assert not trackers
    assert not capsys.readouterr().out
    for text, problem in (("{", "is not JSON"), ('{"recorder": 3}', "is not {tracker: id}")):
        (tmp_path / "trackers.json").write_text(text)
        with track_run(cfg, resumed=True, main=True):
            pass
        assert f"trackers.json {problem}" in capsys.readouterr().out
    assert recorder.calls == [
        *(("start", None), ("finish", True)),
        *(("start", "old"), ("finish", False)),
        *(("start", None), ("finish", True)) * 2,
    ]


def test_a_tracker_that_cannot_start_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = Recorder(), Recorder(fails_at=0)
    monkeypatch.setattr(TRACKERS, "build_all", lambda cfg, names: [("good", good), ("bad", bad)])
    with (
        pytest.raises(ConfigError, match=r"bad cannot start: ConnectionError: no route .*leave it"),
        track_run(config_of(tmp_path), resumed=False, main=True),
    ):
        pass
    assert good.calls == [("start", None), ("finish", False)]
    assert not (tmp_path / "trackers.json").exists()


def test_names_and_missing_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"TRACKERS: no tracker is called 'wandbb'. Nearest: wan"):
        read_config(get_cfg(), None, ["MODEL.DEVICE", "cpu", f"{NODE}.TRACKERS", "['wandbb']"])
    require_trackers(get_cfg())
    for name in ("wandb", "mlflow"):
        monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
        with pytest.raises(ImportError, match=rf"pip install 'retina_plugin\[{name}\]'"):
            require_trackers(config_of(tmp_path, name))


def test_validation_images(tmp_path: Path) -> None:
    name = write_scenes(tmp_path / "data", count=6, seed=0)
    cfg = config_of(tmp_path)
    cfg.DATASETS.TEST = (name,)
    (tmp_path / "inference").mkdir()
    results = [
        {"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.25},
        {"image_id": 1, "category_id": 3, "bbox": [5, 6, 10, 10], "score": 0.5},
    ]
    path = tmp_path / "inference/coco_instances_results.json"
    path.write_text(json.dumps(results))
    images = validation_images(cfg, 3)
    assert [image.name for image in images] == ["001.png", "003.png", "005.png"]
    assert images[0].detections == [
        {"bbox": [5, 6, 15, 16], "category_id": 0, "score": 0.5},
        {"bbox": [1, 2, 4, 6], "category_id": 1, "score": 0.25},
    ]
    assert [len(image.ground_truth) for image in images] == [2, 2, 2]  # without the crowd of 003
    assert images[0].pixels.shape == (64, 80, 3)
    assert images[0].class_names[:2] == ("square", "bar")
    assert validation_images(cfg, 0) == []
    assert len(validation_images(cfg, 100)) == 6
    cfg.DATASETS.TEST = ()
    assert validation_images(cfg, 3) == []


def test_large_images_are_made_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_scenes(tmp_path / "data", count=1, seed=0)
    cfg = config_of(tmp_path)
    cfg.DATASETS.TEST = (name,)
    (tmp_path / "inference").mkdir()
    found = [{"image_id": 1, "category_id": 7, "bbox": [10, 20, 30, 40], "score": 0.5}]
    (tmp_path / "inference/coco_instances_results.json").write_text(json.dumps(found))
    monkeypatch.setattr("retina_plugin.engine.trackers.images.LONGEST_SIDE", 40)
    (image,) = validation_images(cfg, 1)
    assert image.pixels.shape == (32, 40, 3)
    assert image.detections[0]["bbox"] == [5, 10, 20, 30]


def test_boxes_of_wandb() -> None:
    labels = {0: "cell", 1: "platelet"}
    position = {"minX": 1.0, "minY": 2.0, "maxX": 11.0, "maxY": 12.0}
    groups = wandb.box_groups(IMAGE)
    assert groups["ground_truth"] == {
        "box_data": [
            {"position": position, "domain": "pixel", "class_id": 1, "box_caption": "platelet"}
        ],
        "class_labels": labels,
    }
    (box,) = groups["predictions"]["box_data"]
    assert (box["box_caption"], box["scores"]) == ("cell 0.75", {"score": 0.75})


def test_rows_of_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, rows are numbered by the step, also after a start at a later step."""
    monkeypatch.setattr(wandb, "require_library", lambda name: None)
    monkeypatch.delenv("WANDB_MODE", raising=False)

    def rows(mode: str, steps: Sequence[int]) -> list[int | None]:
        found: list[int | None] = []
        tracker = wandb.WandbTracker(mode=mode, project="p")
        tracker.run = SimpleNamespace(log=lambda values, step: found.append(step))
        for step in steps:
            tracker.log_scalars({"a": 1}, step=step)
        return found

    assert rows("offline", (20, 20, 40, 40)) == [20, 20, 40, 40]
    assert rows("offline", (60, 80)) == [60, 80]
    assert rows("offline", (40, 10, 10, 5, 60)) == [40, 41, 41, 42, 60]
    assert rows("online", (40, 10)) == [None, None]  # W&B continues its own numbers


def test_the_table_of_mlflow() -> None:
    table = box_table([IMAGE])
    assert table["kind"] == ["ground truth", "detection"]
    assert table["class"] == ["platelet", "cell"]
    assert table["score"] == [None, 0.75]
    assert (table["left"], table["bottom"]) == ([1, 2], [12, 13])
    assert all(column == [] for column in box_table([]).values())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bbox/AP-a b.c é中", "bbox/AP-a b.c é中"),
        ("bbox/AP-a+b(c)", "bbox/AP-a_2b_b_28_c_29_"),
        ("bbox/AP-😀", "bbox/AP-_1f600_"),
        ("bbox/AP-a//b", "bbox/AP-a/_/b"),
        ("bbox/AP-a/../b/", "bbox/AP-a/_/b/_"),
        ("x" * 240, "x" * 240),
    ],
)
def test_names_of_metrics_in_mlflow(name: str, expected: str) -> None:
    assert metric_name(name, {}) == expected


def test_different_metrics_have_different_names_in_mlflow() -> None:
    """Long names end in a checksum, and names that differ in case are numbered."""
    known: dict[str, str] = {}
    names = ["AP-a:b", "AP-a?b", "AP-A:b", "x" * 300 + "a", "x" * 300 + "b", "AP-a:b"]
    found = [metric_name(name, known) for name in names]
    assert found[:3] == ["AP-a_3a_b", "AP-a_3f_b", "AP-A_3a_b.2"]
    assert found[0] == found[5]
    assert len(set(found)) == 5
    assert {len(name) for name in found[3:5]} == {240}


def log_a_run(tracker: Tracker, folder: Path, tracker_id: str | None = None) -> str:
    found = tracker.start(TrackedRun(str(folder), tracker_id, {"SOLVER.BASE_LR": 0.1, "A": [1]}))
    trackers = RunTrackers({"it": tracker})
    trackers.log_scalars({"bbox/AP": 50.0}, iteration=19)
    trackers.log_scalars({"bbox/AP": 40.0, "lr": 0.1}, iteration=9)  # an earlier step
    tracker.log_images([IMAGE], step=20)
    tracker.finish(completed=True)
    return found


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("wandb")
    monkeypatch.setattr(library, "login", lambda *_, **__: pytest.fail("asks for a log-in"))
    for variable in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    tracker = wandb.WandbTracker(mode="offline", project="p")
    name = log_a_run(tracker, tmp_path)
    library.teardown()  # as at the end of the process: the file is complete
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert file.name == f"run-{name}.wandb"
    for text in (b"bbox/AP", b"SOLVER.BASE_LR", b"step"):
        assert text in content
    boxes = list(tmp_path.glob("wandb/offline-*/files/media/metadata/boxes2D/**/*.json"))
    assert len(boxes) == 2  # ground truth and predictions
    assert all("platelet" in path.read_text() for path in boxes)
    assert list(tmp_path.glob("wandb/*/files/media/images/**/*.png"))


def test_wandb_online_without_a_log_in_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No question is asked, also in a terminal."""
    pytest.importorskip("wandb")
    for variable in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    tracker = wandb.WandbTracker(mode="online", project="p")
    with pytest.raises(Exception, match=r"(?i)api.?key|login"):
        tracker.start(TrackedRun(str(tmp_path), None, {}))
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb.WandbTracker(mode="online", project="p").mode == "offline"


def test_mlflow_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    from retina_plugin.engine.trackers.mlflow import MlflowTracker

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # must not be used
    name = log_a_run(MlflowTracker(uri="mlruns", experiment="p"), tmp_path / "out")
    again = log_a_run(MlflowTracker(uri="mlruns", experiment="p"), tmp_path / "out", name)
    assert again == name
    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    run = client.get_run(name)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "out"
    assert run.data.params == {"SOLVER.BASE_LR": "0.1", "A": "[1]"}
    history = client.get_metric_history(name, "bbox/AP")
    assert {(metric.step, metric.value) for metric in history} == {(20, 50.0), (10, 40.0)}
    assert [f.path for f in client.list_artifacts(name, "boxes")] == ["boxes/step_0000020.json"]
    assert list(tmp_path.glob("mlruns/*/*/artifacts/images/*.png"))
