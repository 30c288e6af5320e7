"""The documentation agrees with the code: its code blocks run, its commands parse, and its
generated pages are up to date."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import json
import math
import re
import runpy
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from retina_plugin import build_model, get_cfg, load_weights
from retina_plugin.cli import command
from retina_plugin.config import ConfigError, check_rules
from retina_plugin.config.packaged import packaged_configs
from retina_plugin.config.registry import REGISTRIES
from retina_plugin.data import load_dataset
from retina_plugin.data.transforms import TransformChain
from retina_plugin.engine.trackers import TRACKERS, RunTrackers
from retina_plugin.engine.trackers.tracker import TrackedRun
from retina_plugin.modeling import (
    BACKBONE_REGISTRY,
    NECK_REGISTRY,
)
from retina_plugin.modeling.build_backbone import build_backbone, register_pairs
from tests.load_tools import load_tool
from tests.models import compact_cfg
from tests.scenes import write_scenes

HAS_DETECTRON2 = importlib.util.find_spec("detectron2") is not None
HOSTS = ["lightning"] + ["detectron2"] * HAS_DETECTRON2
TRAIN, TEST = "('my/train.json@my/images',)", "('my/val.json@my/images',)"
SEVEN = [
    "my_class_loss.py",
    "my_assigner.py",
    "my_box_coder.py",
    "my_neck.py",
    "my_head.py",
    "my_suppressor.py",
    "my_transform.py",
]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/install.md",
    "docs/doctor.md",
    "docs/trackers.md",
    "docs/plugin.md",
    "docs/your_own_data.md",
    "docs/data_checks.md",
    "docs/planning.md",
    "docs/training.md",
    "docs/augmentation.md",
    "docs/detection.md",
    "docs/predict.md",
    "docs/deploy.md",
    "docs/report.md",
    "docs/gallery.md",
    "docs/weights.md",
    "docs/theory.md",
    "docs/benchmarks.md",
    "docs/config.md",
    "docs/models.md",
    "docs/architecture.md",
    "docs/accuracy.md",
]
PACKAGED_FOLDERS = ("bccd", "cards", "coco", "digits")
# Overrides that let every run of these pages take seconds.
QUICK = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.RETINA_PLUGIN.TEST.REPORT": "False",
    "SOLVER.MAX_ITER": "2",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.CHECKPOINT_PERIOD": "100",
    "INPUT.MIN_SIZE_TRAIN": "(64, 64)",  # valid for MIN_SIZE_TRAIN_SAMPLING choice and range
    "INPUT.MIN_SIZE_TEST": "64",
    "DATALOADER.NUM_WORKERS": "0",
}

SMALL = {
    "MODEL.RESNETS.DEPTH": "18",
    "MODEL.RESNETS.RES2_OUT_CHANNELS": "32",
    "MODEL.FPN.OUT_CHANNELS": "32",
}


def blocks(root: Path, page: str, language: str) -> list[tuple[str, str]]:
    """Return (file name or "", text) of each code block of a page in ``language``."""
    text = (root / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language} ?(\S*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def named_block(root: Path, page: str, language: str, name: str) -> str:
    (text,) = [text for found, text in blocks(root, page, language) if found == name]
    return text


def commands(root: Path, page: str) -> list[list[str]]:
    """Return the arguments of each ``python tools/...`` and ``retina ...`` command of a page,
    starting with the path of the tool or with ``retina``."""
    text = "\n".join(text for _, text in blocks(root, page, "bash")).replace("\\\n", " ")
    start = r"(?:^|&& )(?:[A-Z0-9_]+=\S+ )*"  # variables of the environment may come first
    found = re.findall(rf"{start}(?:python (tools/.*)|(retina [^&\n]*))", text, flags=re.MULTILINE)
    return [shlex.split(tool or command, comments=True) for tool, command in found]


def parse(path: str, argv: list[str]) -> None:
    """Parse the command line of a tool or of ``retina``."""
    if path == "retina":
        with contextlib.suppress(SystemExit) if "--version" in argv else contextlib.nullcontext():
            command.parse(argv)
    else:
        load_tool(Path(path).stem).parse(argv)


def quick(**others: str) -> list[str]:
    return [word for pair in (QUICK | others).items() for word in pair]


@pytest.fixture
def workspace(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder as the pages assume it: ``configs/``, ``my/{train,val}.json`` and
    ``my/images``."""
    shutil.copytree(root / "configs", tmp_path / "configs")
    write_scenes(tmp_path / "my", count=6, seed=0)
    for name in ("train", "val"):
        shutil.copy(tmp_path / "my/annotations.json", tmp_path / f"my/{name}.json")
    monkeypatch.chdir(tmp_path)
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def clean_registries() -> Iterator[None]:
    """Remove what the examples register after the test."""
    tables = [registry._parts for registry in (*REGISTRIES, BACKBONE_REGISTRY)]
    before, modules = [dict(table) for table in tables], set(sys.modules)
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    for name in set(sys.modules) - modules:
        if name.startswith("my_"):
            sys.modules.pop(name)
    if HAS_DETECTRON2:
        from detectron2.modeling import BACKBONE_REGISTRY as THEIRS

        for name in [n for n in THEIRS._obj_map if "damped" in n or "plain_lateral" in n]:
            THEIRS._obj_map.pop(name)


