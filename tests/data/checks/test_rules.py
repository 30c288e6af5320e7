"""Each rule finds the one error of a data set that has only this error."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retina_plugin.data import DatasetError
from retina_plugin.data.checks import RULES, NetworkView, check_datasets
from retina_plugin.data.checks.box_table import BoxTable
from retina_plugin.data.checks.boxes import same_place_pairs
from retina_plugin.data.checks.read import read_checked
from retina_plugin.data.checks.report import describe
from tests.data.checks.sets import HEIGHT, VIEW, WIDTH, Scene, found, picture

pytestmark = pytest.mark.slow

CUT = 40  # bytes that are missing at the end of a truncated file


def truncate(s: Scene) -> None:
    os.truncate(s.path(3), s.path(3).stat().st_size - CUT)


def stored_sideways(s: Scene) -> None:
    """Store image 3 rotated by 90 degrees, with an EXIF orientation; the annotations have the size
    of the stored image."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(3).transpose(Image.Transpose.ROTATE_90).save(s.path(3), exif=exif)
    s.images[3] |= {"width": HEIGHT, "height": WIDTH}


def turn_upside_down(s: Scene) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    picture(3).rotate(180).save(s.path(3), exif=exif)


def to_fractions(s: Scene) -> None:
    for a in s.annotations:
        x, y, w, h = a["bbox"]
        a["bbox"] = [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]


def to_corners(s: Scene) -> None:
    """Boxes in the lower right, as corners."""
    for i, a in enumerate(s.annotations):
        x, y = 20 + 2 * (i % 8), 20 + i % 5
        a["bbox"] = [x, y, x + 20, y + 16 + i % 2]


def copy_file(s: Scene, *, boxes: bool) -> None:
    s.add_image(12, picture(3))
    if boxes:
        s.add_box(12, 1, [5, 3, 20, 15])
        s.add_box(12, 2, [30, 5, 12, 14])


def outlier(s: Scene, size: tuple[int, int]) -> None:
    s.add_image(12, picture(12, size))


def nine_bees(s: Scene) -> None:
    for a in s.annotations[19::2]:
        a["category_id"] = 1


def replace(s: Scene, values: np.ndarray) -> None:
    Image.fromarray(values.astype(np.uint8)).convert("RGB").save(s.path(3))


