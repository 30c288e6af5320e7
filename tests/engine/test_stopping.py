"""Ctrl-C and SIGTERM: a checkpoint is saved, one line says how to continue, and the exit code is
130 or 143."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.checkpoint import read_checkpoint
from retina_plugin.engine import process, stopping
from retina_plugin.modeling.retinanet import RetinaNet
from tests.load_tools import load_tool
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.fixture(scope="module")
def train_net() -> Any:
    """Load ``tools/train_net.py`` as a module."""
    return load_tool("train_net")


@pytest.fixture(autouse=True)
def quiet_process(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Use one thread, and silence Detectron2's log handlers, which write to the captured output of
    an earlier test."""
    monkeypatch.setattr("logging.raiseExceptions", False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def signals_in(
    monkeypatch: pytest.MonkeyPatch, name: str, calls: dict[int, list[signal.Signals]]
) -> list[int]:
    """Send signals to this process during given calls of a method of RetinaNet; the returned list
    gets an entry for each call."""
    seen: list[int] = []
    method = getattr(RetinaNet, name)

    def counted(self: RetinaNet, *args: Any, **kwargs: Any) -> Any:
        seen.append(len(seen) + 1)
        for number in calls.get(len(seen), []):
            signal.raise_signal(number)
            time.sleep(1.2 * stopping.REPEAT_SECONDS)
        return method(self, *args, **kwargs)

    monkeypatch.setattr(RetinaNet, name, counted)
    return seen


def ended(main: Any, arguments: list[str], code: int) -> None:
    with pytest.raises(SystemExit) as end:
        process.run(lambda: main(arguments))
    assert end.value.code == code


def last_error_line(capsys: pytest.CaptureFixture) -> str:
    """The single line that a run prints on standard error at its end."""
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    (line,) = [line for line in printed.splitlines() if "stopped" in line or "interrupted" in line]
    return line


def ap(folder: Path) -> dict[str, float]:
    lines = (folder / "metrics.json").read_text(encoding="utf-8").splitlines()
    return {key: value for key, value in json.loads(lines[-1]).items() if key.startswith("bbox/")}


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_a_run_that_is_stopped_goes_on(
    train_net: Any,
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    host: str,
) -> None:
    """SIGTERM in step 9 of 12, Ctrl-C in step 11, then to the end: the result equals that of an
    uninterrupted run."""
    arguments = [
        "--config-file",
        write_run(tmp_path, root),
        "--host",
        host,
        "--resume",
        "SOLVER.MAX_ITER",
        "12",
    ]
    # much random augmentation
    arguments += ["INPUT.MIN_SIZE_TRAIN", "(48, 64, 80)", "INPUT.CROP.ENABLED", "True"]
    seen = signals_in(monkeypatch, "losses", {9: [TERM], 11: [INT]})
    for step, code in ((9, 143), (11, 130)):
        ended(train_net.main, arguments, code)
        name = f"model_{step - 1:07d}.pth"
        assert (tmp_path / "out/last_checkpoint").read_text() == name
        assert read_checkpoint(str(tmp_path / "out" / name))["iteration"] == step - 1
        assert not list((tmp_path / "out").rglob("*.part*"))
        assert f"stopped at step {step} of 12; continue with --resume" in last_error_line(capsys)
    train_net.main(arguments)
    assert len(seen) == 12
    assert ap(tmp_path / "out")
    train_net.main([*arguments, "OUTPUT_DIR", str(tmp_path / "straight")])
    straight, stopped = (
        read_checkpoint(str(tmp_path / name / "model_final.pth")) for name in ("straight", "out")
    )
    assert_close(stopped["model"], straight["model"], rtol=0, atol=0)
    assert ap(tmp_path / "out") == pytest.approx(ap(tmp_path / "straight"), nan_ok=True, abs=0)


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("first", [INT, TERM])
def test_a_second_ctrl_c_ends_at_once(
    train_net: Any,
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    host: str,
    first: signal.Signals,
) -> None:
    arguments = ["--config-file", write_run(tmp_path, root), "--host", host]
    seen = signals_in(monkeypatch, "losses", {3: [first, INT]})
    ended(train_net.main, arguments, 128 + first)
    assert len(seen) == 3
    assert process.INTERRUPTED in last_error_line(capsys)
    assert not [
        path.name
        for path in (tmp_path / "out").iterdir()
        if path.suffix == ".pth" or ".part" in path.name
    ]


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_a_run_is_stopped_in_an_evaluation(
    train_net: Any,
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    host: str,
) -> None:
    """A signal in an evaluation during training, in the last evaluation, and in an evaluation
    without training; six test images each."""
    arguments = ["--config-file", write_run(tmp_path, root), "--host", host]
    opts = ["SOLVER.MAX_ITER", "6", "TEST.EVAL_PERIOD", "3"]
    steps = signals_in(monkeypatch, "losses", {})
    images = signals_in(monkeypatch, "detect_and_measure", {2: [INT], 10: [TERM]})
    images_alone = signals_in(monkeypatch, "detect_images", {2: [INT]})
    ended(train_net.main, [*arguments, *opts], 130)
    assert "stopped at step 3 of 6; continue with --resume" in last_error_line(capsys)
    ended(train_net.main, [*arguments, "--resume", *opts], 143)
    assert (len(steps), len(images)) == (6, 10)  # the stopped evaluation is made first
    assert (tmp_path / "out/last_checkpoint").read_text() == "model_final.pth"
    assert (
        "stopped during the evaluation after all 6 steps; continue with --resume, which eval"
        in last_error_line(capsys)
    )
    ended(train_net.main, [*arguments, "--resume", "--eval-only", *opts], 130)
    assert stopping.EVALUATION_STOPPED in last_error_line(capsys)
    assert (len(images), len(images_alone)) == (10, 2)
    assert not (tmp_path / "out/predictions.png").exists()
    train_net.main([*arguments, "--resume", *opts])
    assert (len(steps), len(images)) == (6, 16)
    assert ap(tmp_path / "out")


# runs as separate programs


def started(root: Path, config: str, host: str, *flags: str) -> subprocess.Popen:
    """A run of very many steps with two loader workers, started as its own process group, that has
    begun to train."""
    folder = Path(config).parent
    steps = [
        "SOLVER.MAX_ITER",
        "100000",
        "SOLVER.CHECKPOINT_PERIOD",
        "100000",
        "DATALOADER.NUM_WORKERS",
        "2",
    ]
    command = [
        sys.executable,
        str(root / "tools/train_net.py"),
        "--config-file",
        config,
        "--host",
        host,
        *flags,
        *steps,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(folder / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    deadline = time.monotonic() + 120
    while (
        not (folder / "out/metrics.json").exists()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.1)
    return process


def children(process: subprocess.Popen) -> list[int]:
    return [
        int(pid)
        for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]


def last_lines(folder: Path) -> list[str]:
    """The output of a program without progress bars."""
    log = (folder / "log").read_text(encoding="utf-8").replace("\r", "\n")
    assert "Traceback" not in log
    return [
        line
        for line in log.splitlines()
        if line.strip() and "it/s" not in line and "s/it" not in line
    ]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(("host", "number"), list(zip(HOSTS, [TERM, INT], strict=False)))
def test_a_signal_to_the_whole_group(
    tmp_path: Path, root: Path, host: str, number: signal.Signals
) -> None:
    """The loader workers also get the signal, and stay alive until the checkpoint is saved."""
    process = started(root, write_run(tmp_path, root), host)
    os.killpg(process.pid, number)
    assert process.wait(60) == 128 + number
    assert "; continue with --resume" in last_lines(tmp_path)[-1]
    assert (tmp_path / "out" / (tmp_path / "out/last_checkpoint").read_text()).is_file()


@pytest.mark.long
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_killed_rank_or_worker_ends_the_run(tmp_path: Path, root: Path) -> None:
    process = started(root, write_run(tmp_path, root), "lightning", "--num-gpus", "2")
    ranks = [
        pid
        for pid in children(process)
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(ranks[1], signal.SIGKILL)
    assert process.wait(10) == 2
    assert last_lines(tmp_path)[-1].startswith(
        f"error: rank 1 (pid {ranks[1]}) was killed by SIGKILL"
    )
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)
    process = started(root, write_run(tmp_path / "single", root), "lightning")
    worker = children(process)[0]
    os.kill(worker, signal.SIGKILL)
    assert process.wait(10) == 2
    # without the process id if the connection broke first
    assert re.match(
        rf"error: a process that loads images (\(pid {worker}\) )?was killed",
        last_lines(tmp_path / "single")[-1],
    )


def test_a_signal_that_a_shell_sends_twice_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with stopping.handle_signals(), stopping.defer_signals():
        signal.raise_signal(INT)
        now[0] += 0.1
        signal.raise_signal(INT)  # to the process, then to its group
        assert stopping.requested_signal() == INT
        assert not stopping.immediate_stop_requested()
        now[0] += 1.0
        with pytest.raises(stopping.Interrupted):
            signal.raise_signal(INT)
        assert stopping.immediate_stop_requested()
