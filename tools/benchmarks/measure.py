"""Time in turns, peak memory in fresh processes, and the table of both."""

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
    """Two implementations gave different results; their times cannot be compared."""


@dataclass
class Comparison:
    """The same work done by several.

    Attributes:
        title: what is compared, at which size.
        implementations: name -> a function that prepares everything and returns the work. This
            project is the first one.
        check: results of two implementations -> raises AssertionError when they differ.
        absent: what is not installed or cannot take part, each with the reason.
        extra: more columns: title -> (the work -> text).
    """

    title: str
    implementations: dict[str, Callable[[], Work]]
    check: Callable[[Any, Any], None]
    absent: list[str] = field(default_factory=list)
    extra: dict[str, Callable[[Work], str]] = field(default_factory=dict)


def measure(
    comparison: Comparison, *, repeats: int, device: str, command: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Check that all agree with the first, then time them in turns, so that what disturbs the
    machine disturbs them all.

    Args:
        comparison: what to do.
        repeats: timed runs of each.
        device: where the work runs.
        command: how this process was started, for the processes that measure memory.

    Returns:
        For each name "median" and "spread" (between the quartiles) in seconds, "times", "ratio"
        (its median over that of the first), "peak" (MiB that its first run adds), and the extra
        columns.

    Raises:
        DifferentResults: a result that differs from the first one's.
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
        rows[name].update({title: tell(work) for title, tell in comparison.extra.items()})
    works.clear()  # the processes below need the memory
    for name in rows:
        _show_progress(f"{comparison.title}: memory of {name}")
        rows[name]["peak"] = _peak_in_new_process(command, comparison.title, name)
    _show_progress("")
    return rows


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Without TF32, whose products have 10 bits on a GPU: two correct models would differ."""
    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    allowed = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, value in zip(backends, allowed, strict=True):
            backend.allow_tf32 = value


def _show_progress(progress: str) -> None:
    """One line that replaces the one before, for whoever sits at a terminal."""
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
    # glibc gives every block back as soon as it is free, so that what the process holds is what the
    # work holds.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run(
        [*command, "--peak-of", title, name], capture_output=True, text=True, env=environment
    )
    if result.returncode:
        raise RuntimeError(f"{title}: {name} failed in a process of its own:\n{result.stderr}")
    return float(result.stdout.split()[-1])


def peak_memory(prepare: Callable[[], Work], device: str) -> float:
    """MiB that the first run of a work adds, at its highest, to what preparing it left."""
    work = prepare()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before = _resident()
    work()
    return max(_highest_resident() - before, 0.0)


def _resident() -> float:
    """MiB of this process now; the highest value starts again from it where the system allows
    that."""
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
    """Title, one line for each contestant, and who is absent. The ratio is that to this project:
    how many times slower."""
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
