"""Every command, program and config on a page is run: by a test of this file, or by another one
that a table here names. What cannot run has a reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from retina_plugin.cli import command
from retina_plugin.config import check_rules, get_cfg
from tests.load_tools import load_tool
from tests.scenes import write_scenes
from tests.test_docs import (
    PAGES,
    SMALL,
    TEST,
    TRAIN,
    blocks,
    commands,
    named_block,
    quick,
    workspace,
)

__all__ = ["workspace"]  # a fixture

# Pages whose commands run here -> folders that must contain a trained run before.
RUN_HERE = {
    "README.md": [],
    "docs/augmentation.md": [],
    "docs/config.md": [],
    "docs/data_checks.md": [],
    "docs/deploy.md": ["out"],
    "docs/detection.md": ["output/digits"],
    "docs/report.md": ["out", "other_run"],
    "docs/training.md": [],
    "docs/your_own_data.md": [],
}
# Pages none of whose commands run here.
ELSEWHERE = {
    "CONTRIBUTING.md": "the checks of the project itself",
    "docs/accuracy.md": "hours; tests/tools/test_compare_recipes.py",
    "docs/benchmarks.md": "minutes; tests/tools/test_benchmark.py",
    "docs/doctor.md": "tests/cli/test_doctor.py",
    "docs/gallery.md": "minutes, except the command of docs/augmentation.md",
    "docs/install.md": "pip; .ci/run installs the package and its wheel",
    "docs/models.md": "minutes; tests/tools/test_compare_models.py",
    "docs/plugin.md": "tests/test_docs.py",
    "docs/predict.md": "tests/inference/test_page.py",
    "docs/theory.md": "minutes; tests/tools/test_tools.py",
    "docs/trackers.md": "needs W&B; tests/test_trackers_on_hosts.py",
    "docs/weights.md": "files of other projects; tests/lit/test_torchvision_weights.py",
}
# Beginnings of lines on the pages of RUN_HERE that do not run here.
NOT_HERE = {
    "pip install": "see docs/install.md above",
    "retina train --config-file digits/retinanet_compact.yaml": (
        "minutes; tests/test_published_numbers.py"
    ),
    "curl": "tests/export/test_deploy_page.py sends this request",
    "g++": "tests/export/test_deploy_page.py compiles the program if the headers are installed",
    "./detect": "tests/export/test_deploy_page.py",
}
# Programs and configs -> the test that uses them.
PROGRAMS = {
    ("docs/accuracy.md", "yaml", ""): "tests/tools/test_compare_recipes.py",
    ("docs/plugin.md", "yaml", "my.yaml"): "tests/test_docs.py",
    ("docs/plugin.md", "yaml", "seven.yaml"): "tests/test_docs.py",
    ("docs/predict.md", "python", ""): "tests/inference/test_page.py",
    ("docs/your_own_data.md", "json", ""): "tests/test_docs.py",
    ("docs/your_own_data.md", "yaml", "early_stop.yaml"): "tests/test_docs.py",
}
YAML = ["docs/detection.md", "docs/models.md", "docs/trackers.md"]  # read by a test below
EXPECTED = {  # page -> files that its commands write
    "README.md": ["found/detections.json", "out/report.html", "model.onnx", "out3/metrics.json"],
    "docs/augmentation.md": ["out_light/model_final.pth", "pictures/*.jpg"],
    "docs/config.md": ["out/model_final.pth"],
    "docs/data_checks.md": ["findings.json", "my_repaired/*"],
    "docs/deploy.md": ["model.onnx", "evaluation/**/coco_instances_results.json"],
    "docs/detection.md": ["output/digits/inference/coco_instances_results.json"],
    "docs/report.md": ["out/report.html", "out/report_label_errors.csv", "comparison.html"],
    "docs/training.md": ["out_best/model_final.pth", "out_timed/model_final.pth"],
    "docs/your_own_data.md": [
        *(f"{folder}/**/*.jpg" for folder in ("pictures", "fed", "looked", "found")),
        "found/detections.json",
        "my_yolo/data.yaml",
        "out2/predictions.png",
    ],
}


def lines(root: Path, page: str) -> list[str]:
    """Return the lines of all ``bash`` blocks of a page, with continued lines joined."""
    text = "\n".join(text for _, text in blocks(root, page, "bash")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line]


def is_left_out(words: list[str]) -> bool:
    return any(" ".join(words).startswith(beginning) for beginning in NOT_HERE)


def test_every_page_with_commands_is_in_a_table(root: Path) -> None:
    assert {*RUN_HERE, *ELSEWHERE} == {page for page in PAGES if lines(root, page)}
    assert not {*RUN_HERE} & {*ELSEWHERE}


@pytest.mark.parametrize("page", RUN_HERE)
def test_every_line_runs_or_has_a_reason(root: Path, page: str) -> None:
    found = [line for line in lines(root, page) if not is_left_out(line.split())]
    assert len(found) == len([words for words in commands(root, page) if not is_left_out(words)])


def test_named_tests_exist(root: Path) -> None:
    for reason in (*ELSEWHERE.values(), *NOT_HERE.values(), *PROGRAMS.values()):
        for path in re.findall(r"tests/\S+\.py", reason):
            assert (root / path).is_file()


def test_every_program_and_config_is_used(root: Path) -> None:
    """A named Python block is used by a test that has its page and name as arguments."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (root / "tests").rglob("*.py"))
    for page in PAGES:
        text = (root / page).read_text(encoding="utf-8")
        for language, name in re.findall(r"^```(\w+) ?(\S*)$", text, flags=re.MULTILINE):
            if language in ("bash", "math") or (page, language, name) in PROGRAMS:
                continue
            is_here = (page, language) in [("README.md", "python"), *((p, "yaml") for p in YAML)]
            assert is_here or f'"{name}"' in sources, f"{page}: {language} {name}"


