"""The page of a report: sections, links, escaped names, and runs that cannot be reported."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from retina_plugin.cli import command
from retina_plugin.config import ConfigError
from retina_plugin.config.disk import DiskError
from retina_plugin.data import DatasetError
from retina_plugin.report.page import write_report
from retina_plugin.report.page.chart import Axis
from retina_plugin.report.page.html import Html, escape, join, table, tag
from retina_plugin.report.page.run_report import read_run
from retina_plugin.report.page.summary import summary_section
from tests.report.finished_run import LONG, NAME, write_finished_run, write_metrics, write_results

pytestmark = pytest.mark.slow

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
SECTIONS = {
    *("summary", "ap", "thresholds", "curves", "confusion", "errors", "calibration"),
    *("images", "labels", "learning", "data", "run"),
}
VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """Collects identifiers, links and text, and checks that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.names: Counter[str] = Counter()
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.names[tag] += 1
        self.ids.update(filter(None, [values.get("id")]))
        self.links += [v for key in ("href", "src", "action") if (v := values.get(key))]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "link":
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    return write_finished_run(tmp_path_factory.mktemp("run"), root)


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run folder that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture(scope="module")
def written(finished: Path) -> Path:
    path = finished.parent / "page.html"
    write_report([str(finished)], str(path))
    return path


def test_the_page_has_all_sections_and_is_self_contained(written: Path) -> None:
    page = Page(written.read_text(encoding="utf-8"))
    assert set(page.ids) >= SECTIONS
    assert [name for name, count in page.ids.items() if count > 1] == []
    for link in page.links:
        assert link.startswith(("#", "data:")) or link == "page_label_errors.csv"
        if link.startswith("#"):
            assert link[1:] in page.ids
    assert page.names["script"] == 1
    assert f"{LONG}: none (no box)" in page.text
    assert "default-src &#x27;none&#x27;; img-src data:;" in written.read_text(encoding="utf-8")
    assert re.search(r"AP \d+\.\d \(95% of random draws", page.text)