DARK = np.add.outer(np.arange(48), np.arange(64)) % 40
CASES = [
    ("clean", lambda s: None, {}),
    ("box is text", lambda s: s.annotations[5].update(bbox="x"), {"invalid-annotation": [5]}),
    ("unknown image", lambda s: s.annotations[5].update(image_id=77), {"invalid-annotation": [5]}),
    ("unknown class", lambda s: s.annotations[4].update(category_id=7),
     {"invalid-annotation": [4]}),
    ("two bad entries", lambda s: s.annotations.extend([{"id": 90}, 7]),
     {"invalid-annotation": [90, "a.json"]}),
    ("id twice", lambda s: s.add_box(1, 1, [9, 9, 9, 9]) or s.annotations[-1].update(id=3),
     {"invalid-annotation": [3]}),
    ("class name twice", lambda s: s.categories.append({"id": 3, "name": "ant"}),
     {"invalid-annotation": ["a.json"], "unused-class": ["a.json"]}),
    ("missing image", lambda s: s.path(3).unlink(), {"missing-image": ["3.png"]}),
    ("truncated", truncate, {"unreadable-image": ["3.png"]}),
    ("not an image", lambda s: s.path(3).write_text("no"), {"unreadable-image": ["3.png"]}),
    ("five channels", lambda s: s.path(3).write_bytes(b""), {"unreadable-image": ["3.png"]}),
    ("wrong size", lambda s: s.images[3].update(width=65), {"wrong-size": ["3.png"]}),
    ("sideways", stored_sideways, {"exif-rotation": ["a.json"]}),
    ("upside down", turn_upside_down, {"unclear-rotation": ["3.png"]}),
    ("fractions", to_fractions, {"wrong-coordinates": ["a.json"]}),
    ("corners", to_corners, {"wrong-coordinates": ["a.json"]}),
    ("one fraction", lambda s: s.annotations[5].update(bbox=[0.1, 0.2, 0.5, 0.25]),
     {"suspicious-coordinates": ["a.json"], "small-box": [5]}),
    ("outside", lambda s: s.annotations[5].update(bbox=[50, 10, 16, 20]), {"outside-image": [5]}),
    ("at most a pixel outside", lambda s: s.annotations[5].update(bbox=[50, 10, 15, 20]), {}),
    ("wholly outside", lambda s: s.add_box(3, 1, [70, 10, 9, 9]), {"outside-image": [24]}),
    ("no area", lambda s: s.add_box(3, 1, [10, 10, 0, 9]), {"no-area": [24]}),
    ("negative", lambda s: s.add_box(3, 1, [10, 10, 5, -9]), {"no-area": [24]}),
    ("repeated", lambda s: s.add_box(3, 1, [5, 3, 20, 15]), {"duplicate-box": [24]}),
    ("two classes", lambda s: s.add_box(3, 2, [5, 3, 20, 15.5]), {"two-classes": [24]}),
    ("two classes, apart", lambda s: s.add_box(3, 2, [5, 3, 20, 16]), {}),
    ("two classes, crowd", lambda s: s.add_box(3, 2, [5, 3, 20, 15], iscrowd=1), {}),
    ("similar names", lambda s: s.categories[1].update(name="Ant "),
     {"similar-class-names": ["a.json"]}),
    ("one file twice", lambda s: s.images.append(s.images[3] | {"id": 12}),
     {"same-file": ["3.png"]}),
    ("copy", lambda s: copy_file(s, boxes=True), {"copied-image": ["12.png"]}),
    ("copy without boxes", lambda s: copy_file(s, boxes=False), {"copied-image": ["12.png"]}),
    ("near copy", lambda s: s.add_image(12, picture(3), compress_level=1),
     {"near-copy": ["12.png"]}),
    ("small", lambda s: s.add_box(3, 1, [5, 30, 7.9, 8]), {"small-box": [24]}),
    ("large enough", lambda s: s.add_box(3, 1, [5, 30, 8, 8]), {}),
    ("many objects", lambda s: [s.add_box(3, 1, [i / 4, i / 8, 9, 9]) for i in range(100)],
     {"too-many-objects": ["3.png"]}),
    ("unused class", lambda s: s.categories.append({"id": 9, "name": "cat"}),
     {"unused-class": ["a.json"]}),
    ("rare class", nine_bees, {"rare-class": ["a.json"]}),
    ("large image", lambda s: outlier(s, (128, 96)), {"unusual-size": ["12.png"]}),
    ("larger image", lambda s: outlier(s, (80, 60)), {}),
    ("tall image", lambda s: outlier(s, (48, 64)), {"unusual-shape": ["12.png"]}),
    ("two tall images of 14", lambda s: [s.add_image(i, picture(i, (48, 64))) for i in (12, 13)],
     {}),
    ("gray image", lambda s: picture(3).convert("L").save(s.path(3)), {"mixed-pixels": ["3.png"]}),
    ("dark", lambda s: replace(s, DARK), {"dark-image": ["3.png"]}),
    ("bright", lambda s: replace(s, 255 - DARK % 12), {"bright-image": ["3.png"]}),
    ("blank", lambda s: replace(s, 0 * DARK + 100), {"blank-image": ["3.png"]}),
    ("other spelling", lambda s: s.images[3].update(file_name="3.PNG"), {"converted": ["a.json"]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [pytest.param(change, expected, id=name) for name, change, expected in CASES],
)
def test_one_thing_is_wrong(tmp_path, change, expected):
    scene = Scene(tmp_path)
    change(scene)
    assert found(scene.write()) == expected


def test_the_table_has_every_rule_that_needs_one_data_set():
    tested = {rule for _, _, expected in CASES for rule in expected}
    assert tested | {"leaked-image", "leaked-near-copy", "different-classes"} == set(RULES)


def test_images_in_two_data_sets(tmp_path):
    training, validation = Scene(tmp_path / "t"), Scene(tmp_path / "v", first_seed=50)
    assert found(training.write(), validation.write()) == {}
    shutil.copy(training.path(4), validation.path(7))
    picture(6).save(validation.path(8), compress_level=1)
    names = training.write(), validation.write()
    assert found(*names) == {"leaked-image": ["4.png"], "leaked-near-copy": ["6.png"]}
    finding = check_datasets(names, show=False).findings[0]
    assert (finding.dataset, finding.other) == (names[0], str(validation.path(7)))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("bee", "ant"), "has the classes of {} in another order: give both"),
        (("ant",), "lacks 'bee' of {}: give both"),
        (("ant", "bee", "cat"), "has 'cat', which {} lacks: give both"),
    ],
)
def test_different_classes(tmp_path, names, message):
    training, validation = Scene(tmp_path / "t"), Scene(tmp_path / "v", first_seed=50)
    validation.categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
    for annotation in validation.annotations:
        annotation["category_id"] = min(annotation["category_id"], len(names))
    first = training.write()
    result = check_datasets([first, validation.write()], show=False)
    (finding,) = [f for f in result.findings if RULES[f.rule].severity != "note"]
    assert (finding.rule, Path(finding.file).parent.name) == ("different-classes", "v")
    assert finding.message.startswith(message.format(first))


