"""Start a run of ``tools/train_net.py`` in a new process, for tools that compare runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retina_plugin.config.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
RUNNING: set[subprocess.Popen[bytes]] = set()
DONE = "run.json"  # the result of a finished run


def one_run(
    folder: Path, config: str, options: Sequence[str], *, threads: int, host: str = "auto"
) -> dict[str, Any]:
    """Train and evaluate. Continue an interrupted run, and only read the results of a finished run.

    Args:
        folder: the folder of the run.
        config: a path relative to the repository.
        options: overrides ``[KEY, VALUE, KEY, VALUE, ...]`` without ``OUTPUT_DIR``.
        threads: number of CPU threads.
        host: see :func:`retina_plugin.engine.hosts.choose_host`.

    Returns:
        "metrics": the last value of each logged scalar. "cpu_seconds": the CPU time of the last
        process of the run. "resumed": whether there were earlier processes.

    Raises:
        ValueError: the folder contains a run with other arguments.
        ChildProcessError: the run failed; the message names its log.
    """
    on_host = [] if host == "auto" else ["--host", host]
    arguments = ["--config-file", str(ROOT / config), *on_host, *options]
    reserve_folder(folder, arguments)
    done = folder / DONE
    if not done.is_file():
        resumed = (folder / "log.txt").exists()
        command = [
            sys.executable,
            str(ROOT / "tools/train_net.py"),
            "--resume",
            *arguments,
            "OUTPUT_DIR",
            str(folder),
        ]
        with open(folder / "log.txt", "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": str(threads)}
            )
            RUNNING.add(process)
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except KeyboardInterrupt:
                stop_runs()
                raise
            finally:
                RUNNING.discard(process)
        if status:
            raise ChildProcessError(f"{' '.join(command)} failed, see {folder / 'log.txt'}")
        lines = (folder / "metrics.json").read_text(encoding="utf-8").splitlines()
        metrics = {key: value for line in lines for key, value in json.loads(line).items()}
        cpu_seconds = usage.ru_utime + usage.ru_stime
        content = {"metrics": metrics, "cpu_seconds": cpu_seconds, "resumed": resumed}
        write_atomically(str(done), json.dumps(content))
    result: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
    return result


def stop_runs() -> None:
    """Stop all runs that this process started. Each saves a checkpoint; wait for them."""
    for process in list(RUNNING):
        process.terminate()
    for process in list(RUNNING):
        process.wait()


def box_metrics(logged: dict[str, float]) -> dict[str, float]:
    """Return AP, AP50 and the other box metrics, 0 to 100, from the logged values. Empty if nothing
    was detected."""
    return {
        key.removeprefix("bbox/"): value for key, value in logged.items() if key.startswith("bbox/")
    }


def reserve_folder(folder: Path, arguments: Sequence[str]) -> None:
    """Create the folder of a run and write the arguments of the run into it.

    Raises:
        ValueError: the folder contains a run with other arguments.
    """
    file = folder / "arguments.json"
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else arguments
    if earlier != arguments:
        raise ValueError(
            f"{folder} contains a run with other arguments: {' '.join(earlier)}. Choose another "
            "--output-dir, or delete the folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(str(file), json.dumps(arguments))