def test_names_appear_as_text(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert NAME in Page(text).text


def test_the_csv_has_the_likely_label_errors(written: Path, finished: Path) -> None:
    path = finished.parent / "page_label_errors.csv"
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    (overlooked,) = [row for row in rows if row["kind"] == "overlooked"]
    assert overlooked["image id"] == "2"
    assert overlooked["file"].endswith("002.png")
    assert overlooked["detected class"] == NAME
    assert float(overlooked["detected x0"]) == 5
    assert next(row for row in rows if row["kind"] == "spurious")["annotation id"]


def test_runs_are_compared(finished: Path, tmp_path: Path, root: Path) -> None:
    """A run with the same images has a difference with an interval; one with others has none."""
    same = Path(shutil.copytree(finished, tmp_path / "same"))
    results = json.loads(write_results(same, []).read_text(encoding="utf-8"))
    original = json.loads(
        (finished / "inference/coco_instances_results.json").read_text(encoding="utf-8")
    )
    write_results(same, results + original[: len(original) // 2])
    other = write_finished_run(tmp_path / "other", root)
    annotations = tmp_path / "other/test/annotations.json"
    content = json.loads(annotations.read_text(encoding="utf-8"))
    content["annotations"][0]["bbox"][2] -= 2
    annotations.write_text(json.dumps(content), encoding="utf-8")
    path = tmp_path / "page.html"
    write_report([str(finished), str(same), str(other)], str(path))
    page = Page(path.read_text(encoding="utf-8"))
    assert set(page.ids) >= {"comparison", "run1-summary", "run2-images", "run3-run"}
    assert [name for name, count in page.ids.items() if count > 1] == []
    assert page.text.count("other images, boxes or classes") == 2
    assert re.search(r"-\d+\.\d-\d+\.\d to [+-]\d+\.\d", page.text)


def test_thresholds_below_the_score_filter_are_said(out: Path) -> None:
    (name,) = re.findall(r'TEST: \["(.*?)"\]', (out / "config.yaml").read_text(encoding="utf-8"))
    source = {"sets": [name], "missing": {LONG: "no box"}, "score_filter": 0.0}
    metadata = {"score_thresholds": {NAME: 0.001, "bar": 0.5}, "score_thresholds_from": source}
    torch.save({"model": {}, "metadata": metadata, "iteration": 9}, out / "model_final.pth")
    run = read_run(str(out))
    text = str(summary_section(run, run.analyses[0], ""))
    assert (
        "on test/annotations.json, among detections of all scores. The evaluation dropped" in text
    )
    assert "These are the evaluated images; on new images" in text
    assert f"recall of {escape(NAME)} are those at 0.01" in text
    assert f"{LONG}: none (no box)" in text


def test_nothing_detected_is_said(out: Path) -> None:
    write_results(out, [])
    write_report([str(out)], str(out / "report.html"))
    assert "Nothing was detected" in (out / "report.html").read_text(encoding="utf-8")


def test_an_interrupted_run_has_its_learning_curves(out: Path) -> None:
    shutil.rmtree(out / "inference")
    assert write_report([str(out)], str(out / "report.html")) == [str(out / "report.html")]
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert set(page.ids) & SECTIONS == {"learning", "data", "run"}
    assert "There are no results" in page.text


def test_a_run_without_evaluated_images(out: Path) -> None:
    config = out / "config.yaml"
    text = re.sub(r"TEST: \[.*?\]", "TEST: []", config.read_text(encoding="utf-8"))
    config.write_text(text, encoding="utf-8")
    write_report([str(out)], str(out / "report.html"))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "The run has no validation images" in page


def test_results_of_an_interrupted_run(out: Path) -> None:
    """The last evaluation was after step 40, and the best one after step 20. The results, of which
    metrics.json has the AP, are those of the last."""
    ap = read_run(str(out)).analyses[0].sizes[""].ap
    lines = [{"iteration": 19, "bbox/AP": ap + 9}, {"iteration": 39, "bbox/AP": round(ap, 4)}]
    (out / "metrics.json").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    torch.save({"model": {}, "metadata": {}, "iteration": 19}, out / "model_final.pth")
    run = read_run(str(out))
    (text,) = run.notes
    assert re.match(r"The results are those after step 40 .* not those of model_final\.pth", text)
    assert ", with weights after step 40." in str(summary_section(run, run.analyses[0], ""))


def test_a_checkpoint_that_does_not_know_its_step(out: Path) -> None:
    torch.save({"model": {}, "metadata": {}}, out / "model_final.pth")
    run = read_run(str(out))
    assert run.step is None
    assert "step" not in str(summary_section(run, run.analyses[0], ""))


def test_images_beyond_the_limit_of_detections_are_said(out: Path) -> None:
    config = out / "config.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(f"{text}TEST: {{DETECTIONS_PER_IMAGE: 1}}\n", encoding="utf-8")
    write_report([str(out)], str(out / "report.html"))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "have more boxes than TEST.DETECTIONS_PER_IMAGE (1)" in page
    assert "at most 1 in an image (TEST.DETECTIONS_PER_IMAGE)" in page


def test_label_errors_are_not_searched_in_training_images(out: Path) -> None:
    config = out / "config.yaml"
    text = config.read_text(encoding="utf-8")
    (test,) = re.findall(r'TEST: \["(.*?)"\]', text)
    config.write_text(re.sub(r'TRAIN: \[".*?"\]', f'TRAIN: ["{test}"]', text), encoding="utf-8")
    assert len(write_report([str(out)], str(out / "report.html"))) == 1
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "the model was trained on these images" in page


def empty_results(out: Path) -> None:
    write_results(out, []).write_text("", encoding="utf-8")


def other_images(out: Path) -> None:
    write_results(out, [{"image_id": 99, "category_id": 3, "bbox": [1, 1, 2, 2], "score": 0.5}])


def other_classes(out: Path) -> None:
    write_results(out, [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}])


def larger_images(out: Path) -> None:
    write_results(out, [{"image_id": 1, "category_id": 3, "bbox": [70, 1, 40, 2], "score": 0.5}])


def negative_width(out: Path) -> None:
    write_results(out, [{"image_id": 1, "category_id": 3, "bbox": [9, 9, -3, 2], "score": 0.5}])


def broken_box(out: Path) -> None:
    write_results(out, [{"image_id": 1, "category_id": 3, "bbox": [1, 1], "score": 0.5}])


def no_score(out: Path) -> None:
    write_results(out, [{"image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2]}])


def not_json(out: Path) -> None:
    write_results(out, []).write_text("[{", encoding="utf-8")


def no_config(out: Path) -> None:
    (out / "config.yaml").unlink()


def nothing(out: Path) -> None:
    shutil.rmtree(out / "inference")
    (out / "metrics.json").unlink()


def data_is_gone(out: Path) -> None:
    config = out / "config.yaml"
    text = config.read_text(encoding="utf-8").replace("test/annotations", "gone/annotations")
    config.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (empty_results, "is empty: expected a list of results"),
        (other_images, "result 1: image_id 99 is not in .* another data set"),
        (other_classes, "result 1: category_id 1 is not in .* another data set"),
        (larger_images, "result 1: bbox .* leaves its image of 80 x 64 pixels"),
        (negative_width, "result 1: expected bbox as x, y, width and height of at least 0"),
        (broken_box, "result 1: expected bbox of 4 numbers"),
        (no_score, "result 1: expected image_id, category_id, bbox, score"),
        (not_json, "is not JSON"),
        (no_config, "has no config.yaml: expected the folder of a run"),
        (nothing, "has nothing to report: There are no results"),
        (data_is_gone, "gone/annotations.json.*Relative paths"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_runs_that_cannot_be_reported(out: Path, change: Any, message: str) -> None:
    change(out)
    with pytest.raises((ConfigError, DatasetError), match=re.compile(message, re.DOTALL)):
        write_report([str(out)], str(out / "report.html"))
    assert not list(out.glob("report*"))


def test_a_folder_that_is_absent(tmp_path: Path, finished: Path) -> None:
    for page in ("page.html", "absent/report.html"):
        with pytest.raises(ConfigError, match="is not a folder: expected the folder of a run"):
            write_report([str(tmp_path / "absent")], str(tmp_path / page))
    with pytest.raises(ConfigError, match="absent does not exist"):
        write_report([str(finished)], str(tmp_path / "absent/page.html"))


def test_a_file_of_the_run_is_not_overwritten(finished: Path) -> None:
    before = (finished / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"config\.yaml: expected a name that ends in \.html"):
        write_report([str(finished)], str(finished / "config.yaml"))
    assert (finished / "config.yaml").read_bytes() == before


def test_a_file_that_cannot_be_written_leaves_the_older_page(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CSV file cannot be written: its name is that of a folder."""
    page = out / "report.html"
    page.write_text("older", encoding="utf-8")
    (out / "report_label_errors.csv").mkdir()
    with pytest.raises(DiskError, match=r"cannot write .*report_label_errors\.csv"):
        write_report([str(out)], str(page))
    assert page.read_text(encoding="utf-8") == "older"
    assert {path.name for path in out.glob("report*")} == {"report.html", "report_label_errors.csv"}


def test_a_read_only_folder_is_refused_at_once(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """root may write everywhere, so the system's answer is replaced."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ConfigError, match="files cannot be written to"):
        write_report([str(out)], str(out / "report.html"))


def test_the_command_writes_into_the_first_folder(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(["report", str(out)])
    printed = capsys.readouterr().out
    assert f"{out / 'report.html'}: 0." in printed
    assert (out / "report.html").is_file()
    assert (out / "report_label_errors.csv").is_file()


PROBE = """
<script>
addEventListener("load", () => {
  const done = [];
  const dialog = document.querySelector("dialog");
  const buttons = document.querySelectorAll(".gallery button.enlarge");
  buttons[0].focus();
  buttons[0].click();
  done.push(dialog.open, dialog.querySelectorAll("svg").length);
  dialog.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
  const name = buttons[1].getAttribute("aria-label").slice("enlarge ".length);
  done.push(dialog.querySelector("p").textContent.startsWith(name));
  dialog.close();
  const form = document.querySelector("form.filters");
  form.elements.kind.value = "missed";
  form.dispatchEvent(new Event("input"));
  const shown = [...document.querySelectorAll("#images figure:not([hidden])")];
  done.push(shown.length, shown.every((f) => f.querySelector(".bad:not(.dim)[data-kind=missed]")));
  done.push(document.documentElement.scrollWidth <= innerWidth);
  document.title = "probe " + JSON.stringify(done);
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desktop"])
def test_the_page_works_in_a_browser(written: Path, tmp_path: Path, width: int) -> None:
    """Images are enlarged, the arrow keys show the next one, the filter hides images, the page is
    not wider than the screen, and nothing is printed to the console."""
    path = tmp_path / "probed.html"
    path.write_text(written.read_text(encoding="utf-8") + PROBE, encoding="utf-8")
    assert BROWSER is not None
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    flags += ["--dump-dom", "--virtual-time-budget=3000", f"--window-size={width},900"]
    done = subprocess.run(
        [BROWSER, *flags, f"--user-data-dir={tmp_path / 'profile'}", f"file://{path}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    (found,) = re.findall(r"<title>probe (.*?)</title>", done.stdout)
    opened, pictures, is_next, shown, right, fits = json.loads(found)
    assert (opened, pictures, is_next, right, fits) == (True, 1, True, True, True)
    assert 0 < shown < 6


def test_html_is_escaped() -> None:
    assert escape('<a b="c">&') == "&lt;a b=&quot;c&quot;&gt;&amp;"
    assert escape(Html("<br>")) == "<br>"
    assert escape("a\x00b\udcff") == "a\ufffdb\ufffd"
    assert tag("p", "<", title='"', hidden=True, id=None) == '<p title="&quot;" hidden>&lt;</p>'
    assert join("a<", None, tag("b", 1)) == "a&lt;<b>1</b>"
    assert "<thead>" not in table([], [["a"]], caption="c")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 9, [0, 2, 4, 6, 8]),
        (0, 0.03, [0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03]),
        (20, 100, [20, 30, 40, 50, 60, 70, 80, 90, 100]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert Axis("", low, high).ticks() == pytest.approx(ticks)


def test_metrics_of_a_killed_run_are_read(out: Path) -> None:
    write_metrics(out)
    with open(out / "metrics.json", "a", encoding="utf-8") as file:
        file.write('{"iteration": 49, "total_lo')
    write_report([str(out)], str(out / "report.html"))
    assert "Learning curves" in (out / "report.html").read_text(encoding="utf-8")
