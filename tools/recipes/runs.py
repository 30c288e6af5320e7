"""Start the runs of a comparison, each as one process with one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from one_run import DONE, one_run, stop_runs
from tqdm import tqdm

from recipes.lengths import MeasuredRow
from retina_plugin.engine.folder_lock import require_unlocked


@dataclass(frozen=True)
class Run:
    """A run of a row with a seed.

    Attributes:
        row, seed: the row and the seed of the run.
        folder: its ``OUTPUT_DIR``.
    """

    row: MeasuredRow
    seed: int
    folder: Path


def all_runs(rows: Sequence[MeasuredRow], seeds: Sequence[int], folder: Path) -> list[Run]:
    """Return the runs in order: all rows with the first seed, then all rows with the next one.

    In this order, a comparison that is stopped early has results of all rows.
    """
    return [
        Run(row, seed, folder / f"{row.checked.row.folder}-{seed}")
        for seed in seeds
        for row in rows
    ]


def start_runs(
    runs: Sequence[Run],
    finished: Callable[[Run, dict[str, Any] | ChildProcessError], None],
    *,
    base: str,
    host: str,
    jobs: int,
    start: Callable[..., dict[str, Any]] = one_run,
) -> None:
    """Train all runs. If a run has finished before, only read its result.

    Args:
        runs: the runs, in the order in which they are started.
        finished: called with each run and its result, or the error of a failed run.
        base: path of the base config.
        host: the host.
        jobs: number of runs at the same time.
        start: see :func:`one_run.one_run`.

    Raises:
        ConfigError: another process works in the folder of a run.
        ValueError: a folder contains a run with other arguments.
    """
    for run in runs:
        if not (run.folder / DONE).is_file():
            require_unlocked(str(run.folder))

    def one(run: Run) -> dict[str, Any]:
        return start(run.folder, base, run.row.options(run.seed), threads=1, host=host)

    with ThreadPoolExecutor(jobs) as pool:
        futures: dict[Future[dict[str, Any]], Run] = {pool.submit(one, run): run for run in runs}
        try:
            for future in tqdm(as_completed(futures), total=len(runs), desc="train", unit="run"):
                finished(futures[future], _result(future))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_runs()
            raise


def _result(future: Future[dict[str, Any]]) -> dict[str, Any] | ChildProcessError:
    try:
        return future.result()
    except ChildProcessError as error:  # the other runs continue
        return error
