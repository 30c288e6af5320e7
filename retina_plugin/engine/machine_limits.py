"""Cores and memory that this process may use, with the limits of containers and batch systems.

A limit of a control group (cgroup) is not seen in ``/proc/meminfo``: a process above it is killed
although the machine has free memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

CGROUPS = "/sys/fs/cgroup"
UNLIMITED = 2**60  # version 1 of cgroups writes a number near 2^63 instead of no limit


def usable_cores(root: str = "/") -> int:
    """Return the number of CPU cores that this process may use, at least 1.

    Args:
        root: the folder that has ``proc`` and ``sys``; for tests.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # macOS does not have it
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _cpu_quotas(root))]))


def free_memory(root: str = "/") -> int:
    """Return the bytes that this process can still use. Without ``/proc/meminfo``, as on macOS, it
    is half of the installed memory."""
    return min([_free_on_machine(root), *(limit - used for limit, used in _memory_limits(root))])


def memory_limit(root: str = "/") -> int | None:
    """Return the smallest limit of a control group in bytes; None without a limit."""
    return min((limit for limit, _ in _memory_limits(root)), default=None)


def _free_on_machine(root: str) -> int:
    try:
        values = dict(line.split(":", 1) for line in _lines(os.path.join(root, "proc/meminfo")))
        return int(values["MemAvailable"].split()[0]) * 1024
    except KeyError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _memory_limits(root: str) -> Iterator[tuple[int, int]]:
    """Yield (limit, used bytes without the cache of files that can be dropped) of each group."""
    for folder in _groups(root, "memory"):
        for limit_name, used_name, cache_name in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit = _number(os.path.join(folder, limit_name))
            if limit is None or limit >= UNLIMITED:
                continue
            used = _number(os.path.join(folder, used_name)) or 0
            lines = _lines(os.path.join(folder, "memory.stat"))
            cache = dict(line.split(" ", 1) for line in lines).get(cache_name, "0")
            yield limit, max(used - int(cache), 0)


def _cpu_quotas(root: str) -> Iterator[float]:
    """Yield the limits of the groups in cores."""
    for folder in _groups(root, "cpu"):
        words = "".join(_lines(os.path.join(folder, "cpu.max"))).split()
        if len(words) == 2 and words[0] != "max":
            yield int(words[0]) / int(words[1])
        quota = _number(os.path.join(folder, "cpu.cfs_quota_us"))
        period = _number(os.path.join(folder, "cpu.cfs_period_us"))
        if quota and quota > 0 and period:
            yield quota / period


def _groups(root: str, controller: str) -> list[str]:
    """Return the folders of the control groups around this process, innermost first."""
    top = os.path.join(root, CGROUPS.lstrip("/"))
    found = []
    for line in _lines(os.path.join(root, "proc/self/cgroup")) or ["0::/"]:
        number, controllers, path = line.strip().split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        hierarchy = top if number == "0" else os.path.join(top, controllers)
        parts = [part for part in path.split("/") if part not in ("", "..")]
        found += [os.path.join(hierarchy, *parts[:count]) for count in range(len(parts), -1, -1)]
    # in a container the path may be that of the machine, and only the top is seen
    return [folder for folder in dict.fromkeys(found) if os.path.isdir(folder)]


def _number(path: str) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _lines(path: str) -> list[str]:
    """Return the lines of a file of the system; [] if it does not exist or may not be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readlines()
    except OSError:
        return []
