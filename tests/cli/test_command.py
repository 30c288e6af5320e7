"""The command ``retina``: verbs, flags, help, version and start-up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import retina_plugin
from retina_plugin.cli.command import VERBS, main, parse
from retina_plugin.cli.version import version

CONFIG = ["--config-file", "a.yaml"]


def error(capsys: pytest.CaptureFixture, *argv: str) -> str:
    """Return the single line on standard error of a command that exits with code 2."""
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "expected a verb: train, eval, predict, export, report, data, "),
        (["tran", *CONFIG], "unknown verb tran: did you mean train?"),
        (["evaluate"], "unknown verb evaluate: did you mean eval?"),
        (
            ["xyz"],
            "unknown verb xyz: expected one of train, eval, predict, export, report, data, ",
        ),
        (["--versio"], "unknown flag --versio: did you mean --version?"),
        (["--verbose", "train", *CONFIG], "unknown flag --verbose"),
        (["--host", "lightning", "train"], "unknown flag --host: it stands after the verb"),
        (["-V"], "unknown flag -V (--help"),
        (["help"], "unknown verb help: did you mean --help?"),
        (["version"], "unknown verb version: did you mean --version?"),
        (["train", "--config-file", ""], "--config-file: expected the name of a file, found an"),
        (["config", ""], "FILE: expected the name of a file, found an empty text"),
        (["eval", "SEED", "1"], "or --config-file FILE; found only pairs KEY VALUE: SEED 1"),
        (["train"], "expected --data DATA or --config-file FILE"),
        (["train", "--confg-file", "a"], "unknown flag --confg-file: did you mean --config-file?"),
        (["train", *CONFIG, "--resme"], "unknown flag --resme: did you mean --resume?"),
        (["train", *CONFIG, "SEED", "1", "--ovrwrite"], "did you mean --overwrite?"),
        (["train", *CONFIG, "--numgpus=2"], "unknown flag --numgpus: did you mean --num-gpus?"),
        (["train", *CONFIG, "--num-gpus", "two"], "--num-gpus: invalid int value: 'two'"),
        (["train", *CONFIG, "--eval-only"], "unknown flag --eval-only"),
        (["train", *CONFIG, "--resume", "--overwrite"], "not allowed with argument"),
        (["train", *CONFIG, "--host", "d2"], "--host: invalid choice: 'd2'"),
        (["eval"], "expected the folder of a run, or --config-file FILE"),
        (["eval", "out", *CONFIG], "expected one of FOLDER and --config-file"),
        (["eval", "out", "--weight", "x"], "unknown flag --weight: did you mean --weights?"),
        (["config"], "the following arguments are required: FILE"),
        (["data"], "expected a verb: check, convert"),
        (
            ["data", "conver", "my", "--format", "yolo"],
            "unknown verb conver: did you mean convert?",
        ),
        (["data", "--verbose"], "unknown flag --verbose"),
        (["data", "convert", "my", "--output", "x"], "arguments are required: --format"),
        (["data", "convert", "my", "--output", "x", "--format", "csv"], "invalid choice: 'csv'"),
        (["data", "convert", "my", "--outpt", "x"], "unknown flag --outpt: did you mean --output?"),
        (["completion", "fish"], "invalid choice: 'fish'"),
        (["completion", "bash", "zsh"], "unexpected argument zsh"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture, argv: list[str], words: str) -> None:
    assert words in error(capsys, *argv)


def test_flags_and_overrides_in_any_order() -> None:
    pairs = ["SOLVER.BASE_LR", "-1e-3", "MODEL.PIXEL_MEAN", "[-1.0, 2]", "SEED", "-1"]
    for argv in ([*CONFIG, "--resume", *pairs], [*CONFIG, *pairs, "--resume"]):
        args = parse(["train", *argv])
        assert (args.opts, args.resume) == (pairs, True)
    args = parse(["train", "SEED", "2", "--num-gpus", "3", "SOLVER.GAMMA", "-2", *CONFIG])
    assert (args.opts, args.num_gpus) == (["SEED", "2", "SOLVER.GAMMA", "-2"], 3)


def test_the_folder_of_an_evaluation_is_the_first_of_an_odd_number_of_words() -> None:
    pair = ["DATASETS.TEST", "('a',)"]
    for argv, folder in (
        (["out", *pair, "--weights", "w"], "out"),
        (["--weights", "w", "out", *pair], "out"),
        ([*CONFIG, "--weights", "w", *pair], None),
    ):
        args = parse(["eval", *argv])
        assert (args.folder, args.opts, args.weights) == (folder, pair, "w")


@pytest.mark.parametrize("columns", [40, 100])
@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_has_an_example_and_fits_the_terminal(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, verb: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as end:
        main([*filter(None, [verb]), "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    example = "retina train" if not verb else f"retina {verb}"
    assert re.search(rf"^    .*{example} ", printed, flags=re.MULTILINE)
    assert verb != "config" or "coco/retinanet_R_101_FPN_GN_scratch_6x.yaml" in printed
    for line in printed.splitlines():  # commands and long names are not wrapped
        assert len(line) <= columns or line.startswith("    ") or " " not in line.strip()


def test_help_is_quick_and_imports_no_torch() -> None:
    """The process takes at most 0.3 s of CPU time."""
    code = (
        "import contextlib, sys\n"
        "from retina_plugin.cli.command import main, parse\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "parse(['train', '--config-file', 'a.yaml', 'SEED', '1'])\n"
        "assert not {'torch', 'detectron2', 'lightning', 'numpy', 'yaml'} & set(sys.modules)\n"
    )
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
        after = os.times()
        seconds.append(sum(after[2:4]) - sum(before[2:4]))
    assert min(seconds) < 0.3


def test_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    folder = os.path.dirname(retina_plugin.__file__)
    start = f"retina_plugin {retina_plugin.__version__} from {folder}, Python "
    assert capsys.readouterr().out.startswith(start)
    (tmp_path / "retina_plugin-9.8.7.dist-info").mkdir()
    (tmp_path / "retina_plugin-9.8.7.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: retina_plugin\nVersion: 9.8.7\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert f"warning: version 9.8.7 is installed, but Python finds {folder} first" in version()


def python(*argv: str, **options: Any) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *argv], timeout=120, **options)


def test_an_interrupted_start_is_quiet() -> None:
    code = (
        "import os, signal, sys\n"
        "from retina_plugin.cli.interrupts import exit_quietly_on_signals\n"
        "exit_quietly_on_signals()\n"
        "os.kill(os.getpid(), getattr(signal, sys.argv[1]))\n"
        "print('went on')\n"
    )
    for name, number in (("SIGINT", 130), ("SIGTERM", 143)):
        result = python("-c", code, name, capture_output=True, text=True)
        assert result.returncode == number
        assert (result.stdout, result.stderr) == ("", "interrupted before the start\n")


def test_closed_streams_and_poor_encodings() -> None:
    """Streams are closed under cron, and encodings are poor in old terminals."""
    command = f"{sys.executable} -m retina_plugin.cli --version"
    closed = subprocess.run(f"{command} <&- >&- 2>&-", shell=True, timeout=120)
    assert closed.returncode == 0
    code = "from retina_plugin.cli.output import *; make_streams_printable(); write('Größe 大')"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = python("-c", code, capture_output=True, text=True, env=env)
    assert (result.returncode, result.stdout) == (0, "Gr\\xf6\\xdfe \\u5927")


def test_a_closed_pipe() -> None:
    code = "from retina_plugin.cli.output import write\nfor _ in range(9999): write('x' * 99)"
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(reader)
    os.close(writer)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        result = python("-m", "retina_plugin.cli", "--version", stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 2
    assert result.stderr == (b"error: standard output cannot be written: No space left on device\n")
