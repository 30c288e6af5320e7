"""``tools/compare_recipes.py``: rows, lengths, order and resumption of runs, and the page."""

from __future__ import annotations

import importlib
import importlib.util
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from retina_plugin.config import ConfigError, get_cfg
from retina_plugin.config.packaged import find_config
from retina_plugin.data import load_dataset
from tests.load_tools import load_tool
from tests.scenes import write_run

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
EMA = "MODEL.RETINA_PLUGIN.SOLVER.EMA"
HEAD = "MODEL.RETINANET.NUM_CONVS"
FILE = """title: Small
base: {base}
{length}
seeds: {seeds}
held_out: {held_out}
rows:
  average: [{ema}, True]
  more 2.0: [{head}, 2, SOLVER.STEPS, [20, 30]]
"""


@pytest.fixture(scope="module")
def tool() -> Any:
    return load_tool("compare_recipes")


def part(name: str) -> ModuleType:
    """A module of ``tools/recipes``."""
    load_tool("compare_recipes")  # puts tools/ on the path
    return importlib.import_module(f"recipes.{name}")


@pytest.fixture(autouse=True)
def process_wide_settings() -> Iterator[None]:
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def write(tmp_path: Path, root: Path) -> Callable[..., Path]:
    """Write a comparison of a small recipe; keywords replace its values."""
    base = write_run(tmp_path, root)

    def file(text: str = FILE, **values: object) -> Path:
        known = {"length": "steps: 20", "seeds": [1, 2], "held_out": 0, "ema": EMA, "head": HEAD}
        path = tmp_path / "small.yaml"
        path.write_text(text.format(**(known | {"base": base} | values)), encoding="utf-8")
        return path

    return file


