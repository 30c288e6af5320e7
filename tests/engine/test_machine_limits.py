"""Memory and cores within control groups; the folders are written by the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retina_plugin.engine.machine_limits import free_memory, memory_limit, usable_cores

MEMINFO = "MemTotal: 8000 kB\nMemAvailable:    4000 kB\n"
GROUPS = {
    "none": {"proc/self/cgroup": "0::/\n"},
    "container": {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "3000000\n",
        "sys/fs/cgroup/memory.current": "2000000\n",
        "sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 500000\n",
        "sys/fs/cgroup/cpu.max": "50000 100000\n",
    },
    "no limit": {
        "proc/self/cgroup": "0::/a\n",
        "sys/fs/cgroup/a/memory.max": "max\n",
        "sys/fs/cgroup/a/cpu.max": "max 100000\n",
    },
    "parent": {
        "proc/self/cgroup": "0::/job/step\n",
        "sys/fs/cgroup/job/step/memory.max": "max\n",
        "sys/fs/cgroup/job/memory.max": "1000000\n",
        "sys/fs/cgroup/job/memory.current": "600000\n",
    },
    "version 1": {
        "proc/self/cgroup": "4:memory:/docker/x\n2:cpu,cpuacct:/docker/x\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "1500000\n",
        "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 100000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    },
    "version 1 without limits": {
        "proc/self/cgroup": "4:memory:/\n2:cpu:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    },
}


@pytest.mark.parametrize(
    ("kind", "free", "limit", "cores"),
    [
        ("none", 4_096_000, None, 2),
        ("container", 1_500_000, 3_000_000, 1),
        ("no limit", 4_096_000, None, 2),
        ("parent", 400_000, 1_000_000, 2),
        ("version 1", 600_000, 2_000_000, 1),
        ("version 1 without limits", 4_096_000, None, 2),
    ],
)
def test_limits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    free: int,
    limit: int | None,
    cores: int,
) -> None:
    for name, text in {**GROUPS[kind], "proc/meminfo": MEMINFO}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    root = str(tmp_path)
    assert (free_memory(root), memory_limit(root), usable_cores(root)) == (free, limit, cores)


def test_a_system_without_these_files(tmp_path: Path) -> None:
    assert free_memory(str(tmp_path)) > 0
    assert memory_limit(str(tmp_path)) is None
    assert usable_cores(str(tmp_path)) >= 1