def write_blocks(
    root: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, names: dict[str, str]
) -> Path:
    """Write code blocks of docs/plugin.md to files and put their folder on ``sys.path``.

    ``names`` maps a file name to its language.
    """
    for wanted, language in names.items():
        text = named_block(root, "docs/plugin.md", language, wanted)
        (workspace / wanted).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(workspace))
    return workspace


@pytest.fixture
def own_parts(
    workspace: Path, root: Path, monkeypatch: pytest.MonkeyPatch, clean_registries: None
) -> Path:
    names = {"my_parts.py": "python", "my.yaml": "yaml"}
    return write_blocks(root, workspace, monkeypatch, names)


@pytest.fixture
def seven_parts(
    workspace: Path, root: Path, monkeypatch: pytest.MonkeyPatch, clean_registries: None
) -> Path:
    return write_blocks(
        root, workspace, monkeypatch, dict.fromkeys(SEVEN, "python") | {"seven.yaml": "yaml"}
    )


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_seven_parts_with_config_keys_train(seven_parts: Path, host: str) -> None:
    options = quick(**{"DATASETS.TRAIN": TRAIN, "DATASETS.TEST": TEST})
    key = "MODEL.RETINA_PLUGIN.ASSIGNER.NearestAssigner.RADIUS"
    load_tool("train_net").main(
        ["--config-file", "seven.yaml", "--host", host, *options, key, "2.5"]
    )
    metrics = (seven_parts / "seven/metrics.json").read_text(encoding="utf-8")
    assert "loss_quality" in metrics
    cfg = get_cfg()
    cfg.merge_from_file("seven/config.yaml")
    model = build_model(cfg)
    load_weights(model, "seven/model_final.pth")
    assert model.assigner.radius == 2.5
    assert model.criterion.class_loss.epsilon == 0.5
    assert model.criterion.box_coder.unit == 4.0
    assert model.backbone.factor == 0.7
    assert model.postprocessor.suppressor.iou == 0.6
    assert model.predict([torch.randint(0, 256, (3, 64, 80))])[0]["boxes"].shape[1] == 4
    name, blur = TransformChain.from_config(cfg).transforms[-1]
    assert (name, blur.radius) == ("my_blur", 1.5)
    refused = get_cfg()
    refused.merge_from_list(["MODEL.RETINA_PLUGIN.IMPORTS", "['my_assigner']", key, "-1.0"])
    with pytest.raises(ConfigError, match=r"RADIUS: expected above 0 .*, found -1"):
        check_rules(refused)
    with pytest.raises(ConfigError, match="RADIUS"):
        cfg.merge_from_list([key.replace("RADIUS", "RADIUSS"), "1.0"])
    assert "NearestAssigner" not in get_cfg().dump()  # only configs that import it have its keys