@pytest.fixture
def fake_runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Replace training by a fake that finds as many boxes as its row is good, and measure no time.

    Returns the started runs, (folder, options). ``row average`` finds all boxes, the others half.
    """
    started: list[tuple[str, list[str]]] = []
    runs, lengths = part("runs"), part("lengths")

    def start(
        folder: Path, config: str, options: list[str], *, threads: int, host: str
    ) -> dict[str, Any]:
        done = folder / "run.json"
        if not done.is_file():
            started.append((folder.name, options))
            values = dict(zip(options[::2], options[1::2], strict=True))
            (folder / "inference").mkdir(parents=True, exist_ok=True)
            ap = write_detections(
                folder, eval(values["DATASETS.TEST"])[0], every=1 if EMA in values else 2
            )
            metrics = {"bbox/AP": ap, "bbox/AP50": ap, "bbox/AP75": ap}
            content = {"metrics": metrics, "cpu_seconds": 2.0, "resumed": False}
            done.write_text(json.dumps(content), encoding="utf-8")
        result: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return result

    monkeypatch.setitem(runs.start_runs.__kwdefaults__, "start", start)
    cost = part("cost").StepCost
    monkeypatch.setattr(lengths, "measure_base", lambda base, host: cost(0.5, 1.0))
    monkeypatch.setattr(
        lengths,
        "measure_cost",
        lambda row, base, *, base_seconds, host: cost(
            base_seconds * (2 if row.MODEL.RETINANET.NUM_CONVS == 2 else 1),
            2.0 if row.MODEL.RETINANET.NUM_CONVS == 2 else 1.0,
        ),
    )
    return started


def write_detections(folder: Path, name: str, *, every: int) -> float:
    """Detect every box, or every second one, exactly; return the AP."""
    dataset = load_dataset(name)
    found = [
        {
            "image_id": record["image_id"],
            "category_id": dataset.category_ids[annotation["category_id"]],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": 0.9,
        }
        for record in dataset.records[::every]
        for annotation in record["annotations"]
        if not annotation["iscrowd"]
        for x0, y0, x1, y1 in [annotation["bbox"]]
    ]
    path = folder / "inference/coco_instances_results.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    return 100.0 if every == 1 else 50.0


def run(tool: Any, path: Path, *more: str) -> str:
    """Run the tool with one job; return its page."""
    folder = path.parent / "runs"
    argv = ["--output-dir", str(folder), "--host", "lightning", "--jobs", "1", *more]
    tool.main([str(path), *argv])
    return (folder / "accuracy.md").read_text(encoding="utf-8")


def test_runs_are_interleaved_and_of_equal_time(
    tool: Any, write: Callable[..., Path], fake_runs: list[tuple[str, list[str]]]
) -> None:
    page = run(tool, write("note: Small images.\n" + FILE))
    assert "\n\nSmall images.\n\n" in page
    rows = ["base", "average", "more_2.0"]
    assert [name for name, _ in fake_runs] == [f"{row}-{seed}" for seed in (1, 2) for row in rows]
    options = [dict(zip(o[::2], o[1::2], strict=True)) for _, o in fake_runs]
    # a step of the last row takes twice as long; warm-up is 30 of 40 steps, STEPS 20 and 30
    assert [o["SOLVER.MAX_ITER"] for o in options[:3]] == ["20", "20", "10"]
    assert [o["SOLVER.WARMUP_ITERS"] for o in options[:3]] == ["15", "15", "8"]
    assert [o["SOLVER.STEPS"] for o in options[:3]] == ["()", "()", "(5, 8)"]
    assert [o["SEED"] for o in options] == ["1", "1", "1", "2", "2", "2"]
    assert {o["DATALOADER.NUM_WORKERS"] for o in options} == {"0"}
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert lines[2].startswith("| base | 20 | 2 | 50.0 (")
    assert lines[3].startswith(
        "| average | 20 | 2 | 100.0 (100.0 to 100.0) | 100.0 | 100.0 | +50.0"
    )
    assert lines[4].startswith("| more 2.0 | 10 | 2 | 50.0 (")
    assert lines[4].endswith("| +0.0 (+0.0 to +0.0) | not decided | 50.0, 50.0 |")
    assert f"- average: `{EMA} True`" in page


def test_a_stopped_comparison_goes_on(
    tool: Any,
    write: Callable[..., Path],
    fake_runs: list[tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = part("runs")
    start = runs.start_runs.__kwdefaults__["start"]

    def stop(folder: Path, *args: Any, **options: Any) -> dict[str, Any]:
        if folder.name == "average-2":
            raise KeyboardInterrupt
        return start(folder, *args, **options)

    monkeypatch.setitem(runs.start_runs.__kwdefaults__, "start", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tool, write())
    page = (write().parent / "runs/accuracy.md").read_text(encoding="utf-8")
    assert "1 of 2 seeds" in page
    before = [name for name, _ in fake_runs]
    monkeypatch.setitem(runs.start_runs.__kwdefaults__, "start", start)
    for name in ("measure_base", "measure_cost"):
        monkeypatch.setattr(part("lengths"), name, None)  # a call would fail
    page = run(tool, write())
    after = [name for name, _ in fake_runs][len(before) :]
    assert not set(before) & set(after)
    assert len(before) + len(after) == 6
    assert "2 seeds." in page
    assert run(tool, write()) == page
    assert len(fake_runs) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": "steps: 30"}, r"length was 20 steps of the base .* and is 30 steps"),
        ({"length": "minutes: 1"}, r"length was 20 steps of the base .* and is 1 CPU minutes"),
        ({"held_out": 0.4}, r"data was .*images"),
        ({"ema": "SOLVER.NESTEROV"}, r"row average in .*: overrides was .*EMA"),
    ],
)
def test_a_comparison_is_not_mixed_with_another(
    tool: Any,
    write: Callable[..., Path],
    fake_runs: list[tuple[str, list[str]]],
    change: dict[str, object],
    message: str,
) -> None:
    run(tool, write(seeds=[1]))
    with pytest.raises(ConfigError, match=message):
        run(tool, write(seeds=[1], **change))
    assert len(fake_runs) == 3


def test_a_changed_base_is_noticed(
    tool: Any, write: Callable[..., Path], fake_runs: list[tuple[str, list[str]]]
) -> None:
    path = write(seeds=[1])
    run(tool, path)
    base = path.parent / "config.yaml"
    text = base.read_text(encoding="utf-8")
    base.write_text(text.replace("BASE_LR: 0.01", "BASE_LR: 0.02"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"row base in .*: SOLVER.BASE_LR was 0.01 in the earl"):
        run(tool, path)


def test_seeds_and_rows_can_be_added(
    tool: Any, write: Callable[..., Path], fake_runs: list[tuple[str, list[str]]]
) -> None:
    run(tool, write(seeds=[1]))
    page = run(tool, write(FILE + "  fewer | none: [{head}, 0]\n"))
    names = [name for name, _ in fake_runs[3:]]
    assert names == ["fewer_none-1", "base-2", "average-2", "more_2.0-2", "fewer_none-2"]
    assert r"| fewer \| none | 20 |" in page


def test_a_failed_run_does_not_stop_the_others(
    tool: Any,
    write: Callable[..., Path],
    fake_runs: list[tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = part("runs")
    start = runs.start_runs.__kwdefaults__["start"]

    def fail(folder: Path, *args: Any, **options: Any) -> dict[str, Any]:
        if folder.name == "average-2":
            raise ChildProcessError("failed, see average-2/log.txt")
        return start(folder, *args, **options)

    monkeypatch.setitem(runs.start_runs.__kwdefaults__, "start", fail)
    with pytest.raises(ChildProcessError, match=r"average-2/log\.txt"):
        run(tool, write())
    page = (write().parent / "runs/accuracy.md").read_text(encoding="utf-8")
    assert "Failed: average." in page
    assert "| average |" not in page
    assert "| more 2.0 | 10 |" in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE.replace("rows:", "row:"), r"line 7: row\.average cannot be read: known: title"),
        ("title: a\nbase: {base}\n{length}\nseeds: [1]\nheld_out: 0\n", "expected rows"),
        (FILE.replace("title: Small", ""), "title is missing"),
        (FILE.replace("Small", "Method"), "line 1: title: expected a line of text other than"),
        (FILE.replace("held_out: {held_out}\n", ""), "held_out is missing"),
        (FILE.replace("{length}", ""), "either steps .* or minutes .*, found neither"),
        (FILE.replace("{length}", "steps: 3\nminutes: 2"), "found both"),
        (FILE.replace("{length}", "steps: 0"), "line 3: steps: expected a whole number from 1"),
        (FILE.replace("{length}", "minutes: .nan"), "line 3: minutes: expected minutes"),
        (FILE.replace("{seeds}", "[1, 1]"), "line 4: seeds: expected a list of different"),
        (FILE.replace("{seeds}", "[]"), "line 4: seeds: expected a list of different"),
        (FILE.replace("{held_out}", "1.5"), "line 5: held_out: expected a fraction from 0 to 0.9"),
        (FILE.replace("{seeds}", "[1, 2]\nseed_noise: 0.4"), "seed_noise is for .* one seed"),
        (FILE + "  odd: [SOLVER.GAMMA]\n", r"line 9: row odd: expected a list \[KEY, VALUE"),
        (FILE + "  none: []\n", "line 9: row none: expected a list"),
        (FILE + "  group: {{SOLVER.GAMMA: 0.2}}\n", "line 9: row group.SOLVER.GAMMA: expected a l"),
        (FILE + "  base: [SOLVER.GAMMA, 0.2]\n", "line 9: row base has the same folder as row bas"),
        (FILE + "  more_2.0: [SOLVER.GAMMA, 0.2]\n", "same folder as row more 2.0"),
        (FILE.replace("{base}", "no.yaml"), "no.yaml cannot be read"),
    ],
)
def test_wrong_files(write: Callable[..., Path], text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        part("comparison_file").read_comparison(str(write(text)))


def test_wrong_rows_are_refused_before_anything_runs(
    tool: Any, write: Callable[..., Path], fake_runs: list[tuple[str, list[str]]]
) -> None:
    """All wrong rows are reported at once, with file and line."""
    rows = {
        "unknown": ("[SOLVER.GAMA, 0.2]", "unknown key SOLVER.GAMA. Did you mean SOLVER.GAMMA"),
        "range": ("[SOLVER.GAMMA, 7.0]", "SOLVER.GAMMA: expected"),
        "seed": ("[SEED, 3]", "SEED is the same in all runs of a comparison: remove it"),
        "data": ("[DATASETS.TEST, bccd_val]", "DATASETS.TEST is the same in all runs"),
        "model": ("[MODEL.RETINA_PLUGIN.NORM_GROUPS, 5]", ""),
        "again": (f"[{EMA}, True]", "the config is that of row average: remove one of them"),
        "nothing": (f"[{EMA}, False]", "the config is that of row base: remove one of them"),
    }
    path = write(FILE + "".join(f"  {name}: {words}\n" for name, (words, _) in rows.items()))
    with pytest.raises(ConfigError) as caught:
        run(tool, path)
    lines = str(caught.value).splitlines()
    for line, number, (name, (_, message)) in zip(lines, range(9, 16), rows.items(), strict=True):
        assert line.startswith(f"{path}, line {number}: row {name}: {message}")
    assert not fake_runs


def test_the_page_of_another_tool_is_refused(
    tool: Any, write: Callable[..., Path], tmp_path: Path
) -> None:
    other = tmp_path / "README.md"
    other.write_text("# Mine\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"README\.md: expected a page of this tool"):
        run(tool, write(), "--page", str(other))
    assert other.read_text(encoding="utf-8") == "# Mine\n"
    with pytest.raises(ConfigError, match="there is no folder"):
        run(tool, write(), "--page", str(tmp_path / "no/page.md"))


def test_a_section_replaces_the_earlier_one_only(tmp_path: Path) -> None:
    page = part("page")
    path = str(tmp_path / "accuracy.md")
    for title, text in (("A", "first"), ("B", "second"), ("A", "third")):
        page.update_page(path, title, text)
    text = (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    assert text == f"{page.METHOD}\n## A\n\nthird\n\n## B\n\nsecond\n"


def test_held_out_images(write: Callable[..., Path], tmp_path: Path) -> None:
    """The two parts share no image, are the training set together, and keep their boxes."""
    cfg = get_cfg()
    cfg.merge_from_file(part("comparison_file").read_comparison(str(write())).base)
    words = part("held_out").data_overrides(cfg, 0.3, tmp_path)
    cfg.merge_from_list(words)
    (first,), (second,) = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST
    assert not cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION
    whole = load_dataset(f"{tmp_path / 'train/annotations.json'}@{tmp_path / 'train/images'}")
    parts = [load_dataset(name).records for name in (first, second)]
    names = [{record["file_name"] for record in records} for records in parts]
    assert not names[0] & names[1]
    assert 2 <= len(names[1]) <= 6
    together = sorted([*parts[0], *parts[1]], key=lambda record: record["image_id"])
    assert [r["annotations"] for r in together] == [r["annotations"] for r in whole.records]


def test_one_set_to_evaluate_on(write: Callable[..., Path], tmp_path: Path) -> None:
    cfg = get_cfg()
    cfg.merge_from_file(part("comparison_file").read_comparison(str(write())).base)
    data = part("held_out").data_overrides
    for names in ((), (cfg.DATASETS.TEST[0], cfg.DATASETS.TRAIN[0])):
        cfg.DATASETS.TEST = names
        with pytest.raises(ConfigError, match=f"one set to evaluate on, found {len(names)}"):
            data(cfg, 0, tmp_path)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TRAIN * 2
    with pytest.raises(ConfigError, match="splits one training set, found 2"):
        data(cfg, 0.2, tmp_path)


@pytest.mark.parametrize(
    ("row", "ratio"),
    [([2.0, 4.2, 8.0], 2.0), ([1.01, 2.08, 4.16], 1.0), ([0.5, 1.0, 9.0], 0.5)],
)
def test_the_median_ratio(row: list[float], ratio: float) -> None:
    """Steps of the base that get slower and slower: 1, 2, 4 seconds."""
    cost = part("cost").cost_of(list(zip([1.0, 2.0, 4.0], row, strict=True)), base_seconds=0.25)
    assert cost.ratio == ratio
    assert cost.seconds == 0.25 * ratio


def test_minutes_of_cpu_time(write: Callable[..., Path]) -> None:
    lengths, cost = part("lengths"), part("cost").StepCost
    comparison = part("comparison_file").read_comparison(str(write(length="minutes: 1.5")))
    assert lengths._steps(comparison, cost(0.5, 1.0)) == 180
    assert lengths._steps(comparison, cost(1.0, 2.0)) == 90
    assert lengths._steps(comparison, cost(1000.0, 2000.0)) == 1


@pytest.mark.parametrize("host", HOSTS)
def test_steps_are_measured_with_the_loader_of_the_host(
    write: Callable[..., Path], tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of the base costs CPU time, and weights and random numbers stay as they are."""
    from retina_plugin.engine.launch import host_of

    cost = part("cost")
    monkeypatch.setattr(cost, "PAIRS", 1)
    monkeypatch.setattr(cost, "WARM_UP", 1)
    comparison = part("comparison_file").read_comparison(str(write()))
    the_host = host_of(host)
    cfg = the_host.get_cfg()
    cfg.merge_from_file(comparison.base)
    data = part("held_out").data_overrides(cfg, 0, tmp_path)
    base, _, deeper = part("checked_rows").check_rows(comparison, data, the_host)
    step = cost.TrainingStep(base.resolved, host)
    before = {name: value.clone() for name, value in step._model.state_dict().items()}
    step()
    after = step._model.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert changed == ["loss_normalizer"]
    state = torch.get_rng_state()
    assert cost.measure_base(base.resolved, host).seconds > 0
    measured = cost.measure_cost(deeper.resolved, base.resolved, base_seconds=0.1, host=host)
    assert measured.seconds == pytest.approx(0.1 * measured.ratio)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.long
