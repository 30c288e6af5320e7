"""Runs in a folder that holds a run, and which settings a resumed run may change, on either
host."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.checkpoint import read_checkpoint
from retina_plugin.config import DETECTRON2_KEYS, PLUGIN_KEYS, get_cfg
from retina_plugin.config.errors import ConfigError
from retina_plugin.engine import folder_lock
from retina_plugin.engine.folder_lock import FolderLock, require_unlocked
from retina_plugin.engine.resume import CHANGEABLE_KEYS, checkpoint_to_resume
from retina_plugin.engine.run_folder import describe_run
from retina_plugin.lit.run import HOST
from retina_plugin.modeling.retinanet import RetinaNet
from tests.load_tools import load_tool
from tests.scenes import write_run

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
SHORT = [
    "SOLVER.MAX_ITER",
    "4",
    "SOLVER.CHECKPOINT_PERIOD",
    "2",
    "SOLVER.WARMUP_ITERS",
    "1",
    "DATASETS.TEST",
    "()",
]
CHOICES = "--overwrite starts again, another OUTPUT_DIR keeps both"


@pytest.fixture(scope="module", autouse=True)
def process_wide_settings() -> Iterator[None]:
    """Restore the settings that a run changes in its process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def train_net() -> Any:
    """Load ``tools/train_net.py`` as a module."""
    return load_tool("train_net")


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, train_net: Any, root: Path
) -> dict[str, Path]:
    """Folder of each host with data, ``config.yaml`` and ``out``, a run of four steps with
    checkpoints at steps two and four."""
    folders = {host: tmp_path_factory.mktemp(host) for host in HOSTS}
    for host, folder in folders.items():
        train_net.main(["--config-file", write_run(folder, root), "--host", host, *SHORT])
    return folders


