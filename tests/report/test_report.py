"""Drawings are read back: which pixels changed, which files are written, what is refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from retina_plugin.config import get_cfg
from retina_plugin.config.disk import DiskError
from retina_plugin.data import Dataset, DatasetError, Sample, load_dataset
from retina_plugin.engine.process import SkippedFiles
from retina_plugin.evaluation.coverage import DRAWS
from retina_plugin.report import (
    draw_boxes,
    draw_training_image,
    matched_shares,
    overview,
    prediction_grid,
    report_results,
    resize_for_display,
    results_by_image,
    side_by_side,
    write_image,
)
from retina_plugin.report.drawing import class_colour
from tests.full_disk import FullDisk
from tests.models import compact_model
from tests.scenes import write_scenes

pytestmark = pytest.mark.slow

cv2 = pytest.importorskip("cv2")

GRAY = np.full((200, 300, 3), 128, dtype=np.uint8)
NAMES = ("cat", "dog", "bird")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Six images with squares (id 3) and bars (id 7). The second has no box, the third a crowd."""
    return load_dataset(write_scenes(tmp_path_factory.mktemp("scenes"), count=6, seed=0))


def perfect(dataset: Dataset) -> list[dict]:
    """The ground truth as COCO results, with increasing scores."""
    entries = [
        (r["image_id"], a) for r in dataset.records for a in r["annotations"] if not a["iscrowd"]
    ]
    return [
        {
            "image_id": image,
            "category_id": dataset.category_ids[a["category_id"]],
            "bbox": [
                a["bbox"][0],
                a["bbox"][1],
                a["bbox"][2] - a["bbox"][0],
                a["bbox"][3] - a["bbox"][1],
            ],
            "score": (i + 1) / len(entries),
        }
        for i, (image, a) in enumerate(entries)
    ]


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(H, W) bool."""
    return (before != after).any(axis=2)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_box_is_drawn_where_it_is(label: int) -> None:
    drawn = draw_boxes(GRAY, [[40, 60, 120, 150]], [label], class_names=NAMES)
    # the last pixel of the box is (119, 149)
    for x, y in ((40, 60), (119, 60), (40, 149), (119, 149), (41, 100), (80, 148)):
        assert tuple(drawn[y, x]) == class_colour(label)
    inside, below = changed(GRAY, drawn)[62:148, 42:118], changed(GRAY, drawn)[151:]
    assert not inside.any()
    assert not below.any()
    assert not changed(GRAY, drawn)[:, :39].any()


def test_the_picture_is_a_copy_and_no_boxes_change_nothing() -> None:
    image = GRAY.copy()
    draw_boxes(image, [[1, 1, 50, 50]], [0], class_names=NAMES)
    assert (image == GRAY).all()
    for boxes in ([], np.zeros((0, 4)), torch.zeros(0, 4)):
        drawn = draw_boxes(image, boxes, [], class_names=NAMES, scores=[])
        assert (drawn == GRAY).all()


@pytest.mark.parametrize(
    "box",
    [
        [-50, -50, 400, 300],
        [10, 10, 10, 10],
        [299, 199, 300, 200],
        [500, 500, 600, 600],
        [5.4, 5.6, 6.4, 6.4],
    ],
    ids=["around the image", "no area", "last pixel", "outside", "less than a pixel"],
)
def test_odd_boxes_are_drawn_without_an_error(box: list[float]) -> None:
    drawn = draw_boxes(GRAY, [box], [0], class_names=NAMES, scores=[0.5])
    assert drawn.shape == GRAY.shape
    assert changed(GRAY, drawn).any()  # at least the label, moved into the image


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_without_a_name_is_an_error(label: int) -> None:
    with pytest.raises(
        ValueError,
        match=rf"class {label} has no name: 3 names are known \(cat, "
        r"dog, bird\)",
    ):
        draw_boxes(GRAY, [[0, 0, 9, 9]], [label], class_names=NAMES)


def test_the_best_box_is_on_top() -> None:
    boxes, labels = [[50, 60, 150, 160], [50, 60, 150, 160]], [0, 1]
    for scores, top in (([0.9, 0.2], 0), ([0.2, 0.9], 1)):
        drawn = draw_boxes(GRAY, boxes, labels, class_names=NAMES, scores=scores)
        assert tuple(drawn[159, 100]) == class_colour(top)


def test_labels_of_crowds_say_so() -> None:
    """Only the label differs, and it is wider."""
    plain, crowd = (
        draw_boxes(GRAY, [[50, 60, 150, 160]], [0], class_names=NAMES, crowd=[many])
        for many in (False, True)
    )
    rows, columns = np.nonzero(changed(plain, crowd))
    assert rows.max() < 60
    assert columns.max() > 100


@pytest.mark.parametrize(
    ("shape", "most", "expected"),
    [
        ((100, 150), None, (300, 450)),  # an integer factor
        ((299, 600), None, (598, 1200)),
        ((300, 300), None, (300, 300)),
        ((3000, 2000), None, (3000, 2000)),
        ((3000, 2000), 480, (480, 320)),
        ((10, 1000), 480, (5, 480)),  # the upper bound takes precedence
    ],
)
def test_fit(shape: tuple[int, int], most: int | None, expected: tuple[int, int]) -> None:
    image, boxes = resize_for_display(
        np.zeros((*shape, 3), np.uint8), [[0, 0, shape[1], shape[0]]], min_side=300, max_side=most
    )
    assert image.shape[:2] == expected
    np.testing.assert_allclose(boxes, [[0, 0, expected[1], expected[0]]], atol=0.5)
    assert resize_for_display(image, [], min_side=1)[1].shape == (0, 4)


def test_side_by_side_shows_ground_truth_left_and_detections_right() -> None:
    ground_truth = [{"bbox": [50, 60, 100, 150], "category_id": 0, "iscrowd": 0}]
    found = [{"bbox": [200, 60, 250, 150], "category_id": 1, "score": 0.9}]
    image = np.full((320, 400, 3), 128, np.uint8)
    picture = side_by_side(image, ground_truth, found, class_names=NAMES, caption="a.jpg")
    top, right = picture.shape[0] - 320, picture.shape[1] - 400
    assert tuple(picture[top + 100, 50]) == class_colour(0)
    assert tuple(picture[top + 100, right + 200]) == class_colour(1)
    assert tuple(picture[top + 100, 200]) == (128, 128, 128)
    assert tuple(picture[top + 100, right + 50]) == (128, 128, 128)


def test_side_by_side_without_any_box_and_with_a_long_caption() -> None:
    picture = side_by_side(GRAY, [], [], class_names=NAMES, caption="x" * 300)
    assert (picture[-400:, :600] == 128).all()  # enlarged by 2, without boxes
    assert picture.shape[1] < 1300


def test_results_by_image(dataset: Dataset) -> None:
    found = results_by_image(dataset, perfect(dataset), 0.5)
    entries = [entry for entries in found.values() for entry in entries]
    assert len(entries) == sum(r["score"] >= 0.5 for r in perfect(dataset)) > 0
    ground_truth = {r["image_id"]: [a["bbox"] for a in r["annotations"]] for r in dataset.records}
    for image, here in found.items():
        assert all(
            entry["bbox"] in ground_truth[image] for entry in here
        )  # XYWH was converted to XYXY
    assert {entry["category_id"] for entry in entries} == {0, 1}  # ids 3 and 7 in the file
    assert results_by_image(dataset, [], 0.5) == {}
    other = [
        {**r, "image_id": str(r["image_id"]), "category_id": float(r["category_id"])}
        for r in perfect(dataset)
    ]
    assert results_by_image(dataset, other, 0.5) == found  # as other tools write ids


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 999}, r"1 image ids \[999\] and 0 category ids"),
        ({"image_id": "a.jpg"}, r"1 image ids \['a.jpg'\]"),
        ({"category_id": 4}, r"0 image ids \[\] and 1 category ids \[4\]"),
    ],
)
def test_results_of_another_data_set_are_refused(
    dataset: Dataset, change: dict, words: str
) -> None:
    results = perfect(dataset)
    with pytest.raises(ValueError, match=words) as error:
        results_by_image(dataset, [*results, {**results[0], **change}], 0.5)
    assert dataset.json_file in str(error.value)


@pytest.mark.parametrize("results", [True, False], ids=["with detections", "without"])
@pytest.mark.parametrize(("images", "rows"), [(1, 1), (2, 1), (3, 2), (100, 3)])
def test_grid(dataset: Dataset, images: int, rows: int, results: bool) -> None:
    found = perfect(dataset) if results else []
    grid = prediction_grid(dataset, found, max_images=images, score_threshold=0)
    assert grid.dtype == np.uint8
    assert rows * 300 < grid.shape[0] < rows * 480
    assert grid.shape[1] < (1 if images == 1 else 2) * 1000


def test_grid_of_very_different_sizes_stays_small(tmp_path: Path) -> None:
    """Large photographs are reduced, so that the figure does not have 100 megapixels."""
    images, annotations = [], []
    for number, (height, width) in enumerate([(2000, 3000), (40, 30), (1500, 500)], start=1):
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(tmp_path / f"{number}.png")
        images.append(
            {"id": number, "file_name": f"{number}.png", "height": height, "width": width}
        )
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [0, 0, width, height]}
        )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "all"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    grid = prediction_grid(load_dataset(f"{tmp_path}/a.json@{tmp_path}"), [])
    assert max(grid.shape) < 2000


class Stub:
    """A fake model that finds 25 objects of class 0 in any image, the best ones on the left."""

    training, num_classes, input_format = False, 1, "BGR"

    def detect_images(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return [
            {
                "boxes": torch.tensor([[10.0 * i, 200, 10 * i + 8, 280] for i in range(25)]),
                "labels": torch.zeros(25, dtype=torch.int64),
                "scores": torch.linspace(0.9, 0.1, 25),
            }
        ]


def test_draw_training_image_shows_the_twenty_best_in_rgb() -> None:
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    image = torch.tensor([100, 128, 150], dtype=torch.uint8)[:, None, None].expand(3, 300, 300)
    for class_names in (["a"], None):
        picture = draw_training_image(Stub(), image, target, class_names=class_names)
        found = picture[-300:, -300:]
        assert tuple(found[240, 190]) == class_colour(0)
        assert tuple(found[240, 200]) == (150, 128, 100)


def test_draw_training_image_restores_mode_and_statistics_of_the_model() -> None:
    model = compact_model(MODEL__RESNETS__NORM="BN").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    target = {"boxes": torch.tensor([[4.0, 4, 40, 40]]), "labels": torch.tensor([2])}
    draw_training_image(model, torch.zeros(3, 64, 64), target, class_names=None)
    assert model.training
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_overview(dataset: Dataset) -> None:
    lines = overview(dataset).splitlines()
    assert lines[0].endswith("6 images, 1 of them without boxes; 10 boxes")
    assert lines[1].split() == ["class", "boxes", "size", "5", "%", "50", "%", "95", "%"]
    assert lines[2].split() == ["square", "5", "26", "26", "26"]
    assert lines[4].split() == ["nothing", "0", "-", "-", "-"]
    lines = overview(dataset, [0.5, 1.0, float("nan")]).splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["matched", "50%", "100%", "-"]
    assert len({len(line) for line in lines[1:]}) == 1


def doubled(dataset: Dataset, index: int, rng: np.random.Generator) -> Sample:
    """A sample of twice the size of the record, without pixels."""
    objects = [a for a in dataset.records[index]["annotations"] if not a["iscrowd"]]
    boxes = np.array([a["bbox"] for a in objects], dtype=np.float64)
    labels = np.array([a["category_id"] for a in objects])
    height, width = dataset.records[index]["height"], dataset.records[index]["width"]
    image = np.zeros((2 * height, 2 * width, 0), np.uint8)
    return {"image": image, "boxes": 2 * boxes, "labels": labels}


def test_boxes_outside_a_crop_do_not_count(dataset: Dataset) -> None:
    """Every other crop contains the boxes, the others contain none, so all boxes that are seen are
    matched."""
    sizes = []

    def cropped(index: int, rng: np.random.Generator) -> Sample:
        sample = doubled(dataset, index, rng)
        sizes.append(sample["image"].shape)
        kept = slice(len(sizes) % 2 * len(sample["labels"]))
        return {**sample, "boxes": sample["boxes"][kept], "labels": sample["labels"][kept]}

    squares = 2 * torch.tensor([a["bbox"] for r in dataset.records for a in r["annotations"]])
    shares = matched_shares(dataset, cropped, lambda h, w: squares, threshold=0.99, seed=0)
    assert shares[:2] == [1.0, 1.0]
    assert len(sizes) == DRAWS * sum(
        any(not a["iscrowd"] for a in r["annotations"]) for r in dataset.records
    )


def test_matched_shares(dataset: Dataset) -> None:
    """Anchors that equal the boxes, scaled like the image, match; half of a square has IoU 0.5."""
    squares = [
        a["bbox"]
        for r in dataset.records
        for a in r["annotations"]
        if a["category_id"] == 0 and not a["iscrowd"]
    ]
    whole = torch.tensor(squares) * 2
    halves = whole.clone()
    halves[:, 3] -= 26
    for anchors, threshold, expected in (
        (whole, 0.99, 1.0),
        (halves, 0.49, 1.0),
        (halves, 0.51, 0.0),
    ):
        shares = matched_shares(
            dataset,
            partial(doubled, dataset),
            lambda h, w, a=anchors: a,
            threshold=threshold,
            seed=0,
        )
        assert shares[0] == expected
        assert np.isnan(shares[2])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_write_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(str(path), GRAY)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with Image.open(path) as image:
        assert (np.asarray(image) == GRAY).all()


def test_an_image_is_written_completely_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    write_image(str(path), GRAY)
    before = path.read_bytes()

    with monkeypatch.context() as patched:
        FullDisk(tmp_path, "a.").install(patched)
        with pytest.raises(DiskError, match="png: No space"):
            write_image(str(path), GRAY + 1)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_finish_prints_the_table_and_writes_the_grid(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cfg = get_cfg()
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST = str(tmp_path), (dataset.name,)
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference/coco_instances_results.json").write_text(json.dumps(perfect(dataset)))
    report_results(cfg, {"bbox": {"AP": 71.25, "AP50": 90.0, "AP-square": 70.0}})
    printed = capsys.readouterr().out
    assert "71.2" in printed
    assert "AP of square" in printed
    assert str(tmp_path / "predictions.png") in printed
    with Image.open(tmp_path / "predictions.png") as image:
        assert min(image.size) > 600


def test_skipped_files_are_counted_and_reported(capsys: pytest.CaptureFixture) -> None:
    skipped = SkippedFiles()
    for reason in (None, "a.jpg is broken", "b.jpg is broken"):
        with skipped:
            if reason:
                raise DatasetError(reason)
    skipped.report(3)
    assert "2 of 3 files were skipped (first: a.jpg is broken)" in capsys.readouterr().out
    with pytest.raises(DatasetError, match=r"a\.jpg is broken"):
        skipped.report(2)
    with pytest.raises(RuntimeError), skipped:
        raise RuntimeError("anything else is not hidden")