@pytest.mark.parametrize("host", HOSTS)
def test_a_comparison_on_each_host(
    tool: Any, write: Callable[..., Path], host: str, capsys: pytest.CaptureFixture
) -> None:
    path = write(length="steps: 4", seeds=[1], held_out=0.3)
    argv = [str(path), "--output-dir", str(path.parent / "runs"), "--host", host]
    tool.main(argv)
    page = (path.parent / "runs/accuracy.md").read_text(encoding="utf-8")
    assert f"{host}, retina_plugin" in page
    assert page.count("| not decided |") == 2
    kept = (path.parent / "runs/more_2.0-1/config.yaml").read_text(encoding="utf-8")
    assert "NUM_CONVS: 2" in kept
    tool.main(argv)
    assert (path.parent / "runs/accuracy.md").read_text(encoding="utf-8") == page


def test_the_page_of_the_project_has_todays_method(root: Path) -> None:
    text = (root / "docs/accuracy.md").read_text(encoding="utf-8")
    assert text.startswith(part("page").METHOD), "run tools/compare_recipes.py with --page"


def test_the_comparisons_of_the_project(root: Path) -> None:
    """The files can be read, and the keys of their rows exist."""
    files = sorted((root / "tools/comparisons").glob("*.yaml"))
    assert files
    for path in files:
        comparison = part("comparison_file").read_comparison(str(path))
        assert Path(comparison.base) in map(Path, (find_config(comparison.base),))
        for row in comparison.rows:
            cfg = get_cfg()
            cfg.merge_from_file(comparison.base)
            cfg.merge_from_list(list(row.overrides))