@pytest.mark.parametrize("host", HOSTS)
def test_the_transform_of_the_example(seven_parts: Path, host: str) -> None:
    """Samples differ only by the blur; a misspelt name is an error before a file is written."""
    loader = {"lightning": "retina_plugin.lit.data", "detectron2": "retina_plugin.d2.loader"}
    loader = importlib.import_module(loader[host])
    cfg = get_cfg()
    cfg.merge_from_file("seven.yaml")
    cfg.merge_from_list(quick(**{"DATASETS.TRAIN": TRAIN, "SEED": "1"}))
    blurred = next(loader.training_samples(cfg))
    cfg.MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS = ["RandomCrop", "ResizeShortestEdge", "RandomFlip"]
    sharp = next(loader.training_samples(cfg))
    for key in ("boxes", "labels"):
        torch.testing.assert_close(blurred[key], sharp[key], rtol=0, atol=0)
    assert blurred["image"].float().std() < sharp["image"].float().std()
    command = ["--config-file", "seven.yaml", "--host", host, "DATASETS.TRAIN", TRAIN]
    misspelt = ["MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS", "['RandomCrop', 'my_blurr']"]
    with pytest.raises(ConfigError, match=r"no transform is called 'my_blurr'\. Nearest: my_blur"):
        load_tool("train_net").main([*command, *misspelt])
    assert not (seven_parts / "seven").exists()


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_parts_from_outside_the_package_train_on_either_host(
    own_parts: Path, root: Path, host: str
) -> None:
    options = quick(**{"DATASETS.TRAIN": TRAIN, "DATASETS.TEST": TEST})
    load_tool("train_net").main(["--config-file", "my.yaml", "--host", host, *options])
    state = torch.load(own_parts / "out/model_final.pth", weights_only=True)["model"]
    assert "backbone.bottom_up.convs.0.weight" in state
    assert not any(key.startswith("head.bbox_subnet") for key in state)
    assert (own_parts / "out/predictions.png").is_file()
    arguments = [
        "--config-file",
        "out/config.yaml",
        "--weights",
        "out/model_final.pth",
        "--input",
        "my/images/001.png",
    ]
    load_tool("demo").main(arguments)


def test_the_class_loss_of_the_example(own_parts: Path) -> None:
    import my_parts

    logits, labels = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True), torch.tensor([0])
    # p_t = 1/2: log(2) / 4 + 1 / 8
    loss = my_parts.Poly1Loss(alpha=1.0, gamma=2.0)
    torch.testing.assert_close(loss(logits, labels).item(), math.log(2) / 4 + 1 / 8)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits)


def test_the_box_loss_of_the_example(own_parts: Path) -> None:
    import my_parts

    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 20, 20]], requires_grad=True)
    targets = torch.tensor([[0.0, 0, 10, 10], [0, 0, 20, 10]])
    loss = my_parts.LogIoULoss()
    torch.testing.assert_close(loss(boxes, targets), torch.tensor([0, 2.0]).log().clamp(min=0))
    nothing = loss(boxes[:0], targets[:0]).sum()
    assert nothing == 0
    nothing.backward()


