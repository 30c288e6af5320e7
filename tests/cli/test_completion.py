"""The completion scripts, executed by bash and zsh."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from retina_plugin.cli.command import build_parser
from retina_plugin.cli.completion import script

TRY = """
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _retina
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(folder: Path, *words: str) -> list[str]:
    """Completions that bash offers for the last word."""
    command = ["bash", "-c", script("bash", build_parser()) + TRY, "bash", "retina", *words]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60)
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").touch()
    (tmp_path / "digits_run").mkdir()
    for words, expected in (
        (["tr"], ["train"]),
        (["train", "--over"], ["--overwrite"]),
        (["train", "--host", ""], ["auto", "detectron2", "lightning"]),
        (["train", "--num-gpus", ""], []),
        (["train", "--config-file", "digits.y"], ["digits.yaml"]),
        (["train", "--config-file", "digits/retinanet_c"], ["digits/retinanet_compact.yaml"]),
        (["train", "--config-file", "=", "digits.y"], ["digits.yaml"]),
        (["train", "--host", "="], ["auto", "detectron2", "lightning"]),
        (["config", "digits/retinanet_o"], ["digits/retinanet_one_anchor.yaml"]),
        (["train", "--config-file", "a", "SOLVER.MAX_"], ["SOLVER.MAX_ITER"]),
        (["eval", "digits_"], ["digits_run"]),
        (["completion", "z"], ["zsh"]),
        (["data", "con"], ["convert"]),
        (["data", "convert", "--fo"], ["--format"]),
        (["data", "convert", "--format", "y"], ["yolo"]),
        (["data", "convert", "digits_"], ["digits_run"]),
        (["nonsense", "x"], []),
    ):
        assert completed(tmp_path, *words) == expected, words


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_reads_its_script() -> None:
    text = script("zsh", build_parser())
    subprocess.run(["zsh", "-n"], input=text, text=True, check=True, timeout=60)


ZSH_TRY = """
words=("$@"); CURRENT=$#; _retina
"""
# print what zsh would offer, before it selects by the beginning of the word
ZSH_STUBS = """
compdef() { : }
compadd() { shift; print -l -- "$@" }
_files() { print files }
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh(tmp_path: Path) -> None:
    text = ZSH_STUBS + script("zsh", build_parser()) + ZSH_TRY
    for words, included, excluded in (
        ([""], {"train", "config", "--version"}, {"--host", "files"}),
        (["train", ""], {"--overwrite", "--host"}, {"train", "SOLVER.MAX_ITER", "files"}),
        (["train", "--host", ""], {"auto", "lightning"}, {"--host"}),
        (["train", "--config-file", ""], {"digits/retinanet_compact.yaml", "files"}, {"--host"}),
        (["train", "S"], {"SOLVER.MAX_ITER"}, {"--host"}),
        (["eval", ""], {"--weights", "files"}, {"--overwrite"}),
        (["completion", ""], {"bash", "zsh"}, {"files"}),
        (["nonsense", ""], set(), {"train", "files"}),
    ):
        command = ["zsh", "-f", "-c", text, "zsh", "retina", *words]
        result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
        offered = set(result.stdout.split())
        assert result.stderr == ""
        assert included <= offered, words
        assert not excluded & offered, words


def test_both_shells_have_the_same_cases() -> None:
    bash, zsh = (script(shell, build_parser()) for shell in ("bash", "zsh"))
    cases = [line for line in bash.splitlines() if line.endswith(";;") and "keys" not in line]
    assert len(cases) > 10
    assert all(line in zsh for line in cases)
    assert "@" not in bash + zsh.replace("$@", "")