def prepare(page: str) -> None:
    """Write what the page takes for granted: a validation set without training images, new images,
    and the folders of trained runs."""
    write_scenes(Path("val"), count=3, seed=1)
    content = json.loads(Path("val/annotations.json").read_text(encoding="utf-8"))
    for image in content["images"]:
        name, image["file_name"] = image["file_name"], f"val_{image['file_name']}"
        Path("val/images", name).rename(Path("my/images", image["file_name"]))
    Path("my/val.json").write_text(json.dumps(content), encoding="utf-8")
    Path("my/annotations.json").unlink()  # the images of train.json
    for name in ("photo.jpg", "folder/a.jpg", "more/another.png", "more/another.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.open("my/images/001.png").save(name)
    for folder in RUN_HERE[page]:
        config = ["--config-file", "digits/retinanet_paper.yaml"]
        run(["retina", "train", *config, "OUTPUT_DIR", folder])


def run(words: list[str]) -> None:
    """Run a command of a page; a training has few steps, small images and a small network."""
    path, *argv = words
    if "--minutes" in argv:  # the number of steps is given instead
        del argv[(at := argv.index("--minutes")) : at + 2]
    if {"--config-file", "--data"} & {*argv} and argv[0] != "eval" and "--dataset" not in argv:
        options = dict(SMALL)
        if "MODEL.WEIGHTS" in argv:
            options["MODEL.WEIGHTS"] = argv[argv.index("MODEL.WEIGHTS") + 1]
        if "DATASETS.TRAIN" not in argv and "--data" not in argv:
            options |= {"DATASETS.TRAIN": TRAIN, "DATASETS.TEST": TEST}
        argv += quick(**options)
    main = command.main if path == "retina" else load_tool(Path(path).stem).main
    main(argv)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_HERE)
def test_commands_run_in_order(
    workspace: Path, root: Path, page: str, capsys: pytest.CaptureFixture
) -> None:
    if any("onnx" in line for line in lines(root, page)):
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    prepare(page)
    for words in commands(root, page):
        if not is_left_out(words):
            run(words)
    for path in EXPECTED[page]:
        assert list(workspace.glob(path)), path
    if page == "README.md":
        (program,) = [text for _, text in blocks(root, page, "python")]
        exec(program, {})
        assert (workspace / "found.jpg").is_file()
    if page == "docs/your_own_data.md":
        assert "model_final.pth (names unchanged): " in capsys.readouterr().out


@pytest.mark.parametrize("page", YAML)
def test_configs_of_a_page(root: Path, tmp_path: Path, page: str, write_modules: Callable) -> None:
    """They are read, and their values pass the checks."""
    if page == "docs/trackers.md":
        write_modules(my_tracker=named_block(root, page, "python", "my_tracker.py"))
    for number, (_, text) in enumerate(blocks(root, page, "yaml")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text, encoding="utf-8")
        cfg = get_cfg()
        cfg.merge_from_file(str(path))
        check_rules(cfg)