@pytest.fixture
def stopped(trained: dict[str, Path], tmp_path: Path) -> dict[str, list[str]]:
    """Command line of each host, with a copy of its run as if it had been killed after the
    checkpoint at step two."""
    commands = {}
    for host, folder in trained.items():
        out = tmp_path / host
        shutil.copytree(folder / "out", out)
        (out / "model_final.pth").unlink()
        (out / "model_0000003.pth").unlink(missing_ok=True)
        (out / "last_checkpoint").write_text("model_0000001.pth")
        command = ["--config-file", str(folder / "config.yaml"), "--host", host]
        commands[host] = [*command, *SHORT, "OUTPUT_DIR", str(out)]
    return commands


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_checkpoint(path: Path, **rest: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": {"w": torch.zeros(1)}, **rest}, path)


@pytest.mark.parametrize(
    ("name", "rest", "max_iter", "expected"),
    [
        (
            "model_0000309.pth",
            {"iteration": 309},
            1500,
            f"stopped at step 310 of 1500: --resume continues, {CHOICES}",
        ),
        (
            "model_0000309.pth",
            {"iteration": 309},
            None,
            f"stopped at step 310: --resume continues, {CHOICES}",
        ),
        (
            "model_final.pth",
            {"iteration": 1499},
            1500,
            "finished after 1500 steps: --resume continues with a larger",
        ),
        (
            "model_final.pth",
            {"iteration": 1499},
            3000,
            f"stopped at step 1500 of 3000: --resume continues, {CHOICES}",
        ),
        ("model_final.pth", {}, None, f"holds model_final.pth: {CHOICES}"),
    ],
)
def test_description_of_a_folder_with_a_checkpoint(
    tmp_path: Path, name: str, rest: dict, max_iter: int | None, expected: str
) -> None:
    write_checkpoint(tmp_path / name, **rest)
    (tmp_path / "last_checkpoint").write_text(name)
    if max_iter:
        (tmp_path / "config.yaml").write_text(f"SOLVER: {{MAX_ITER: {max_iter}}}")
    assert expected in f"holds {describe_run(str(tmp_path), HOST)}"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (
            {
                "config.yaml": "SEED: 1",
                "log.txt": "",
                "metrics.json": "",
                "photo.jpg": "",
                "run.lock": "1",
            },
            None,
        ),
        (
            {"metrics.json": '{"bbox/AP": 1.0, "iteration": 0}\n'},
            f"results of an evaluation: {CHOICES}",
        ),
        (
            {"metrics.json": '{"total_loss": 1.0, "iteration": 19}\n{"total_loss": 1.0, "iter'},
            f"a run that stopped after step 20, before its first checkpoint: {CHOICES}",
        ),
        *(
            ({"metrics.json": text}, f"a metrics.json of another program: {CHOICES}")
            for text in ("12", "null\n", '{"total_loss": 1}', '{\n  "iteration": 3\n}', "[" * 9999)
        ),
        (
            {"metrics.json": '7\n{"total_loss": 1.0, "iteration": 19}\n{"total_loss": 1}\nnull'},
            f"a run that stopped after step 20, before its first checkpoint: {CHOICES}",
        ),
        ({"model_best.pth": ""}, f"model_best.pth: {CHOICES}"),
        ({"model_ema.v2.pth": "", "metrics.json": "1"}, f"model_ema.v2.pth: {CHOICES}"),
        ({"model_0000001.part.pth": "", "my_model.pth": ""}, None),
        (
            {"model_0000001.pth": "damaged"},
            f"a run without a checkpoint that can be read: {CHOICES}",
        ),
        (
            {"last_checkpoint": "model_0000001.pth"},
            f"a run without a checkpoint that can be read: {CHOICES}",
        ),
    ],
)
def test_description_of_a_folder_without_a_checkpoint(
    tmp_path: Path, files: dict[str, str], expected: str | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert describe_run(str(tmp_path), HOST) == expected
    assert describe_run(str(tmp_path / "none"), HOST) is None


@pytest.mark.parametrize("host", HOSTS)
def test_a_new_run_in_the_folder_of_another_is_refused(
    stopped: dict[str, list[str]], train_net: Any, tmp_path: Path, host: str
) -> None:
    before = content(tmp_path / host)
    with pytest.raises(
        ConfigError,
        match=r"stopped at step 2 of 4: --resume continues, "
        r"--overwrite starts again, ",
    ):
        train_net.main(stopped[host])
    assert content(tmp_path / host) == before


@pytest.mark.parametrize("host", HOSTS)
def test_a_folder_with_the_best_model_alone(
    stopped: dict[str, list[str]], train_net: Any, tmp_path: Path, host: str
) -> None:
    """Training and resuming are refused, and an evaluation does not change its config."""
    out = tmp_path / host
    for path in [*out.glob("model_*.pth"), out / "last_checkpoint", out / "metrics.json"]:
        path.rename(out / "model_best.pth") if path.name == "model_0000001.pth" else path.unlink()
    before = content(out)
    with pytest.raises(ConfigError, match=f"{out} holds model_best.pth: --overwrite starts again"):
        train_net.main(stopped[host])
    with pytest.raises(ConfigError, match=r"has model_best\.pth, but no checkpoint from which"):
        train_net.main(["--resume", *stopped[host]])
    assert content(out) == before
    test = ["DATASETS.TEST", f"('{_train_of(out / 'config.yaml')}',)"]
    best = ["MODEL.WEIGHTS", str(out / "model_best.pth")]
    train_net.main(["--eval-only", *stopped[host], *test, *best])
    assert content(out)["config.yaml"] == before["config.yaml"]


def _train_of(path: Path) -> str:
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    return cfg.DATASETS.TRAIN[0]


@pytest.mark.parametrize("host", HOSTS)
def test_overwrite_and_a_run_that_is_killed_before_its_first_checkpoint(
    stopped: dict[str, list[str]],
    train_net: Any,
    tmp_path: Path,
    host: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """The old run gets a new name, and the new run never continues from its checkpoints."""
    before = content(tmp_path / host)
    (tmp_path / f"{host}.1").mkdir()

    def killed(*args: Any) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(RetinaNet, "losses", killed)
        with pytest.raises(OSError, match="killed"):
            train_net.main(["--overwrite", *stopped[host]])
    assert (
        f"a run that stopped at step 2 of 4 in {tmp_path / host} is kept as {tmp_path / host}.2"
        in capsys.readouterr().out
    )
    assert content(tmp_path / f"{host}.2") == before
    assert not list((tmp_path / host).glob("*.pth"))
    train_net.main(["--resume", *stopped[host]])
    assert (
        f"resume: {tmp_path / host} has no checkpoint, training starts at step 0"
        in capsys.readouterr().out
    )
    assert {path.name for path in (tmp_path / host).glob("*.pth")} >= {
        "model_0000001.pth",
        "model_final.pth",
    }
    assert not list(tmp_path.rglob("run.lock"))


@pytest.mark.parametrize("key", ["MODEL.WEIGHTS", "DATASETS.TEST"])
def test_overwrite_does_not_rename_what_the_new_run_needs(
    stopped: dict[str, list[str]], train_net: Any, tmp_path: Path, key: str
) -> None:
    out = tmp_path / "lightning"
    value = (
        str(out / "model_0000001.pth")
        if key == "MODEL.WEIGHTS"
        else f"('{out}/config.yaml@{out}',)"
    )
    with pytest.raises(ConfigError, match=r"--overwrite renames OUTPUT_DIR .*lightning.* is in it"):
        train_net.main(["--overwrite", *stopped["lightning"], key, value])
    assert not (tmp_path / "lightning.1").exists()


@pytest.mark.parametrize("flags", [["--resume", "--overwrite"], ["--eval-only", "--overwrite"]])
def test_flags_that_exclude_each_other(
    train_net: Any, flags: list[str], capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train_net.parse(["--config-file", "x", *flags])
    assert "not allowed with" in capsys.readouterr().err


# A process that locks folders and has a child that survives it for a while, as a worker of a data
# loader does.
HOLDER = """
import contextlib, os, sys, time
sys.modules["detectron2"] = None
from retina_plugin.engine.folder_lock import FolderLock
with contextlib.ExitStack() as stack:
    for folder in sys.argv[1:]:
        stack.enter_context(FolderLock(folder))
    if not (child := os.fork()):
        time.sleep(60)
    print(child, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not folder_lock.CAN_LOCK, reason="needs fcntl")
def test_a_second_run_in_a_folder_is_refused_until_the_first_one_is_gone(
    stopped: dict[str, list[str]], trained: dict[str, Path], train_net: Any, tmp_path: Path
) -> None:
    """Only an evaluation may run in the folder meanwhile, and it does not change the config of the
    run."""
    folders = [tmp_path / host for host in HOSTS]
    names = {
        host: f"('{at}/test/annotations.json@{at}/test/images',)" for host, at in trained.items()
    }
    command = [sys.executable, "-c", HOLDER, *map(str, folders)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        worker = int(holder.stdout.readline())
        try:
            for host, folder in zip(HOSTS, folders, strict=True):
                before = content(folder)
                for flags in ([], ["--resume"], ["--overwrite"]):
                    with pytest.raises(
                        ConfigError,
                        match=r"another run works in .*process "
                        rf"{holder.pid} on ",
                    ):
                        train_net.main([*flags, *stopped[host]])
                assert content(folder) == before
                train_net.main(
                    [
                        "--eval-only",
                        "--resume",
                        *stopped[host],
                        "SEED",
                        "7",
                        "DATASETS.TEST",
                        names[host],
                    ]
                )
                assert (folder / "predictions.png").is_file()
                assert (folder / "config.yaml").read_bytes() == before["config.yaml"]
            holder.kill()
            holder.wait()
            os.kill(worker, 0)
            for folder in folders:
                require_unlocked(str(folder))
        finally:
            holder.kill()
            os.kill(worker, signal.SIGKILL)
    assert not list(tmp_path.rglob("run.lock"))


def test_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = str(tmp_path)
    require_unlocked(str(tmp_path / "none"))
    with (
        FolderLock(folder),
        pytest.raises(ConfigError, match="another run works in"),
        FolderLock(folder),
    ):
        pass
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:  # a file system without locks
        patch.setattr(
            folder_lock.fcntl,
            "flock",
            lambda *args: (_ for _ in ()).throw(OSError(95, "not supported")),
        )
        with FolderLock(folder):
            assert "cannot be locked (not supported): nothing prevents a second run" in caplog.text
    monkeypatch.setitem(sys.modules, "fcntl", None)  # Windows
    spec = importlib.util.spec_from_file_location("lock_of_windows", folder_lock.__file__)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "lock_of_windows", module)
    spec.loader.exec_module(module)
    with module.FolderLock(folder):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("weights", ["", "zoo.pkl"])
def test_random_weights_are_not_evaluated(
    train_net: Any, tmp_path: Path, root: Path, host: str, weights: str
) -> None:
    config = write_run(tmp_path, root)
    command = [
        "--eval-only",
        "--resume",
        "--config-file",
        config,
        "--host",
        host,
        "MODEL.WEIGHTS",
        weights,
    ]
    with pytest.raises(
        ConfigError,
        match=r"--eval-only --resume: OUTPUT_DIR .*out has no "
        r"checkpoint",
    ):
        train_net.main(command)
    assert not (tmp_path / "out").exists()


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of the parameters in a checkpoint."""
    return {
        name: x
        for name, x in read_checkpoint(str(path))["model"].items()
        if name != "loss_normalizer"
    }


@pytest.mark.parametrize("host", HOSTS)
def test_a_resumed_run_uses_the_new_learning_rate(
    stopped: dict[str, list[str]],
    train_net: Any,
    tmp_path: Path,
    host: str,
    capsys: pytest.CaptureFixture,
) -> None:
    """With a learning rate near 0, two more steps change almost nothing; the checkpoint was made
    with 0.01."""
    out = tmp_path / host
    rate = [
        "SOLVER.BASE_LR",
        "1e-12",
        "SOLVER.STEPS",
        "(3,)",
        "SOLVER.GAMMA",
        "0.5",
        "DATALOADER.NUM_WORKERS",
        "1",
    ]
    train_net.main(["--resume", *stopped[host], *rate])
    printed = capsys.readouterr().out
    assert f"resume: {out}/model_0000001.pth continues at step 2 of 4\n" in printed
    lines = (
        "SOLVER.BASE_LR: 0.01 -> 1e-12",
        "SOLVER.GAMMA: 0.1 -> 0.5",
        "DATALOADER.NUM_WORKERS: 0 -> 1",
    )
    assert all(f"\n  {line}\n" in printed for line in lines)
    assert_close(
        tensors(out / "model_final.pth"), tensors(out / "model_0000001.pth"), rtol=0, atol=1e-9
    )
    logged = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    assert [line["lr"] for line in logged if "lr" in line] == pytest.approx(
        [0.01, 0.5e-12], rel=1e-6
    )
    # the new values are used by the run
    with pytest.raises(ConfigError, match="finished after 4 steps"):
        train_net.main([*stopped[host]])
    assert "BASE_LR: 1.0e-12" in (out / "config.yaml").read_text()


@pytest.mark.parametrize("host", HOSTS)
def test_a_finished_run_that_is_continued_equals_a_longer_run(
    trained: dict[str, Path],
    train_net: Any,
    tmp_path: Path,
    host: str,
    capsys: pytest.CaptureFixture,
) -> None:
    config = ["--config-file", str(trained[host] / "config.yaml"), "--host", host, *SHORT]
    shutil.copytree(trained[host] / "out", tmp_path / "longer")
    train_net.main(
        ["--resume", *config, "OUTPUT_DIR", str(tmp_path / "longer"), "SOLVER.MAX_ITER", "6"]
    )
    assert (
        "model_final.pth continues at step 4 of 6\n  SOLVER.MAX_ITER: 4 -> 6\n"
        in capsys.readouterr().out
    )
    train_net.main([*config, "OUTPUT_DIR", str(tmp_path / "straight"), "SOLVER.MAX_ITER", "6"])
    longer, straight = (
        read_checkpoint(str(tmp_path / name / "model_final.pth")) for name in ("longer", "straight")
    )
    assert_close(longer["model"], straight["model"], rtol=0, atol=0)


@pytest.mark.parametrize("host", HOSTS)
def test_a_run_that_lacks_only_its_last_file(
    stopped: dict[str, list[str]], train_net: Any, tmp_path: Path, host: str
) -> None:
    """This happens after a kill between the last two files, or with a smaller MAX_ITER. No outdated
    model_final.pth remains."""
    out = tmp_path / host
    write_checkpoint(out / "model_final.pth", iteration=0)
    train_net.main(["--resume", *stopped[host], "SOLVER.MAX_ITER", "2"])
    assert (out / "model_final.pth").read_bytes() == (out / "model_0000001.pth").read_bytes()
    assert (out / "last_checkpoint").read_text() == "model_final.pth"


OTHER_RUNS = {
    "MODEL.RETINA_PLUGIN.OPTIMIZER": ("SGD", "'AdamW' -> 'SGD'"),
    "MODEL.BACKBONE.FREEZE_AT": ("1", "0 -> 1"),
    "SOLVER.IMS_PER_BATCH": ("2", "4 -> 2"),
    "SOLVER.WEIGHT_DECAY": ("0.1", "0.0001 -> 0.1"),
    "MODEL.RETINANET.FOCAL_LOSS_ALPHA": ("auto", r"0.25 -> \["),
    "SEED": ("2", "1 -> 2"),
}


@pytest.mark.parametrize("host", HOSTS)
def test_a_resumed_run_with_other_settings_is_refused(
    stopped: dict[str, list[str]],
    trained: dict[str, Path],
    train_net: Any,
    tmp_path: Path,
    host: str,
) -> None:
    """The error names all changed keys that must not change, and no file is written."""
    before = content(tmp_path / host)
    other = f"{trained[host]}/test/annotations.json@{trained[host]}/test/images"
    overrides = [word for key, (value, _) in OTHER_RUNS.items() for word in (key, value)]
    overrides += ["DATASETS.TRAIN", f"('{other}',)", "SOLVER.BASE_LR", "0.1"]
    with pytest.raises(ConfigError, match="These keys cannot change") as error:
        train_net.main(["--resume", *stopped[host], *overrides])
    for key, (_, difference) in OTHER_RUNS.items():
        error.match(f"\n  {key}: {difference}")
    error.match(r"\n  DATASETS.TRAIN: .*/test/annotations.json")
    error.match("moved, write their new paths into .*config.yaml")
    assert "BASE_LR" not in str(error.value)
    assert content(tmp_path / host) == before


@pytest.mark.parametrize("host", HOSTS)
def test_other_classes(
    stopped: dict[str, list[str]], train_net: Any, tmp_path: Path, host: str
) -> None:
    path = tmp_path / host / "model_0000001.pth"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["metadata"]["class_names"] = ["cat", "bar", "nothing"]
    torch.save(checkpoint, path)
    with pytest.raises(
        ConfigError,
        match=r"trained on the classes cat, bar.*DATASETS.TRAIN has "
        r"square, bar",
    ):
        train_net.main(["--resume", *stopped[host]])


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("rest", "overrides", "words"),
    [
        (
            {},
            ["SOLVER.MAX_ITER", "1"],
            "SOLVER.MAX_ITER is 1, but .*model_0000001.pth was trained for 2 steps",
        ),
        (None, [], "has only weights, no optimizer and no step"),
    ],
)
def test_checkpoints_that_cannot_be_continued(
    stopped: dict[str, list[str]],
    train_net: Any,
    tmp_path: Path,
    host: str,
    rest: dict | None,
    overrides: list[str],
    words: str,
) -> None:
    path = tmp_path / host / "model_0000001.pth"
    if rest is None:
        torch.save({"model": read_checkpoint(str(path))["model"]}, path)
    with pytest.raises(ValueError, match=words):
        train_net.main(["--resume", *stopped[host], *overrides])


@pytest.mark.parametrize(
    ("key", "value", "applied"),
    [
        ("SOLVER.MAX_ITER", 50, True),
        ("SOLVER.CLIP_GRADIENTS.ENABLED", True, True),
        ("TEST.EVAL_PERIOD", 5, True),
        ("MODEL.RETINANET.NMS_THRESH_TEST", 0.6, True),
        ("INPUT.MIN_SIZE_TEST", 100, True),
        ("VIS_PERIOD", 5, True),
        ("MODEL.RETINA_PLUGIN.INPUT.CACHE_MEGABYTES", 50.0, True),
        ("OUTPUT_DIR", None, None),
        ("SOLVER.STEPS", [30000], None),
        ("MODEL.ANCHOR_GENERATOR.SIZES", [(32, 64, 128, 256, 512)], None),
        ("SOLVER.MOMENTUM", 0.5, False),
        ("INPUT.MIN_SIZE_TRAIN", (100,), False),
        ("MODEL.FPN.OUT_CHANNELS", 8, False),
        ("MODEL.WEIGHTS", "other.pth", False),
    ],
)
def test_each_key_is_applied_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, key: str, value: Any, applied: bool | None
) -> None:
    """None stands for another spelling of the same value."""
    write_checkpoint(tmp_path / "model_0000001.pth", iteration=1, trainer={})
    (tmp_path / "config.yaml").write_text(get_cfg().dump())
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path)
    if value is not None:
        cfg.merge_from_list([key, value])
    arguments = {"host": "detectron2", "class_names": [], "get_cfg": get_cfg}
    if applied is False:
        with pytest.raises(ConfigError, match=f"\n  {key}: .* -> "):
            checkpoint_to_resume(cfg, **arguments)
        return
    assert checkpoint_to_resume(cfg, **arguments) == str(tmp_path / "model_0000001.pth")
    assert (f"\n  {key}: " in capsys.readouterr().out) == bool(applied)


