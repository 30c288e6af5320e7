"""``retina doctor``: lines, JSON, exit code, and the self-test on both hosts."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from retina_plugin.cli import doctor, main, self_test
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
@pytest.mark.parametrize("host", HOSTS)
def test_the_self_test(tmp_path: Path, capsys: pytest.CaptureFixture, host: str) -> None:
    self_test.main(host, str(tmp_path))
    output = capsys.readouterr().out
    assert output.splitlines()[-1].startswith(
        "trained, saved, resumed, evaluated, loaded and exported"
    )
    assert "continues at step 2 of 4" in output


@pytest.mark.parametrize(
    ("code", "output", "status", "words"),
    [
        (0, "noise\ntrained\n", "ok", "trained in 7 seconds"),
        (1, "Traceback\nRuntimeError: Numpy is not available\n", "broken", "RuntimeError: Numpy"),
        (-9, "", "broken", "was ended by SIGKILL"),
        (-4, "noise", "broken", "was ended by SIGILL"),
        (2, "", "broken", "no output"),
    ],
)
def test_the_end_of_the_self_test(code: int, output: str, status: str, words: str) -> None:
    found = self_test._finding(code, output, seconds=7.2)
    assert (found.status, words in found.found) == (status, True)
    assert bool(found.cure) == (status != "ok")