@pytest.mark.skipif(not HAS_DETECTRON2, reason="needs Detectron2")
def test_detectron2s_trainer_with_two_more_lines(
    workspace: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retina_plugin.d2.datasets import register_datasets

    script = named_block(root, "docs/plugin.md", "python", "plain_train.py")
    (workspace / "plain_train.py").write_text(script, encoding="utf-8")
    register_datasets(["my/train.json@my/images"])
    options = {
        "MODEL.RETINANET.NUM_CLASSES": "3",
        "DATASETS.TRAIN": TRAIN,
        "DATASETS.TEST": "()",
        "OUTPUT_DIR": "plain",
    }
    config = ["--config-file", "configs/digits/retinanet_compact.yaml"]
    monkeypatch.setattr(sys, "argv", ["plain_train.py", *config, *quick(**options)])
    runpy.run_path("plain_train.py", run_name="__main__")
    assert (workspace / "plain/model_final.pth").is_file()


@pytest.mark.slow
def test_training_from_python(workspace: Path, root: Path, capsys: pytest.CaptureFixture) -> None:
    script = named_block(root, "docs/plugin.md", "python", "train_from_python.py")
    sets = {"DATASETS.TRAIN": TRAIN, "DATASETS.TEST": TEST}
    options = quick(**SMALL, **sets, **{"MODEL.RETINANET.SCORE_THRESH_TEST": "0.0"})
    assert script.count('["OUTPUT_DIR", "from_python"]') == 1
    exec(script.replace('"from_python"]', f'"from_python", *{options}]'), {})
    assert (workspace / "from_python/model_final.pth").is_file()
    assert 0 <= float(capsys.readouterr().out.splitlines()[-1]) <= 100


@pytest.mark.slow
def test_callbacks_and_loggers_of_lightning(workspace: Path, root: Path) -> None:
    text = named_block(root, "docs/your_own_data.md", "yaml", "early_stop.yaml")
    (workspace / "early_stop.yaml").write_text(text, encoding="utf-8")
    options = {"DATASETS.TRAIN": TRAIN, "DATASETS.TEST": TEST, "OUTPUT_DIR": "out"}
    options |= {"SOLVER.MAX_ITER": "4", "TEST.EVAL_PERIOD": "2"}
    arguments = ["--host", "lightning", "--config-file", "early_stop.yaml"]
    load_tool("train_net").main([*arguments, *quick(**SMALL, **options)])
    assert (workspace / "out/best/best.ckpt").is_file()
    assert (workspace / "out/csv/version_0/metrics.csv").is_file()


@pytest.mark.slow
def test_a_training_loop_without_a_host(workspace: Path, root: Path) -> None:
    """Weights and detections equal those of the Lightning host."""
    script = named_block(root, "docs/plugin.md", "python", "my_loop.py")
    assert not re.search("lightning|detectron2", script)
    names: dict[str, Any] = {"__name__": "my_loop"}
    exec(script, names)
    config, data = "configs/digits/retinanet_compact.yaml", "('my/train.json@my/images',)"
    options = SMALL | {
        "SOLVER.MAX_ITER": "3",
        "SOLVER.WARMUP_ITERS": "1",
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": "0.05",
        "MODEL.RETINANET.SCORE_THRESH_TEST": "0.0",
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": "False",
        "DATASETS.TRAIN": data,
        "DATASETS.TEST": data,
        "OUTPUT_DIR": "run",
    }
    metrics = names["main"](config, *quick(**options))
    assert "AP" in metrics["bbox"]
    load_tool("train_net").main(["--config-file", config, "--host", "lightning", *quick(**options)])
    loop, run = (torch.load(p, weights_only=True) for p in ("my_loop.pth", "run/model_final.pth"))
    torch.testing.assert_close(dict(loop["model"]), dict(run["model"]), rtol=0, atol=0)
    found = "coco_instances_results.json"
    assert Path("my_loop", found).read_text() == Path("run/inference", found).read_text() != "[]"


def test_conversion(workspace: Path, root: Path) -> None:
    names: dict[str, Any] = {}
    exec(named_block(root, "docs/your_own_data.md", "python", "to_coco.py"), names)
    names["to_coco"](
        {"001.png": [("dog", 1, 2, 31, 42), ("cat", 5, 5, 10, 10)], "002.png": []}, "made.json"
    )
    dataset = load_dataset("made.json@my/images")
    assert dataset.class_names == ("cat", "dog")
    assert [a["bbox"] for a in dataset.records[0]["annotations"]] == [
        [1, 2, 31, 42],
        [5, 5, 10, 10],
    ]
    assert dataset.records[1]["annotations"] == []
    assert (dataset.records[0]["width"], dataset.records[0]["height"]) == (80, 64)


def test_the_json_of_the_page_is_read(workspace: Path, root: Path) -> None:
    (text,) = [text for _, text in blocks(root, "docs/your_own_data.md", "json")]
    Path("page.json").write_text(text, encoding="utf-8")
    (workspace / "photos").mkdir()
    Image.new("RGB", (640, 480)).save(workspace / "photos/a.jpg")
    dataset = load_dataset("page.json@photos")
    assert dataset.class_names == ("cell", "platelet")
    assert not dataset.warnings


def test_the_neck_of_the_page(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (NECK_REGISTRY, BACKBONE_REGISTRY):
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))
    exec(named_block(root, "docs/models.md", "python", "my_neck.py"), {"__name__": "my_neck"})
    register_pairs()
    cfg = compact_cfg(MODEL__BACKBONE__NAME="build_retina_resnet_sharp_backbone")
    maps = build_backbone(cfg)(torch.zeros(1, 3, 64, 64))
    assert list(maps) == ["p3", "p4", "p5", "p6", "p7"]