@pytest.mark.parametrize("trains_in_slices", [False, True])
def test_the_size_of_slices_cannot_change_if_training_uses_them(
    tmp_path: Path, trains_in_slices: bool
) -> None:
    write_checkpoint(tmp_path / "model_0000001.pth", iteration=1, trainer={})
    cfg = get_cfg()
    cfg.OUTPUT_DIR, cfg.MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE = str(tmp_path), 640
    if trains_in_slices:
        cfg.MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS = ["RandomSlice", "ResizeShortestEdge"]
    (tmp_path / "config.yaml").write_text(cfg.dump())
    cfg.MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE = 320
    arguments = {"host": "detectron2", "class_names": [], "get_cfg": get_cfg}
    if trains_in_slices:
        with pytest.raises(ConfigError, match=r"\n  MODEL.*SLICE.SIZE: 640 -> 320\n"):
            checkpoint_to_resume(cfg, **arguments)
    else:
        assert checkpoint_to_resume(cfg, **arguments)


def test_data_sets_are_compared_by_their_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "model_0000001.pth", iteration=1, trainer={})
    before, cfg = get_cfg(), get_cfg()
    before.DATASETS.TRAIN, cfg.DATASETS.TRAIN = (
        ("my/a.json@my", "coco"),
        (f"{tmp_path}/my/a.json@{tmp_path}/my", "coco"),
    )
    (tmp_path / "config.yaml").write_text(before.dump())
    cfg.OUTPUT_DIR = str(tmp_path)
    arguments = {"host": "detectron2", "class_names": [], "get_cfg": get_cfg}
    with pytest.raises(ConfigError, match=r"\n  DATASETS.TRAIN: "):
        checkpoint_to_resume(cfg, **arguments)
    monkeypatch.chdir(tmp_path)
    assert checkpoint_to_resume(cfg, **arguments)


def test_the_table_of_keys_names_keys_that_exist() -> None:
    keys = {*DETECTRON2_KEYS, *PLUGIN_KEYS}
    unknown = [pattern for pattern in CHANGEABLE_KEYS if not fnmatch.filter(keys, pattern)]
    assert not unknown
