"""Callbacks and loggers from YAML: they are used in the run, and mistakes are reported before
it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch.testing import assert_close

from retina_plugin.checkpoint import read_checkpoint
from retina_plugin.config import get_cfg
from retina_plugin.engine.host import Request
from retina_plugin.engine.launch import launch
from tests.scenes import write_run

HERE = "tests.lit.test_configured"
KEYS = "MODEL.RETINA_PLUGIN.LIGHTNING"
STOPPING = "lightning.pytorch.callbacks.EarlyStopping"


class Losses(Callback):
    """Records the total loss of every step."""

    seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        self.seen.append(float(outputs["loss"]))


class Ends(Callback):
    """Ends the training after some steps."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.after


class Kept(CSVLogger):
    """Records what a logger gets."""

    given: list[tuple[int, Mapping[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.given.append((step, dict(metrics)))


def config_with(folder: Path, root: Path, **lists: list[dict[str, Any]]) -> str:
    """A run whose config names callbacks or loggers."""
    path = folder / "more.yaml"
    node = {key.upper(): entries for key, entries in lists.items()}
    content = {"MODEL": {"RETINA_PLUGIN": {"LIGHTNING": node}}}
    path.write_text(yaml.safe_dump({"_BASE_": write_run(folder, root), **content}))
    return str(path)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return list(map(json.loads, (folder / "out/metrics.json").read_text().splitlines()))


@pytest.mark.slow
def test_scalars_are_means_over_20_steps(tmp_path: Path, root: Path) -> None:
    Losses.seen, Kept.given = [], []
    config = config_with(
        tmp_path,
        root,
        callbacks=[{"class_path": f"{HERE}.Losses"}],
        loggers=[{"class_path": f"{HERE}.Kept", "init_args": {"save_dir": str(tmp_path)}}],
    )
    launch(config, ["SOLVER.MAX_ITER", "25", "TEST.EVAL_PERIOD", "10"], Request(), host="lightning")
    steps = [line for line in lines_of(tmp_path) if "total_loss" in line]
    assert [line["iteration"] for line in steps] == [19, 24]
    first, rest = Losses.seen[:20], Losses.seen[20:]
    assert len(rest) == 5
    means = [sum(first) / 20, sum(rest) / 5]
    assert_close([line["total_loss"] for line in steps], means, rtol=1e-5, atol=0)
    parts = [line["loss_cls"] + line["loss_box_reg"] for line in steps]
    assert_close(parts, means, rtol=1e-5, atol=0)
    # other loggers get the same scalars at the same steps, including those of evaluations
    assert [step for step, _ in Kept.given] == [line["iteration"] for line in lines_of(tmp_path)]
    assert [step for step, given in Kept.given if "bbox/AP" in given] == [9, 19, 24]
    assert Kept.given[1][1].keys() - {"epoch"} == steps[0].keys() - {"iteration"}


@pytest.mark.slow
def test_early_stop_best_checkpoint_and_csv(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = {"monitor": "bbox/AP", "mode": "max", "dirpath": f"{tmp_path}/best", "filename": "best"}
    config = config_with(
        tmp_path,
        root,
        callbacks=[
            # AP rises, so that the second evaluation ends the training
            {
                "class_path": STOPPING,
                "init_args": {"monitor": "bbox/AP", "mode": "min", "patience": 1},
            },
            {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": best},
        ],
        loggers=[
            {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(tmp_path), "name": "csv"},
            }
        ],
    )
    launch(config, ["TEST.EVAL_PERIOD", "10"], Request(), host="lightning")
    printed = capsys.readouterr().out
    assert "evaluation after step 10 of 40: AP " in printed
    assert "training ended after step 20 of 40, because a callback asked for it" in printed
    assert read_checkpoint(str(tmp_path / "out/model_final.pth"))["iteration"] == 19
    assert (tmp_path / "out/last_checkpoint").read_text() == "model_final.pth"
    # the file of a callback can be loaded, and is not used as the last checkpoint of the run
    assert read_checkpoint(str(tmp_path / "best/best.ckpt"))["iteration"] == 19
    assert not (tmp_path / "best/last_checkpoint").exists()
    with open(tmp_path / "csv/version_0/metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["bbox/AP"]]
    measured = [line["bbox/AP"] for line in lines_of(tmp_path) if "bbox/AP" in line]
    assert_close([float(row["bbox/AP"]) for row in rows], measured, rtol=1e-5, atol=0)
    assert "SOLVER.MAX_ITER: 40" in (tmp_path / "csv/version_0/hparams.yaml").read_text()
    # the checkpoint contains the state of the callback: one more evaluation ends the run again
    launch(config, ["TEST.EVAL_PERIOD", "10"], Request(resume=True), host="lightning")
    printed = capsys.readouterr().out
    assert "continues at step 20 of 40" in printed
    assert "training ended after step 30 of 40" in printed


@pytest.mark.slow
def test_checkpoints_of_a_callback_are_named_by_their_steps(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "kept"
    arguments = {"dirpath": str(folder), "save_top_k": -1, "every_n_train_steps": 5}
    entry = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {**arguments, "filename": "{step}"},
    }
    config = config_with(tmp_path, root, callbacks=[entry])
    launch(config, ["SOLVER.MAX_ITER", "22", "TEST.EVAL_PERIOD", "7"], Request(), host="lightning")
    steps = {p.stem: read_checkpoint(str(p))["global_step"] for p in folder.glob("*.ckpt")}
    assert steps == {f"step={n}": n for n in (5, 10, 15, 20)}


@pytest.mark.slow
def test_a_callback_can_read_the_last_evaluation_in_any_step(tmp_path: Path, root: Path) -> None:
    best = {"monitor": "bbox/AP", "mode": "max", "dirpath": str(tmp_path), "filename": "{step}"}
    entry = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": best}
    config = config_with(tmp_path, root, callbacks=[{**entry}])
    launch(config, ["TEST.EVAL_PERIOD", "15"], Request(), host="lightning")
    measured = [
        (line["iteration"], line["bbox/AP"]) for line in lines_of(tmp_path) if "bbox/AP" in line
    ]
    assert [step for step, _ in measured] == [14, 29, 39]
    assert max(measured, key=lambda pair: pair[1])[0] == 39  # it learns
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["step=40.ckpt"]


@pytest.mark.slow
def test_losses_since_the_last_line_are_written_when_an_evaluation_ends_the_training(
    tmp_path: Path, root: Path
) -> None:
    Losses.seen = []
    arguments = {"monitor": "bbox/AP", "mode": "min", "patience": 1}
    entries = [
        {"class_path": STOPPING, "init_args": arguments},
        {"class_path": f"{HERE}.Losses"},
    ]
    config = config_with(tmp_path, root, callbacks=entries)
    launch(config, ["TEST.EVAL_PERIOD", "12"], Request(), host="lightning")
    lines = [line for line in lines_of(tmp_path) if "total_loss" in line]
    assert [line["iteration"] for line in lines] == [19, 23]
    assert_close(lines[1]["total_loss"], sum(Losses.seen[20:]) / 4, rtol=1e-5, atol=0)


@pytest.mark.slow
def test_pending_losses_are_logged_when_a_callback_ends_the_training(
    tmp_path: Path, root: Path
) -> None:
    entry = {"class_path": f"{HERE}.Ends", "init_args": {"after": 23}}
    launch(config_with(tmp_path, root, callbacks=[entry]), [], Request(), host="lightning")
    steps = [line["iteration"] for line in lines_of(tmp_path) if "total_loss" in line]
    assert steps == [19, 22]
    assert read_checkpoint(str(tmp_path / "out/model_final.pth"))["iteration"] == 22


def test_a_config_with_callbacks_reads_back(tmp_path: Path, root: Path) -> None:
    entry = {"class_path": STOPPING, "init_args": {"monitor": "bbox/AP", "patience": 2}}
    cfg = get_cfg()
    cfg.merge_from_file(config_with(tmp_path, root, callbacks=[entry]))
    (tmp_path / "again.yaml").write_text(cfg.dump())
    again = get_cfg()
    again.merge_from_file(str(tmp_path / "again.yaml"))
    assert again == cfg
    assert [entry] == again.MODEL.RETINA_PLUGIN.LIGHTNING.CALLBACKS
    from_list = get_cfg()
    from_list.merge_from_list([f"{KEYS}.CALLBACKS", str([entry])])
    assert [entry] == from_list.MODEL.RETINA_PLUGIN.LIGHTNING.CALLBACKS


WRONG = {
    "text": (["a"], "expected entries {class_path"),
    "no module": ([{"class_path": "EarlyStopping"}], "expected entries {class_path"),
    "another name": ([{"class_path": STOPPING, "args": {}}], "expected entries {class_path"),
    "no class": ([{"class_path": f"{STOPPING}s"}], "entry 1: class_path .* cannot be imported"),
    "no package": ([{"class_path": "none.A"}], "cannot be imported: ModuleNotFoundError"),
    "another kind": ([{"class_path": "torch.nn.Linear"}], "expected a subclass of .* Callback"),
    "unknown argument": (
        [{"class_path": STOPPING, "init_args": {"monitor": "lr", "mod": "max"}}],
        "does not accept these init_args: .* 'mod'. It takes .monitor: str",
    ),
    "wrong value": (
        [{"class_path": STOPPING, "init_args": {"monitor": "lr", "mode": "up"}}],
        "EarlyStopping fails with MisconfigurationException: .* got up",
    ),
    "nothing measured": (
        [{"class_path": STOPPING, "init_args": {"monitor": "bbox/AP5"}}],
        "entry 1: monitor: 'bbox/AP5' is not logged. Nearest: .*bbox/AP50",
    ),
    "measured too late": (
        [{"class_path": STOPPING, "init_args": {"monitor": "bbox/AP"}}],
        "reads bbox/AP after each evaluation. .* is 0: set it to 1 or more",
    ),
    "measured every 20 steps": (
        [{"class_path": STOPPING, "init_args": {"monitor": "loss_cls"}}],
        "reads loss_cls after each evaluation. .* is 0: set it to 20 or more",
    ),
    "averages": (
        [{"class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging"}],
        "StochasticWeightAveraging cannot be used here: the averaged weights are not in",
    ),
    "another batch": (
        [
            {
                "class_path": "lightning.pytorch.callbacks.GradientAccumulationScheduler",
                "init_args": {"scheduling": {}},
            }
        ],
        "GradientAccumulationScheduler cannot be used here: a step is SOLVER.IMS_PER_BATCH",
    ),
}


@pytest.mark.parametrize(("entries", "words"), WRONG.values(), ids=WRONG)
def test_mistakes(tmp_path: Path, root: Path, entries: list[Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"{KEYS}.CALLBACKS.*{words}"):
        launch(config_with(tmp_path, root, callbacks=entries), [], Request(), host="lightning")
    assert not list(tmp_path.rglob("*.pth"))
