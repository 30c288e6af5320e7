"""``retina doctor``: lines, JSON, exit code, and the self-tests."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from retina_plugin.cli import doctor, main, self_test, self_test_process
from retina_plugin.engine.doctor.finding import Finding

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
GOOD = Finding("ok", "1.0")
POOR = Finding("warning", "both are installed", "uninstall one")
BAD = Finding("broken", "is not installed", "pip install it")


def set_checks(monkeypatch: pytest.MonkeyPatch, **findings: Finding) -> None:
    found = {name: lambda finding=finding: finding for name, finding in findings.items()}
    monkeypatch.setattr(doctor, "checks", lambda *, quick: found)


def test_lines_and_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    set_checks(monkeypatch, first=GOOD, second=POOR)
    main(["doctor"])
    assert capsys.readouterr().out.splitlines() == [
        "ok      first: 1.0",
        "warning second: both are installed. Cure: uninstall one",
        "2 checks: nothing is broken, 1 warning",
    ]
    set_checks(monkeypatch, first=BAD, second=GOOD)
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--quick"])
    assert end.value.code == 1
    assert capsys.readouterr().out.splitlines() == [
        "broken  first: is not installed. Cure: pip install it",
        "ok      second: 1.0",
        "2 checks: 1 broken",
    ]


def test_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    set_checks(monkeypatch, first=POOR)
    expected = [{"check": "first", "status": "warning", "found": POOR.found, "cure": POOR.cure}]
    main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out) == expected
    main(["doctor", "--json", str(tmp_path / "found.json")])
    assert "1 warning" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text()) == expected
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--json", str(tmp_path / "absent/found.json")])
    assert end.value.code == 2
    assert "error: cannot write" in capsys.readouterr().err


def test_quick_leaves_out_the_self_tests() -> None:
    assert not {*self_test.SELF_TESTS} & {*doctor.checks(quick=True)}
    assert {*self_test.SELF_TESTS} < {*doctor.checks(quick=False)}


def test_the_output_on_the_page(root: Path) -> None:
    page = (root / "docs/doctor.md").read_text(encoding="utf-8")
    *lines, end = page.split("```\n")[2].splitlines()
    checks = doctor.checks(quick=False)
    assert {line.split(maxsplit=1)[1].split(":")[0] for line in lines} <= {*checks}
    assert end.startswith(f"{len(checks)} checks: ")


def test_another_version_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "retina_plugin 1 from /a, Python 3.11\nwarning: version 2 is installed, but"
    monkeypatch.setattr("retina_plugin.cli.version.version", lambda: text)
    found = doctor.package()
    assert (found.status, "version 2 is installed" in found.found) == ("warning", True)


@pytest.mark.slow
def test_torch_and_torchvision_that_do_not_import(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.12: cannot open')")
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "sys.argv[1:] = ['doctor', '--quick', '--json']; import retina_plugin.cli as c; c.start()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    found = {entry["check"]: entry for entry in json.loads(done.stdout)}
    assert "another version of torch" in found["torch"]["cure"]
    assert "must be of the same release" in found["torchvision"]["cure"]
    assert found["GPU"]["status"] == "note"
    assert found["disk"]["status"] in ("ok", "warning")


@pytest.mark.slow
def test_the_self_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Formats take a second each; one without other libraries is enough here."""
    monkeypatch.chdir(tmp_path)
    self_test_process.main(str(tmp_path), [*HOSTS, "torchscript"])
    output = capsys.readouterr().out
    found = dict(self_test._results(output))
    assert {test: x.status for test, x in found.items()} == dict.fromkeys(
        [*HOSTS, "torchscript"], "ok"
    )
    assert found["lightning"].found.startswith(
        "trained, saved, resumed, evaluated and loaded a tiny model: "
    )
    assert output.count("continues at step 2 of 4") == len(HOSTS)
    (count,) = re.findall(r"batches of 1 and 3 \((\d+) detections\)", output)
    assert int(count) > 100  # a comparison of no detections would mean nothing
    assert (tmp_path / "model.pt").exists()


def test_a_format_that_fails_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here, no host has trained a model."""
    self_test_process.main(str(tmp_path), ["onnx"])
    ((test, found),) = self_test._results(capsys.readouterr().out)
    assert (test, found.status) == ("onnx", "warning")
    assert "RuntimeError: no host has trained a model" in found.found
    assert found.cure == "pip install --force-reinstall onnx onnxruntime"


def test_a_test_that_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests before it keep their findings, and another process runs those after it."""
    calls = []

    def run(command: list[str], *, stdout: IO[bytes], **_: Any) -> Any:
        tests = command[4:]
        calls.append(tests)
        stdout.write(b"noise\n")
        for test in tests:
            if test == "detectron2":
                return subprocess.CompletedProcess(command, -signal.SIGILL)
            if test == "openvino":
                raise subprocess.TimeoutExpired(command, 1)
            stdout.write(f'{self_test.RESULT}["{test}", "ok", "works", ""]\n'.encode())
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(self_test, "_reason_to_skip", lambda test: None)
    monkeypatch.setattr(subprocess, "run", run)
    found = self_test._run_all.__wrapped__()
    assert {test: x.status for test, x in found.items()} == {
        "lightning": "ok",
        "detectron2": "broken",
        "torchscript": "ok",
        "onnx": "ok",
        "openvino": "warning",
    }
    assert "was ended by SIGILL" in found["detectron2"].found
    assert "did not end in" in found["openvino"].found
    assert [tests[0] for tests in calls] == ["lightning", "torchscript"]


@pytest.mark.parametrize(
    ("code", "output", "words", "cure"),
    [
        (1, "Traceback\nRuntimeError: Numpy is not available\n", "RuntimeError: Numpy", "NumPy"),
        (-9, "", "was ended by SIGKILL", "free memory"),
        (-4, "noise", "was ended by SIGILL", "install numpy, opencv and torch torchvision again"),
        (2, "", "no output", "torch torchvision"),
        (None, "", "did not end in 300 seconds", "OMP_NUM_THREADS=1"),
    ],
)
def test_the_finding_of_a_test_that_has_ended_its_process(
    code: int | None, output: str, words: str, cure: str
) -> None:
    found = self_test._unfinished("lightning", code, output)
    assert found.status == "broken"
    assert words in found.found
    assert cure in found.cure


def test_tests_that_cannot_run_are_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retina_plugin.engine.hosts.detectron2_problem", lambda: "is absent")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    notes = {test: self_test.self_test(test) for test in ("detectron2", "onnx")}
    assert {x.status for x in notes.values()} == {"note"}
    assert "onnx and onnxruntime cannot be imported" in notes["onnx"].found