def test_the_tracker_of_the_page(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TRACKERS, "_parts", dict(TRACKERS._parts))
    names = {"__name__": "my_tracker"}
    exec(named_block(root, "docs/trackers.md", "python", "my_tracker.py"), names)
    tracker = TRACKERS.get("csv")(file=str(tmp_path / "my.csv"))
    tracker.start(TrackedRun(str(tmp_path), None, {}))
    trackers = RunTrackers({"csv": tracker})
    trackers.log_scalars({"lr": 0.5}, iteration=19)
    trackers.finish(completed=True)
    assert (tmp_path / "my.csv").read_text().split() == ["20,lr,0.5"]


@pytest.mark.parametrize("page", PAGES)
def test_commands_parse_and_their_configs_exist(page: str, root: Path) -> None:
    for path, *argv in commands(root, page):
        parse(path, argv)
        for word in argv:
            if word.startswith("configs/"):
                assert (root / word).is_file()
            if word.partition("/")[0] in PACKAGED_FOLDERS and word.endswith(".yaml"):
                assert word in packaged_configs()


@pytest.mark.parametrize("page", PAGES)
def test_link_targets_exist(page: str, root: Path) -> None:
    text = (root / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert ((root / page).parent / target).exists(), target


def test_every_page_is_in_the_navigation_of_the_site(root: Path) -> None:
    nav = (root / "mkdocs.yml").read_text(encoding="utf-8").split("nav:")[1]
    generated = {"index.md", "first_run.md", "reference.md"}  # by .ci/site_hooks.py
    pages = {path.name for path in (root / "docs").glob("*.md")}
    assert set(re.findall(r"\w+\.md", nav)) == pages | generated
    assert {name for name in PAGES if "/" in name} == {f"docs/{name}" for name in pages}


@pytest.mark.slow
def test_the_notebook(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Run its cells in order, with two training steps."""
    monkeypatch.chdir(tmp_path)
    cells = json.loads((root / "docs/first_run.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "__main__"}
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert "\n".join(code).count("STEPS = 150") == 1
    for source in code:
        exec(source.replace("STEPS = 150", "STEPS = 2"), names)
    assert "square" in names["detector"].class_names
    assert "report.html: " in capsys.readouterr().out
    for cell in cells:  # links, as in the pages
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", "".join(cell["source"])):
            if cell["cell_type"] == "markdown" and "://" not in target:
                assert (root / "docs" / target).exists(), target


def test_the_page_of_keys_is_up_to_date(root: Path) -> None:
    assert (root / "docs/config.md").read_text(encoding="utf-8") == load_tool(
        "config_page"
    ).page(), "run python tools/config_page.py"


def test_the_drawing_of_the_packages_is_up_to_date(root: Path) -> None:
    tool = load_tool("draw_packages")
    drawn = (root / "docs/images/packages.svg").read_text(encoding="utf-8")
    assert drawn == tool.svg(tool.imports()), "run python tools/draw_packages.py"


def test_tables_of_keys_have_three_columns(root: Path) -> None:
    rows = [
        line
        for line in (root / "docs/config.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    assert len(rows) > 50
    assert {row.count("|") for row in rows} == {4}


def test_no_docstring_repeats_another(root: Path) -> None:
    """Four lines in a row that two docstrings share belong in one place."""
    first: dict[tuple[str, ...], str] = {}
    for path in sorted((root / "retina_plugin").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
                continue
            lines = [line.strip() for line in (ast.get_docstring(node) or "").splitlines()]
            lines = [line for line in lines if line]
            place = f"{path.relative_to(root)}, {getattr(node, 'name', 'module')}"
            for four in zip(*(lines[i:] for i in range(4)), strict=False):
                assert first.setdefault(four, place) == place, f"{place} repeats {four}"
