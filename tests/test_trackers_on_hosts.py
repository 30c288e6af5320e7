"""On both hosts, a tracker gets the values of metrics.json at the same steps, and images."""

from __future__ import annotations

import importlib.util
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from retina_plugin.cli import main
from retina_plugin.engine.metrics_log import read_scalars
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
NODE = "MODEL.RETINA_PLUGIN.TRACKING"
TRACKER = """
import json
from retina_plugin.config import Key
from retina_plugin.engine.trackers import TRACKERS, Tracker

@TRACKERS.register("lines", keys={"FILE": Key("", "the file that gets a line for each call")})
class LineTracker(Tracker):
    def __init__(self, *, file):
        self.file = file
    def add(self, **line):
        with open(self.file, "a") as file:
            print(json.dumps(line), file=file)
    def start(self, run):
        self.add(start=run.tracker_id, rate=run.config["SOLVER.BASE_LR"])
        return "this run"
    def log_scalars(self, values, *, step):
        self.add(step=step, values=values)
    def log_images(self, images, *, step):
        self.add(step=step, images=[len(i.ground_truth) for i in images])
    def finish(self, *, completed):
        self.add(completed=completed)
"""


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_a_tracker_gets_what_metrics_json_has(
    tmp_path: Path, root: Path, write_modules: Callable, host: str
) -> None:
    write_modules(my_tracker=TRACKER)
    command = ["train", "--config-file", write_run(tmp_path, root), "--host", host]
    overrides = {
        "SOLVER.IMS_PER_BATCH": "2",
        "TEST.EVAL_PERIOD": "2",
        "MODEL.RETINA_PLUGIN.IMPORTS": "['my_tracker']",
        f"{NODE}.TRACKERS": "['lines']",
        f"{NODE}.IMAGES": "2",
        f"{NODE}.lines.FILE": str(tmp_path / "lines"),
    }
    for steps, flags in (("3", []), ("4", ["--resume"])):
        words = [w for pair in {**overrides, "SOLVER.MAX_ITER": steps}.items() for w in pair]
        main([*command, *flags, *words])
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert [x["start"] for x in lines if "start" in x] == [None, "this run"]
    assert [x["completed"] for x in lines if "completed" in x] == [True, True]
    assert [(x["step"], x["images"]) for x in lines if "images" in x] == [
        (step, [2, 2]) for step in (2, 3, 4)
    ]
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for line in lines:
        for name, value in line.get("values", {}).items():
            found[name][line["step"]] = value
    expected = read_scalars(str(tmp_path / "out"))
    logged = {n: v for n, v in expected.items() if not n.endswith(("_low", "_high"))}
    assert {"total_loss", "lr", "bbox/AP"} <= {*logged}
    assert {n: [*v] for n, v in found.items()} == {n: [*v] for n, v in logged.items()}
    for name, values in logged.items():
        assert found[name] == pytest.approx(values, rel=1e-6), name
