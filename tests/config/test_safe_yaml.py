"""Ambiguous, broken or malicious config files and overrides: one message with the file and the
line."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.safe_yaml import MAX_BYTES, MAX_DEPTH, Entry, read_yaml
from tests.load_tools import load_tool

HOSTS = {"lightning": "retina_plugin.config"}
if importlib.util.find_spec("detectron2") is not None:
    HOSTS["detectron2"] = "retina_plugin.d2"


def write(folder: Path, content: str | bytes) -> str:
    path = folder / "config.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def bomb() -> str:
    """Nine groups of nine aliases each: 9^9 values in 300 characters."""
    names = "abcdefghi"
    first = f"{names[0]}: &{names[0]} [{','.join('x' * 9)}]\n"
    return first + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in pairwise(names))


def chain(link: str) -> str:
    """A thousand nested aliases: each line is shallow, but the whole value is deep."""
    return "x0: &x0 {k: 1}\n" + "".join(
        f"x{i}: &x{i} {link.format(i - 1)}\n" for i in range(1, 1000)
    )


HOSTILE = [
    pytest.param(
        "SEED: 1\nSEED: 2", "line 2: key SEED is given twice, in line 1 and in line 2", id="twice"
    ),
    pytest.param(
        "SOLVER:\n  MAX_ITER: 1\n  BASE_LR: 0.1\n  MAX_ITER: 2",
        "line 4: key MAX_ITER is given twice, in line 2 and in line 4",
        id="twice in a group",
    ),
    pytest.param(
        "SOLVER: {MAX_ITER: 1}\nSOLVER: {BASE_LR: 0.1}",
        "key SOLVER is given twice",
        id="a group twice",
    ),
    pytest.param(
        "SOLVER: {MAX_ITER: 1}\nSOLVER.MAX_ITER: 2",
        "key SOLVER.MAX_ITER is given twice, in line 1",
        id="dotted",
    ),
    pytest.param(
        "SOLVER:\n  <<: {MAX_ITER: 1,\n    MAX_ITER: 2}",
        "MAX_ITER is given twice",
        id="twice in a merge",
    ),
    pytest.param(
        "SOLVER: {<<: [{MAX_ITER: 1}, {MAX_ITER: 2}]}",
        "MAX_ITER is given twice",
        id="in two merged groups",
    ),
    pytest.param("SOLVER: {<<: {SEED: 1}, <<: {SEED: 2}}", "SEED is given twice", id="two merges"),
    pytest.param(
        "SOLVER: {<<: 3}", "line 1: << merges groups of keys, found '3'", id="merge of a number"
    ),
    pytest.param(
        "SOLVER: &a {<<: *a}", r"line 1: alias \*a is inside the value", id="merge of itself"
    ),
    pytest.param(
        "SEED: 1\nSOLVER: &a {MAX_ITER: *a}",
        r"line 2: alias \*a is inside the value",
        id="own alias",
    ),
    pytest.param(
        "SOLVER: {STEPS: &a [1, *a]}",
        r"alias \*a is inside the value",
        id="own alias in a list",
    ),
    pytest.param("SEED: *nothing", "is not YAML: found undefined alias", id="alias of nothing"),
    pytest.param(bomb(), "more than 100000 values after aliases are replaced", id="alias bomb"),
    pytest.param(
        chain("{{k: *x{0}}}"), f"nested more than {MAX_DEPTH} deep", id="chain of aliases"
    ),
    pytest.param(
        chain("{{<<: *x{0}}}"), f"nested more than {MAX_DEPTH} deep", id="chain of merges"
    ),
    pytest.param(
        "SOLVER: {STEPS: " + "[" * 10_000,
        f"line 1: groups and lists are nested more than {MAX_DEPTH} deep",
        id="deep list",
    ),
    pytest.param("{a: " * 10_000, f"nested more than {MAX_DEPTH} deep", id="deep groups"),
    pytest.param("- " * 10_000, f"nested more than {MAX_DEPTH} deep", id="deep block"),
    pytest.param("SEED: " + "9" * 5000, "line 1: 9{40} cannot be read as int", id="5000 digits"),
    pytest.param(
        "\nSEED: " + "9" * 30, "line 2: SEED: expected a number of at most 64 bits", id="30 digits"
    ),
    pytest.param(
        "SEED: 0x" + "f" * 5000, "SEED: expected a number of at most 64 bits", id="hexadecimal"
    ),
    pytest.param("SEED: 010", "line 1: 010 is an octal or sexagesimal number", id="octal"),
    pytest.param(
        "SOLVER: {MAX_ITER: 1:30}", "1:30 is an octal or sexagesimal number", id="sexagesimal"
    ),
    pytest.param(
        "SOLVER: {BASE_LR: .inf}", "SOLVER.BASE_LR: expected a finite number, found inf", id="inf"
    ),
    pytest.param(
        "SOLVER: {BASE_LR: -.inf}",
        "SOLVER.BASE_LR: expected a finite number, found -inf",
        id="-inf",
    ),
    pytest.param(
        "SOLVER: {BASE_LR: .nan}", "SOLVER.BASE_LR: expected a finite number, found nan", id="nan"
    ),
    pytest.param(
        "SOLVER: {BASE_LR: 1e999}",
        "SOLVER.BASE_LR: expected a finite number, found inf",
        id="overflow",
    ),
    pytest.param(
        "INPUT: {CROP: {SIZE: [.nan, 1]}}",
        "CROP.SIZE: expected a finite number",
        id="nan in a list",
    ),
    pytest.param(
        "1: 2",
        "line 1: expected the name of a key, such as SOLVER, found '1'",
        id="a number as key",
    ),
    pytest.param(
        "null: 2", "expected the name of a key, such as SOLVER, found 'null'", id="null as key"
    ),
    pytest.param(
        "SEED: 1\ntrue: 2", "line 2: expected the name of a key, .* found 'true'", id="true as key"
    ),
    pytest.param(
        "? [a, b]\n: 1",
        "expected the name of a key, such as SOLVER, found a list",
        id="a list as key",
    ),
    pytest.param(
        "SOLVER:\n\tMAX_ITER: 1", "line 2 is not YAML: .* cannot start any token", id="tab"
    ),
    pytest.param(
        "SEED: 1\n---\nSEED: 2", "is not YAML: expected a single document", id="two documents"
    ),
    pytest.param("SEED: \0", "line 1: character #x0000 is not text", id="null character"),
    pytest.param(b"SEED: 1\nOUTPUT_DIR: \xfc", "line 2: byte 0xfc is not UTF-8", id="latin-1"),
    pytest.param("SEED: 1".encode("utf-16"), "line 1: byte 0xff is not UTF-8", id="utf-16"),
    pytest.param(bytes(range(128, 256)), "line 1: byte 0x80 is not UTF-8", id="binary"),
    pytest.param(
        b"#" * (MAX_BYTES + 1), f"expected at most {MAX_BYTES}. Is it a config", id="too large"
    ),
    pytest.param(
        'OUTPUT_DIR: "a\\0b"', "OUTPUT_DIR: .* not allowed in file names", id="null in a value"
    ),
    pytest.param(
        'OUTPUT_DIR: "\\ud800"',
        "OUTPUT_DIR: .* not allowed in file names",
        id="half a character",
    ),
    pytest.param("SEED: !!int x", "line 1: x cannot be read as int", id="no integer"),
    pytest.param("SEED: !!bool x", "line 1: x cannot be read as bool", id="not a bool"),
    pytest.param("SEED: !!binary 'x'", "line 1: tag !!binary is not allowed", id="bytes"),
    pytest.param("SEED: !mine 3", "line 1: tag !mine is not allowed", id="own tag"),
    pytest.param("SOLVER: !!set {STEPS}", "line 1: tag !!set is not allowed", id="set"),
    pytest.param(
        "SOLVER: {STEPS: [{a: 1}]}", "line 1: SOLVER.STEPS: expected text, a number", id="groups"
    ),
    pytest.param(
        "_BASE_: [a.yaml, b.yaml]",
        "line 1: _BASE_: expected the name of one file, found",
        id="two bases",
    ),
    pytest.param(
        "SEED: 1\n_BASE_:",
        "line 2: _BASE_: expected the name of one file, found None",
        id="no base",
    ),
    pytest.param("_BASE_: .", r"cannot be read: it is a directory", id="a folder"),
    pytest.param(
        '_BASE_: "a\\0b"', "line 1: _BASE_: .* not allowed in file names", id="null in a base"
    ),
    pytest.param("_BASE_: loop/config.yaml", "_BASE_ is circular", id="a base through a link"),
]


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("content", "words"), HOSTILE)
def test_hostile_files(tmp_path: Path, host: str, content: str | bytes, words: str) -> None:
    (tmp_path / "loop").symlink_to(".")
    path = write(tmp_path, content)
    with pytest.raises(ConfigError, match=words) as error:
        importlib.import_module(HOSTS[host]).get_cfg().merge_from_file(path)
    assert str(tmp_path) in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.mkdir, "it is a directory, not a file"),
        (os.mkfifo, "it is a FIFO, not a file"),  # opening a FIFO would wait for a writer
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
        (lambda path: None, "No such file"),
    ],
)
def test_paths_that_are_not_regular_files(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "config.yaml"
    make(path)
    with pytest.raises(ConfigError, match=rf"config file {path} cannot be read: {words}"):
        read_yaml(str(path))


@pytest.mark.parametrize(
    ("content", "entries"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("# nothing\n---\n", [], id="comments"),
        pytest.param(b"\xef\xbb\xbfSEED: 7", [("SEED", 7, 1)], id="byte order mark"),
        pytest.param("SOLVER: {}\nSEED: 7", [("SEED", 7, 2)], id="empty group"),
        pytest.param(
            "SOLVER: {MAX_ITER: 3,\n  STEPS: [1, 2]}\nSOLVER.BASE_LR: 0.1",
            [("SOLVER.MAX_ITER", 3, 1), ("SOLVER.STEPS", [1, 2], 2), ("SOLVER.BASE_LR", 0.1, 3)],
            id="nested and dotted",
        ),
        pytest.param(
            "SOLVER: {<<: {MAX_ITER: 1, BASE_LR: 0.1}, MAX_ITER: 5}",
            [("SOLVER.MAX_ITER", 5, 1), ("SOLVER.BASE_LR", 0.1, 1)],
            id="a merge gives what a group lacks",
        ),
        pytest.param(
            "DATASETS: {TRAIN: &own [a],\n  TEST: *own}",
            [("DATASETS.TRAIN", ["a"], 1), ("DATASETS.TEST", ["a"], 2)],
            id="alias",
        ),
        pytest.param(
            "OUTPUT_DIR: 2024-05-01", [("OUTPUT_DIR", "2024-05-01", 1)], id="a date is a text"
        ),
    ],
)
def test_valid_files(tmp_path: Path, content: str | bytes, entries: list[tuple]) -> None:
    assert read_yaml(write(tmp_path, content)) == [Entry(*entry) for entry in entries]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("SOLVER.STEPS", "[" * 1500 + "]" * 1500, r"expected tuple like .* \(3002 characters\)"),
        ("SOLVER.STEPS", "-" * 5000 + "1", "-{60} is not a value that can be read"),
        ("SOLVER.STEPS", "+".join(["1"] * 30_000), ".* is not a value that can be read"),
        ("SOLVER.STEPS", "{[]: 1}", ".* is not a value that can be read"),
        ("SOLVER.STEPS", "({1},)", "expected text, a number or a list of them, found set {1}"),
        ("SOLVER.STEPS", "...", "expected tuple like"),
        (
            "SOLVER.WEIGHT_DECAY_BIAS",
            "b'x'",
            "expected text, a number or a list of them, found bytes",
        ),
        ("SOLVER.MAX_ITER", "1e30", "expected int like 40000, found float"),
        ("SOLVER.BASE_LR", "1e999", "expected a finite number, found inf"),
        ("SOLVER.BASE_LR", "1" * 400, "expected a number of at most 64 bits"),
        ("SOLVER.BASE_LR", "1+1j", "expected float like 0.001, found complex"),
        ("MODEL.RETINANET.FOCAL_LOSS_ALPHA", "[0.5, 1e999]", "expected a finite number"),
    ],
    ids=lambda text: text[:20],
)
def test_hostile_overrides(host: str, key: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"command line: {key}: {words}"):
        importlib.import_module(HOSTS[host]).get_cfg().merge_from_list([key, value])


def test_text_stays_text() -> None:
    cfg = importlib.import_module(HOSTS["lightning"]).get_cfg()
    cfg.merge_from_list(["OUTPUT_DIR", "2024", "MODEL.WEIGHTS", "'a b.pth'"])
    assert (cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS) == ("2024", "a b.pth")


def test_an_override_given_twice_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    cfg = importlib.import_module(HOSTS["lightning"]).get_cfg()
    cfg.merge_from_list(["SEED", "1", "SOLVER.MAX_ITER", "2", "SEED", "3"])
    assert cfg.SEED == 3
    assert caplog.messages == ["command line: SEED is given 2 times; the last value is used"]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        *(("train_net", ["--host", host]) for host in HOSTS),
        ("visualize_data", []),
        ("analyze_model", []),
        ("plot_losses", []),
        ("demo", ["--input", __file__, "--weights", "none.pth"]),
    ],
)
def test_every_tool_refuses_them(tmp_path: Path, tool: str, arguments: list[str]) -> None:
    config = write(tmp_path, "SOLVER: &a {MAX_ITER: *a}")
    with pytest.raises(ConfigError, match=r"config\.yaml, line 1: alias"):
        load_tool(tool).main(["--config-file", config, *arguments])
