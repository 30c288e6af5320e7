"""Time implementations in turns, measure their peak memory in new processes, and format the
results."""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

Work = Callable[[], Any]


class DifferentResults(AssertionError):
    """Two implementations gave different results, so their times cannot be compared."""


@dataclass
class Comparison:
    """Several implementations of the same work.

    Attributes:
        title: what is compared, at which size.
        implementations: name -> a function that prepares everything and returns the work. This
            project is the first one.
        check: results of two implementations -> raises AssertionError when they differ.
        absent: a line for each implementation that is not compared, with the reason.
        extra: additional columns: title -> a function that maps the work to the text of its cell.
    """

    title: str
    implementations: dict[str, Callable[[], Work]]
    check: Callable[[Any, Any], None]
    absent: list[str] = field(default_factory=list)
    extra: dict[str, Callable[[Work], str]] = field(default_factory=dict)


def measure(
    comparison: Comparison, *, repeats: int, device: str, command: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Check that all results agree with the first one, then time the implementations in turns: load
    on the machine then affects all of them alike.

    Args:
        comparison: the implementations.
        repeats: the number of timed runs of each.
        device: the device on which the work runs.
        command: the command of this process; the processes that measure memory run it with another
            argument.

    Returns:
        For each name: "median" and "spread" (the distance of the quartiles) in seconds; "times";
        "ratio" (its median divided by that of the first); "peak" (MiB that its first run adds);
        and the extra columns.

    Raises:
        DifferentResults: a result differs from the first one.
    """
    works = {name: prepare() for name, prepare in comparison.implementations.items()}
    _show_progress(f"{comparison.title}: do the results agree?")
    with _full_float32():
        _check(comparison, {name: work() for name, work in works.items()})
    times: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(1, repeats + 1):
        _show_progress(f"{comparison.title}: {repeat} of {repeats}")
        for name, work in works.items():
            times[name].append(_timed(work, device))
    first = statistics.median(next(iter(times.values())))
    rows = {name: _row(seconds, first) for name, seconds in times.items()}
    for name, work in works.items():
        rows[name].update({title: text(work) for title, text in comparison.extra.items()})
    works.clear()  # the processes below need the memory
    for name in rows:
        _show_progress(f"{comparison.title}: memory of {name}")
        rows[name]["peak"] = _peak_in_new_process(command, comparison.title, name)
    _show_progress("")
    return rows


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Disable TF32 on GPUs: with its 10-bit mantissa, the results of two correct models differ."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    allowed = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = allowed


def _show_progress(progress: str) -> None:
    """Print a line that replaces the previous one, if standard error is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)


def _check(comparison: Comparison, results: dict[str, Any]) -> None:
    (first, expected), *others = results.items()
    for name, result in others:
        try:
            comparison.check(result, expected)
        except AssertionError as error:
            raise DifferentResults(
                f"{comparison.title}: {name} and {first} disagree: {error}"
            ) from error


def _timed(work: Work, device: str) -> float:
    _finish(device)
    start = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - start


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _row(seconds: list[float], first: float) -> dict[str, Any]:
    median = statistics.median(seconds)
    low, _, high = (
        statistics.quantiles(seconds, n=4, method="inclusive")
        if len(seconds) > 1
        else (median,) * 3
    )
    return {"median": median, "spread": high - low, "ratio": median / first, "times": seconds}


def _peak_in_new_process(command: Sequence[str], title: str, name: str) -> float:
    # With a low threshold glibc returns freed blocks to the system at once, so the memory of the
    # process is the memory of the work.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run(
        [*command, "--peak-of", title, name], capture_output=True, text=True, env=environment
    )
    if result.returncode:
        raise RuntimeError(f"{title}: {name} failed in a new process:\n{result.stderr}")
    return float(result.stdout.split()[-1])


def peak_memory(prepare: Callable[[], Work], device: str) -> float:
    """Return the peak memory of the first run in MiB, without the memory after preparation."""
    work = prepare()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - allocated) / 2**20
    resident = _resident()
    work()
    return max(_highest_resident() - resident, 0.0)


def _resident() -> float:
    """Return the resident memory of this process in MiB, and reset its peak if the system allows
    it."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return _highest_resident()


def _highest_resident() -> float:
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 2**10
    except OSError:
        unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def table(comparison: Comparison, rows: dict[str, dict[str, Any]]) -> str:
    """Format the title, a line for each implementation, and those that are absent. The column
    "times ours" is the median time divided by that of this project."""
    heads = ["", "median ms", "spread ms", "times ours", "peak MiB", *comparison.extra]
    lines = [heads]
    for name, row in rows.items():
        numbers = [
            f"{row['median'] * 1e3:.1f}",
            f"{row['spread'] * 1e3:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['peak']:.0f}",
        ]
        lines.append([name, *numbers, *(row[title] for title in comparison.extra)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    text = [comparison.title]
    text += [
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in lines
    ]
    return "\n".join([*text, *(f"absent: {reason}" for reason in comparison.absent)])
