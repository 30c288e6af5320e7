"""Sections of the report on data sets in memory."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from retina_plugin.config import get_cfg
from retina_plugin.data import Dataset
from retina_plugin.data.trained_images import trained_images
from retina_plugin.evaluation.analysis import Analysis, analyse
from retina_plugin.report.page.comparison_section import comparison_section
from retina_plugin.report.page.confusion_section import confusion_section
from retina_plugin.report.page.curve_section import f1_lines
from retina_plugin.report.page.label_section import label_section
from retina_plugin.report.page.learning_section import learning_section
from retina_plugin.report.page.run_section import _repeat
from retina_plugin.report.page.summary import _worst
from retina_plugin.report.page.weights_of_results import Origin, origin_of_results, other_classes
from tests.random_detections import box, dataset_of, result

A, FAR = [10, 10, 20, 20], [70, 70, 20, 20]
CAT, DOG, BIRD = range(3)


def analysis_of(
    dataset: Dataset, results: list[Any], trained: list[bool] | None = None
) -> Analysis:
    return analyse(
        dataset,
        results,
        max_detections=100,
        thresholds=None,
        trained=np.array(trained or [False] * len(dataset.records)),
    )


@pytest.mark.parametrize(
    ("change", "comparable"),
    [
        ({}, True),
        ({"category_id": DOG}, False),
        ({"iscrowd": 1}, False),
        ({"area": 3.0}, False),
        ({"bbox": [10, 10, 29, 30]}, False),
    ],
    ids=lambda value: next(iter(value), "equal") if isinstance(value, dict) else "",
)
def test_only_runs_with_equal_ground_truth_are_compared(
    change: dict[str, Any], comparable: bool
) -> None:
    first, second = dataset_of([[box(CAT, A)], []]), dataset_of([[box(CAT, A) | change], []])
    found = [result(1, CAT, A, 0.9)]
    page = comparison_section(["a", "b"], [analysis_of(x, found) for x in (first, second)])
    assert ("other images, boxes or classes" in page) is not comparable


def test_label_errors_leave_out_images_of_the_training_set(tmp_path: Path) -> None:
    """The training set has another name, reaches one image through a link, and not the other."""
    dataset = dataset_of([[box(CAT, A)], [box(CAT, A)]])
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    for record in dataset.records:
        record["file_name"] = str(tmp_path / "images" / record["file_name"])
    training = dataset_of([[], []], name="train")
    training.records[0]["file_name"] = str(tmp_path / "link/1.png")
    training.records[1]["file_name"] = str(tmp_path / "other/2.png")
    trained = trained_images(dataset.records, training.records)
    assert trained.tolist() == [True, False]
    hits = [result(i, CAT, A, 0.8) for i in (1, 2)]
    results = [*hits, *(result(i, DOG, FAR, 0.9) for i in (1, 2)), result(1, CAT, FAR, 0.9)]
    assert len(analysis_of(dataset, results).label_errors) == 1
    analysis = analysis_of(dataset, results, trained.tolist())
    assert analysis.label_errors == []
    page = label_section(get_cfg(), analysis, "", "errors.csv")
    assert "None was found." in page
    assert "1 of 2 images are left out" in page


AP = {10: 30.0, 20: 50.0, 30: 40.0}  # after training steps


@pytest.mark.parametrize(
    ("ap", "logged", "step", "note"),
    [
        (50.09, {"bbox/AP": AP}, 20, ""),
        (40, {"bbox/AP": AP}, 30, "those after step 30 with AP 40.0, not those of best.pth"),
        (45, {"bbox/AP": AP}, None, "of other weights, or the images or annotations have changed"),
        (45, {"bbox/AP": {10: 30.0}}, 20, ""),  # nothing is known about the checkpoint
        (45, {}, 20, ""),
        (0, {"bbox/AP": AP}, None, "have AP 0.0, but metrics.json has AP 50.0 for best.pth"),
    ],
)
def test_results_of_other_weights(
    ap: float, logged: dict[str, Any], step: int | None, note: str
) -> None:
    cfg = get_cfg()
    cfg.DATASETS.TEST, cfg.OUTPUT_DIR = ("val",), "my runs/a"
    analysis: Any = SimpleNamespace(
        dataset=SimpleNamespace(name="val"), sizes={"": SimpleNamespace(ap=ap)}
    )
    found = origin_of_results(cfg, analysis, logged, checkpoint="a/best.pth", step=20)
    assert found.step == step
    assert note in found.note
    assert bool(found.note) == bool(note)
    assert not note or "retina eval 'my runs/a'" in found.note


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (["cat", "dog", "bird"], ""),
        (None, ""),
        (["cat", "hound", "bird"], "class 1 is 'hound' in the file and 'dog' in the data set"),
        (["cat", "dog"], "class 2 is none in the file and 'bird' in the data set"),
        (["cat", "dog", "bird", "fish"], "class 3 is 'fish' in the file and none in the data set"),
    ],
)
def test_a_checkpoint_of_other_classes(names: list[str] | None, note: str) -> None:
    found = other_classes("a.pth", {"class_names": names}, dataset_of([[]]))
    assert note in found
    assert bool(found) == bool(note)


def test_results_of_a_test_set_are_compared_with_the_last_of_this_set() -> None:
    """The best weights of step 20 were evaluated on the test sets after the last step, 30."""
    cfg = get_cfg()
    cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION = ("val",)
    cfg.DATASETS.TEST = ("a", "b")
    logged = {"bbox/AP": AP, "test/b/bbox/AP": {30: 45.0}}
    analysis: Any = SimpleNamespace(
        dataset=SimpleNamespace(name="b"), sizes={"": SimpleNamespace(ap=45.0)}
    )
    found = origin_of_results(cfg, analysis, logged, checkpoint="best.pth", step=20)
    assert found == Origin(20)
    analysis.sizes[""].ap = 50.0
    found = origin_of_results(cfg, analysis, logged, checkpoint="best.pth", step=20)
    assert found.step is None


@pytest.mark.parametrize(
    ("classes", "has_matrix", "opens"), [(30, True, False), (31, True, True), (201, False, False)]
)
def test_the_confusion_matrix_of_many_classes(classes: int, has_matrix: bool, opens: bool) -> None:
    names = [f"class {i}" for i in range(classes)]
    matrix = np.zeros((classes + 1, classes + 1), dtype=int)
    matrix[0, 1] = 3
    dataset = SimpleNamespace(class_names=names, num_classes=classes)
    analysis: Any = SimpleNamespace(dataset=dataset, confusion=matrix)
    page = confusion_section(analysis, "")
    assert ('class="confusion"' in page) is has_matrix
    assert ("<details>" in page) is opens
    assert ("too large for this page" in page) is not has_matrix


def test_many_classes_have_several_learning_curves() -> None:
    """The first chart has the ten classes with the lowest last AP, the last chart the other two."""
    scalars = {f"bbox/AP-class {i}": {10: 50.0, 20: 99.0 - i} for i in range(12)}
    run: Any = SimpleNamespace(
        scalars={**scalars, "total_loss": {10: 1.0}}, step=20, checkpoint=None,
        is_of_checkpoint=False, validation_sets=["val"],
    )  # fmt: skip
    page = str(learning_section(run, "", noise=None))
    first = page.index("bbox: AP of classes, 1 to 10 of 12, lowest first")
    last = page.index("bbox: AP of classes, 11 to 12 of 12, lowest first")
    assert first < page.index("total_loss") < last
    assert last < page.index("<title>class 1</title>")
    assert page.index("<title>class 11</title>") < page.index("<title>class 2</title>") < last


@pytest.mark.parametrize(
    ("times", "text"), [([0.5, 0.5, 0.02], "0.5 s (median), 16.0 images"), ([0], None)]
)
def test_speed(times: list[float], text: str | None) -> None:
    cfg = get_cfg()
    cfg.SOLVER.IMS_PER_BATCH = 8
    run: Any = SimpleNamespace(
        scalars={"time": dict(enumerate(times, start=1))}, step=None, validation_sets=[], cfg=cfg
    )
    page = str(learning_section(run, "", noise=None))
    assert text in page if text else "(median)" not in page


def test_the_only_class_with_boxes_is_explained() -> None:
    dataset = dataset_of([[box(CAT, A), box(CAT, FAR)], []])
    run: Any = SimpleNamespace(training_counts={})
    ((title, text),) = _worst(run, analysis_of(dataset, [result(1, CAT, A, 0.9)]))
    assert title == "Why not more:"
    assert "of the kind missed" in text
    assert list(_worst(run, analysis_of(dataset_of([[], []]), []))) == []


def test_f1_is_drawn_as_steps() -> None:
    """Cats have F1 2 / 3 up to the score 0.9, and 1 up to 0.3. Dogs have none, so the mean is
    half."""
    dataset = dataset_of([[box(CAT, A), box(CAT, FAR), box(DOG, A)]])
    results = [result(1, CAT, A, 0.9), result(1, CAT, FAR, 0.3)]
    cat, mean = f1_lines(analysis_of(dataset, results), [CAT])
    assert [line.name for line in (cat, mean)] == ["cat", "mean of all classes"]
    assert cat.mark == (0.3, 1.0)
    for line, share in ((cat, 1.0), (mean, 0.5)):
        for threshold, f1 in zip(line.x, line.y, strict=True):
            expected = 1 if threshold <= 0.3 else 2 / 3 if threshold <= 0.9 else 0
            assert f1 == pytest.approx(share * expected)


def test_the_command_that_repeats_a_run_is_quoted() -> None:
    run: Any = SimpleNamespace(folder="my runs/a")
    assert _repeat(run) == "retina train --config-file 'my runs/a/config.yaml' OUTPUT_DIR again"


def test_an_evaluation_without_any_box() -> None:
    analysis = analysis_of(dataset_of([[], []]), [result(1, CAT, A, 0.9)])
    assert math.isnan(analysis.sizes[""].ap)
    assert analysis.costs.counts.sum() == 1
