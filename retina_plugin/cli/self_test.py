"""The self-tests of ``retina doctor``: findings from the output of
:mod:`retina_plugin.cli.self_test_process`.

The tests run in another process, because an incompatible library may end the process or hang. One
process runs all of them, because imports take longer than the tests.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from retina_plugin.engine.doctor.finding import BROKEN, NOTE, WARNING, Finding
from retina_plugin.engine.doctor.imports import cure_of
from retina_plugin.export.file_kind import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from retina_plugin.engine.doctor.finding import Check

TIMEOUT = 300.0  # seconds; all tests take about ten
RESULT = "result of a self-test: "  # start of a line of the other process; JSON follows
HOSTS = {"lightning": "Lightning", "detectron2": "Detectron2"}
FORMATS = ("torchscript", "onnx", "openvino")  # torch.export takes half as long as all tests


def self_test(test: str) -> Finding:
    """Return the finding of a test: a host, or a format of exported files. The first call runs all
    tests."""
    reason = _reason_to_skip(test)
    return Finding(NOTE, f"not run, because {reason}") if reason else _run_all()[test]


SELF_TESTS: dict[str, Check] = {
    **{f"self-test on {name}": functools.partial(self_test, host) for host, name in HOSTS.items()},
    **{f"self-test of --format {name}": functools.partial(self_test, name) for name in FORMATS},
}


def _reason_to_skip(test: str) -> str | None:
    from retina_plugin.engine.hosts import detectron2_problem

    if test == "detectron2" and detectron2_problem() is not None:
        return "Detectron2 cannot be used"
    missing = [name for name in LIBRARIES.get(test, ()) if importlib.util.find_spec(name) is None]
    return f"{' and '.join(missing)} cannot be imported" if missing else None


@functools.cache
def _run_all() -> dict[str, Finding]:
    """Run the tests on the CPU. If one of them ends the process, another process runs the rest."""
    remaining = [test for test in (*HOSTS, *FORMATS) if _reason_to_skip(test) is None]
    found: dict[str, Finding] = {}
    with tempfile.TemporaryDirectory() as folder:
        while remaining:
            found |= _run_process(remaining, folder)
            remaining = [test for test in remaining if test not in found]
    return found


def _run_process(tests: Sequence[str], folder: str) -> dict[str, Finding]:
    """Run tests in another process; return the finding of at least one test."""
    with open(os.path.join(folder, "output"), "w+b") as file:
        try:
            code: int | None = subprocess.run(
                [sys.executable, "-m", "retina_plugin.cli.self_test_process", folder, *tests],
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
        file.seek(0)
        output = file.read().decode("utf-8", errors="replace")
    found = dict(_results(output))
    unfinished = next((test for test in tests if test not in found), None)
    return {**found, unfinished: _unfinished(unfinished, code, output)} if unfinished else found


def _environment(folder: str) -> dict[str, str]:
    """Let the other process import this package, and write caches to the temporary folder."""
    import retina_plugin

    top = os.path.dirname(os.path.dirname(os.path.abspath(retina_plugin.__file__)))
    path = os.pathsep.join(filter(None, [top, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "RETINA_PLUGIN_CACHE": folder}


def _results(output: str) -> Iterator[tuple[str, Finding]]:
    """Yield (test, finding) of the tests that the other process has finished."""
    for line in output.splitlines():
        if line.startswith(RESULT):
            test, *finding = json.loads(line.removeprefix(RESULT))
            yield test, Finding(*finding)


def _unfinished(test: str, code: int | None, output: str) -> Finding:
    """Return the finding of a test that has ended its process.

    Args:
        test: the test.
        code: the exit code of the process; None if it did not end in time.
        output: its output.
    """
    if code is None:
        cure = "OMP_NUM_THREADS=1, if other programs use all cores"
        return failed(test, f"did not end in {TIMEOUT:.0f} seconds", cure)
    if code >= 0:
        last = next((x for x in reversed(output.splitlines()) if x.strip()), "no output")
        return failed(test, last, cure_of(RuntimeError(output), packages_of(test)))
    name = signal.Signals(-code).name
    cure = (
        "free memory: the system has probably ended it for want of memory"
        if name == "SIGKILL"
        else "a compiled library does not fit this machine: install numpy, opencv and "
        f"{packages_of(test)} again"
    )
    return failed(test, f"was ended by {name}", cure)


def failed(test: str, found: str, cure: str) -> Finding:
    """Return the finding of a test that fails; training works without the formats of files."""
    return Finding(BROKEN if test in HOSTS else WARNING, found, cure)


def packages_of(test: str) -> str:
    """Return the distributions that a test needs, as words for pip."""
    return " ".join(LIBRARIES.get(test, ("torch", "torchvision")))
