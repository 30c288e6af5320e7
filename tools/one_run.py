"""One run of ``tools/train_net.py`` in a process and a folder of its own, for tools that compare
many."""

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
RUNNING: set[subprocess.Popen] = set()


def one_run(folder: Path, config: str, options: Sequence[str], *, threads: int) -> dict[str, Any]:
    """Train and evaluate, or go on where an earlier call was interrupted, or read what it found.

    Args:
        config: path below the repository.
        options: overrides, KEY VALUE in turn, without ``OUTPUT_DIR``.

    Returns:
        ``"metrics"``: the last value of everything that was logged; ``"cpu_seconds"``: of the last
        process.

    Raises:
        ValueError: the folder belongs to another run.
        ChildProcessError: it failed; the message names its log.
    """
    arguments = ["--config-file", str(ROOT / config), *options]
    reserve_folder(folder, arguments)
    done = folder / "run.json"
    if not done.is_file():
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
        write_atomically(
            str(done),
            json.dumps({"metrics": metrics, "cpu_seconds": usage.ru_utime + usage.ru_stime}),
        )
    return json.loads(done.read_text(encoding="utf-8"))


def stop_runs() -> None:
    """Ask all runs of this process to stop, which saves their checkpoints, and wait until they
    have."""
    for process in list(RUNNING):
        process.terminate()
    for process in list(RUNNING):
        process.wait()


def box_metrics(logged: dict[str, float]) -> dict[str, float]:
    """AP and its family, 0 to 100, among all that was logged; nothing where nothing was
    detected."""
    return {
        key.removeprefix("bbox/"): value for key, value in logged.items() if key.startswith("bbox/")
    }


def reserve_folder(folder: Path, arguments: Sequence[str]) -> None:
    """Make a folder the place of one run, so that no other is taken for it."""
    note = folder / "arguments.json"
    earlier = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else arguments
    if earlier != arguments:
        raise ValueError(
            f"{folder} has a run with other arguments: {' '.join(earlier)}. Give another "
            "--output-dir, or delete it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(str(note), json.dumps(arguments))