def test_splits_of_one_data_set_are_compared(tmp_path):
    for split, seed in (("train", 0), ("val", 50)):
        scene = Scene(tmp_path / split, first_seed=seed)
        if split == "val":
            shutil.copy(tmp_path / "train" / "images" / "4.png", scene.path(7))
        scene.write()
    assert found(str(tmp_path)) == {"leaked-image": ["4.png"]}
    assert found(f"{tmp_path}:val") == {}


def test_boxes_without_a_view_are_not_measured(tmp_path):
    scene = Scene(tmp_path)
    scene.add_box(3, 1, [5, 30, 4, 4])
    assert found(scene.write(), view=None) == {}
    assert found(scene.write(), view=NetworkView(2 * HEIGHT, 2 * WIDTH, 100)) == {}


def test_pairs_of_boxes_in_one_place():
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 50, (60, 4))
    base[:, 2:] += base[:, :2] + 20
    boxes = np.concatenate([base, base + rng.uniform(-1, 1, base.shape)])
    images, labels = np.sort(rng.integers(0, 4, 120)), rng.integers(0, 3, 120)
    boxes = boxes[rng.permutation(120)]
    table = BoxTable([], boxes, labels, images, [])
    expected = []
    for i in range(120):
        for j in range(i + 1, 120):
            low = np.maximum(boxes[i, :2], boxes[j, :2])
            high = np.minimum(boxes[i, 2:], boxes[j, 2:])
            common = np.prod((high - low).clip(0))
            areas = [np.prod(boxes[k, 2:] - boxes[k, :2]) for k in (i, j)]
            same = images[i] == images[j] and labels[i] != labels[j]
            if same and common / (sum(areas) - common) >= 0.95:
                expected.append((i, j))
    assert same_place_pairs(table) == expected
    assert expected


@pytest.mark.parametrize(
    ("given", "box", "outcome", "corrected"),  # the file has 64x48 pixels
    [
        pytest.param((32, 24), [40, 30, 20, 15], "size of the file", [40, 30, 60, 45], id="keep"),
        pytest.param((128, 96), [80, 60, 40, 30], "annotations", [40, 30, 60, 45], id="scale"),
        pytest.param((128, 96), [8, 6, 40, 30], "nothing shows", None, id="fits in both"),
        pytest.param((128, 60), [80, 6, 40, 30], "nothing shows", None, id="another shape"),
        pytest.param((32, 24), None, "size of the file", None, id="no box"),
    ],
)
def test_wrong_sizes(tmp_path, given, box, outcome, corrected):
    scene = Scene(tmp_path)
    picture(20).save(scene.add_image(12, picture(20)))
    scene.images[12] |= {"width": given[0], "height": given[1]}
    if box:
        scene.add_box(12, 1, box)
    (checked,) = check_datasets([scene.write()], lambda _: VIEW, show=False).sets
    assert [finding.rule for finding in checked.findings] == ["wrong-size"]
    assert outcome in checked.findings[0].message
    record = checked.dataset.records[12]
    assert (record["width"], record["height"]) == (64, 48)
    assert (checked.unclear == {record["file_name"]}) == ("nothing" in outcome)
    if corrected:
        assert record["annotations"][0]["bbox"] == corrected


def test_bad_rows_of_yolo(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for i in range(12):
        picture(i).save(tmp_path / "images" / f"{i}.png")
        (tmp_path / "labels" / f"{i}.txt").write_text("0 .4 .4 .5 .5\n")
    (tmp_path / "labels" / "3.txt").write_text("0 .4 .4 .5 .5\n0 2 .4 .5 .5\nx\n0 .9 .4 .5 .5\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [ant]\n")
    label = str(tmp_path / "labels" / "3.txt")
    assert found(str(tmp_path / "data.yaml")) == {
        "invalid-annotation": [f"{label}, line 2", f"{label}, line 3"],
        "outside-image": [f"{label}, line 4"],
    }


def test_a_path_without_data_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="no annotation format is recognised"):
        check_datasets([str(tmp_path)], show=False)


@pytest.mark.parametrize(
    ("content", "number"), [("{", 1), ('{"images": [], "annotations": [], "categories": []}', 2)]
)
def test_a_file_that_cannot_be_used_at_all(tmp_path, content, number):
    (tmp_path / "a.json").write_text(content)
    assert found(f"{tmp_path / 'a.json'}@{tmp_path}") == {"invalid-annotation": ["a.json"] * number}


def test_a_file_that_cannot_be_read_has_no_format(tmp_path):
    header = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    (tmp_path / "boxes.csv").write_text(header)
    shown = describe(read_checked(str(tmp_path)).dataset)
    assert shown == f"{tmp_path} (cannot be read): 0 images, 0 boxes, 0 classes"


def test_the_page_states_every_rule():
    page = re.sub(r"\s+", " ", Path("docs/data_checks.md").read_text(encoding="utf-8"))
    for name, rule in RULES.items():
        assert f"| `{name}` | {rule.severity} | {rule.criterion} | {rule.repair or '-'} |" in page
