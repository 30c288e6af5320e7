"""COCO annotations: records of valid files, repairs, and the message for each mistake."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retina_plugin.data import DatasetError, class_counts, read_coco, require_boxes
from retina_plugin.data.repairs import Repairs, clip_box
from tests.coco_files import CONTENT, GONE, changed, write_coco

# --------------------------------------------------------------------------------------- good files


def test_everything_that_is_read(tmp_path: Path) -> None:
    json_file, images = write_coco(tmp_path)
    dataset = read_coco(json_file, images, name="pets")
    assert (dataset.name, dataset.json_file, dataset.image_root) == ("pets", json_file, images)
    assert (dataset.class_names, dataset.category_ids, dataset.num_classes) == (
        ("cat", "ant"),
        (3, 7),
        2,
    )
    assert dataset.warnings == ()
    assert dataset.records == [
        {
            "file_name": f"{images}/a.png",
            "image_id": 5,
            "height": 10,
            "width": 20,
            "annotations": [
                {"id": 1, "bbox": [2.0, 3.0, 6.0, 8.0], "category_id": 1, "iscrowd": 0, "area": 20},
                {
                    "id": 2,
                    "bbox": [0.0, 0.0, 20.0, 10.0],
                    "category_id": 0,
                    "iscrowd": 1,
                    "area": 200,
                },
            ],
        },
        {
            "file_name": f"{images}/deeper/b.png",
            "image_id": 2,
            "height": 10,
            "width": 20,
            "annotations": [],
        },
    ]
    assert class_counts(dataset.records, dataset.num_classes) == [0, 1]  # the cat is a crowd


def test_test_dev_layout(tmp_path: Path) -> None:
    """A file without annotations can be predicted on, but neither evaluated nor trained on."""
    content = {kind: CONTENT[kind] for kind in ("images", "categories")}
    dataset = read_coco(*write_coco(tmp_path, content))
    assert not dataset.has_ground_truth
    assert [record["annotations"] for record in dataset.records] == [[], []]
    assert read_coco(*write_coco(tmp_path, {**content, "annotations": []})).has_ground_truth
    with pytest.raises(DatasetError, match="no box to learn from"):
        require_boxes(dataset)


@pytest.mark.parametrize(
    ("area", "expected"),
    [(7.5, 7.5), (0, 20), (-3, 20), (None, 20), ("20", 20), (float("nan"), 20), (GONE, 20)],
)
def test_missing_or_zero_area_becomes_that_of_the_box(
    tmp_path: Path, area: Any, expected: float
) -> None:
    json_file, images = write_coco(
        tmp_path, changed("annotations", 0, area=area) if area is not GONE else CONTENT
    )
    assert read_coco(json_file, images).records[0]["annotations"][0]["area"] == expected


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(changed("images", 0, width=GONE, height=GONE), id="no size"),
        pytest.param(changed("images", 0, width=None, height=None), id="size null"),
        pytest.param(changed("images", 0, width=0, height=0), id="size 0"),
        pytest.param(changed("images", 0, width=20.0, height=10.0), id="size as floats"),
        pytest.param(changed("annotations", 0, iscrowd=None), id="iscrowd null"),
        pytest.param(changed("annotations", 0, iscrowd=False), id="iscrowd false"),
        pytest.param(changed("annotations", 0, image_id=5.0, category_id=7.0), id="ids as floats"),
        pytest.param(changed("annotations", 0, segmentation=[[1, 2, 3]], score=1), id="other keys"),
    ],
)
def test_other_spellings_of_the_same(tmp_path: Path, content: dict) -> None:
    assert (
        read_coco(*write_coco(tmp_path, content)).records
        == read_coco(*write_coco(tmp_path)).records
    )


def test_text_as_ids(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    for entry in content["images"]:
        entry["id"] = f"image {entry['id']}"
    for entry in content["categories"]:
        entry["id"] = f"class {entry['id']}"
    for entry in content["annotations"]:
        entry.update(
            id=f"box {entry['id']}",
            image_id=f"image {entry['image_id']}",
            category_id=f"class {entry['category_id']}",
        )
    dataset = read_coco(*write_coco(tmp_path, content))
    assert dataset.category_ids == ("class 3", "class 7")
    assert [(r["image_id"], len(r["annotations"])) for r in dataset.records] == [
        ("image 5", 2),
        ("image 2", 0),
    ]


@pytest.mark.parametrize(("orientation", "size"), [(1, (20, 10)), (3, (20, 10)), (6, (10, 20))])
def test_size_from_a_rotated_file(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    json_file, images = write_coco(tmp_path, changed("images", 0, width=GONE, height=GONE))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (20, 10)).save(f"{images}/a.png", exif=exif)
    record = read_coco(json_file, images).records[0]
    assert (record["width"], record["height"]) == size


# ------------------------------------------------------------------------------------------ repairs


@pytest.mark.parametrize(
    ("box", "kept", "words"),
    [
        pytest.param([2, 3, 4, 5], [2, 3, 6, 8], None, id="inside"),
        pytest.param([0, 0, 20, 10], [0, 0, 20, 10], None, id="all of it"),
        pytest.param([-0.5, 0, 21, 10.9], [0, 0, 20, 10], None, id="rounding"),
        pytest.param(
            [-3, 4, 10, 5], [0, 4, 7, 9], "reach outside their image and were clipped", id="left"
        ),
        pytest.param(
            [15, 5, 10, 10],
            [15, 5, 20, 10],
            "reach outside their image and were clipped",
            id="below",
        ),
        pytest.param([30, 3, 4, 5], None, "lie outside their image and were dropped", id="outside"),
        pytest.param(
            [20, 3, 4, 5],
            None,
            "lie outside their image and were dropped",
            id="touches from outside",
        ),
        pytest.param(
            [-1e308, 3, 1, 5], None, "lie outside their image and were dropped", id="far outside"
        ),
        pytest.param([2, 3, 0, 5], None, "have no area and were dropped", id="no width"),
        pytest.param([2, 3, 4, -5], None, "have no area and were dropped", id="negative height"),
    ],
)
def test_boxes(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    box: list,
    kept: list | None,
    words: str | None,
) -> None:
    json_file, images = write_coco(tmp_path, changed("annotations", 0, bbox=box))
    with caplog.at_level(logging.WARNING):
        dataset = read_coco(json_file, images)
    found = [a["bbox"] for a in dataset.records[0]["annotations"] if not a["iscrowd"]]
    assert found == ([] if kept is None else [kept])
    assert list(dataset.warnings) == [record.getMessage() for record in caplog.records]
    if words is None:
        assert dataset.warnings == ()
    else:
        (line,) = dataset.warnings
        assert (
            line
            == f"{json_file}: 1 of 2 boxes {words} (first: annotation 1 of a.png, bbox {box} in "
            "20x10)"
        )


def test_many_repairs_are_one_line(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    bad = [
        {"id": 10 + i, "image_id": 2, "category_id": 3, "bbox": [i, 0, 0, 1]} for i in range(5000)
    ]
    bad += [
        {"id": 9000 + i, "image_id": 2, "category_id": 3, "bbox": [-9, 0, 12, 5 - i / 1000]}
        for i in range(3000)
    ]
    content["annotations"] += bad
    dataset = read_coco(*write_coco(tmp_path, content))
    assert [line.split(": ", 1)[1].split(" (")[0] for line in dataset.warnings] == [
        "5000 of 8002 boxes have no area and were dropped",
        "3000 of 8002 boxes reach outside their image and were clipped",
    ]
    assert "annotation 10 of b.png" in dataset.warnings[0]
    assert len(dataset.records[1]["annotations"]) == 3000


@given(box=st.lists(st.floats(-100, 100), min_size=4, max_size=4))
def test_a_box_becomes_its_part_inside_the_image(box: list[float]) -> None:
    record = {"file_name": "a.png", "height": 10, "width": 20}
    x, y, width, height = box
    inside = clip_box({"id": 1, "bbox": box}, record, Repairs())
    if inside is None:
        assert (
            min(width, height) <= 0
            or min(x + width, 20) <= max(x, 0)
            or min(y + height, 10) <= max(y, 0)
        )
    else:
        assert 0 <= inside[0] < inside[2] <= 20
        assert 0 <= inside[1] < inside[3] <= 10
        assert inside[0] in (0, x)
        assert inside[2] in (20, x + width)
        assert inside[1] in (0, y)
        assert inside[3] in (10, y + height)


# ----------------------------------------------------------------------------------------- mistakes

ENTRIES = {
    "unknown category": (("annotations", 0, {"category_id": 4}), r"annotation 1 of a.png has "
                                                                 r"category_id 4, known are \[3, "
                                                                 r"7\]"),
    "category as other "
    "text": (("annotations", 0, {"category_id": "ant"}), "annotation 1 of a.png has category_id "
                                                         "'ant', known are"),
    "category as "
    "true": (("annotations", 0, {"category_id": True}), r"\(id 1\) needs category_id: a number or "
                                                        r"text; found True"),
    "no category": (("annotations", 0, {"category_id": GONE}), r"entry 0 of 'annotations' \(id 1\) "
                                                               r"needs category_id: .* found "
                                                               r"nothing"),
    "unknown image": (("annotations", 1, {"image_id": 9}), "annotation 2 belongs to image 9, which "
                                                           "is not among the images"),
    "image as other "
    "text": (("annotations", 1, {"image_id": "5.png"}), "annotation 2 belongs to image '5.png', "
                                                        "which is not"),
    "image as list": (("annotations", 1, {"image_id": [5]}), r"needs image_id: a number or text; "
                                                             r"found \[5\]"),
    "no annotation "
    "id": (("annotations", 1, {"id": GONE}), r"entry 1 of 'annotations' \(id None\) needs id"),
    "annotation id "
    "twice": (("annotations", 1, {"id": 1}), "entry 1 of 'annotations' has id 1, as entry 0 has"),
    "image id twice": (("images", 1, {"id": 5}), "entry 1 of 'images' has id 5, as entry 0 has"),
    "category id "
    "twice": (("categories", 1, {"id": 7}), "entry 1 of 'categories' has id 7, as entry 0 has"),
    "category name "
    "twice": (("categories", 1, {"name": "ant"}), "categories 7 and 3 are both called 'ant'"),
    "two kinds of category "
    "id": (("categories", 1, {"id": "3"}), "ids of 'categories' are numbers"),
    "two kinds of image id": (("images", 1, {"id": "2"}), "ids of 'images' are numbers"),
    "no box": (("annotations", 0, {"bbox": GONE}), r"\(id 1\) needs bbox: \[x, y, width, height\], "
                                                   r"finite numbers; found nothing"),
    "short box": (("annotations", 0, {"bbox": [1, 2, 3]}), r"needs bbox: .* found \[1, 2, 3\]"),
    "empty box": (("annotations", 0, {"bbox": []}), r"needs bbox: .* found \[\]"),
    "box of text": (("annotations", 0, {"bbox": ["1", 2, 3, 4]}), r"needs bbox: .* found \['1', 2, "
                                                                  r"3, 4\]"),
    "box with NaN": (("annotations", 0, {"bbox": [float("nan"), 2, 3, 4]}), r"needs bbox: .* found "
                                                                            r"\[nan, 2, 3, 4\]"),
    "infinite box": (("annotations", 0, {"bbox": [1, 2, float("inf"), 4]}), r"needs bbox: .* found "
                                                                            r"\[1, 2, inf, 4\]"),
    "box beyond floats": (("annotations", 0, {"bbox": [10**400, 2, 3, 4]}), "needs bbox: .* found"),
    "strange iscrowd": (("annotations", 0, {"iscrowd": "yes"}), "needs iscrowd: 0 or 1; found "
                                                                "'yes'"),
    "strange difficult": (("annotations", 0, {"difficult": "no"}), "needs difficult: 0 or 1"),
    "strange width": (("images", 0, {"width": "20"}), r"entry 0 of 'images' \(id 5\) needs width: "
                                                      r"a whole number of pixels; found '20'"),
    "broken height": (("images", 0, {"height": 10.5}), "needs height: a whole number of pixels; "
                                                       "found 10.5"),
    "negative height": (("images", 0, {"height": -10}), "needs height: a whole number of pixels; "
                                                        "found -10"),
    "no file name": (("images", 0, {"file_name": None}), "needs file_name: text; found None"),
    "empty file name": (("images", 0, {"file_name": ""}), "needs file_name: text; found ''"),
    "no class name": (("categories", 0, {"name": GONE}), r"entry 0 of 'categories' \(id 7\) needs "
                                                         r"name: text; found nothing"),
    "class name is a number": (("categories", 0, {"name": 7}), "needs name: text; found 7"),
    "missing image": (("images", 0, {"file_name": "c.png"}), "1 of 2 images of .*annotations.json "
                                                             "are missing: .*images/c.png. Check"),
    "folder for an "
    "image": (("images", 0, {"file_name": "deeper/"}), "1 of 2 images .* are missing: .*deeper/"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), ENTRIES.values(), ids=ENTRIES)
def test_mistakes_in_an_entry(tmp_path: Path, change: tuple[str, int, dict], words: str) -> None:
    kind, place, values = change
    json_file, images = write_coco(tmp_path, changed(kind, place, **values))
    with pytest.raises(DatasetError, match=words) as error:
        read_coco(json_file, images)
    assert json_file in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("", "is not JSON .* it may be truncated: write it again", id="empty"),
        pytest.param(json.dumps(CONTENT)[:-9], "is not JSON", id="cut off"),
        pytest.param("[" * 100_000, "nested too deep", id="nested without end"),
        pytest.param("9" * 5000, "has a number that is too long", id="5000 digits"),
        pytest.param(
            "[]", "expected the lists images, annotations, categories, found 'list'", id="a list"
        ),
        pytest.param(
            {"images": []},
            r"not in COCO's layout: .*, found "
            r"\['images'\]",
            id="only images",
        ),
        pytest.param(
            {**CONTENT, "annotations": {}}, "not in COCO's layout", id="annotations by name"
        ),
        pytest.param(
            {**CONTENT, "annotations": [1]},
            "entry 0 of 'annotations': expected an object with id, image_id.*found 1",
            id="1",
        ),
        pytest.param({**CONTENT, "images": [], "annotations": []}, "has no images", id="no images"),
        pytest.param(
            {**CONTENT, "categories": [], "annotations": []},
            "has no categories: list the",
            id="no classes",
        ),
    ],
)
def test_files_that_are_not_annotations(tmp_path: Path, content: Any, words: str) -> None:
    json_file, images = write_coco(tmp_path, content)
    with pytest.raises(DatasetError, match=words) as error:
        read_coco(json_file, images)
    assert json_file in str(error.value)
    assert ("truncated" in str(error.value)) == ("is not JSON" in words)


def test_binary_and_missing_files(tmp_path: Path) -> None:
    json_file, images = write_coco(tmp_path)
    Path(json_file).write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    with pytest.raises(DatasetError, match="is not JSON"):
        read_coco(json_file, images)
    Path(json_file).unlink()
    with pytest.raises(
        DatasetError,
        match=r"no annotations at "
        r".*annotations\.json.*DETECTRON2_DATASETS",
    ):
        read_coco(json_file, images)
    with pytest.raises(DatasetError, match="cannot be read: it is a directory"):
        read_coco(str(tmp_path), images)


def test_a_missing_folder_is_one_short_message(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    content["images"] = [
        {"id": i, "file_name": f"{i}.png", "height": 1, "width": 1} for i in range(1000)
    ]
    json_file, _ = write_coco(tmp_path, content)
    with pytest.raises(
        DatasetError, match=r"1000 of 1000 images .*nowhere/0.png.*nowhere/2.png, \.\.\.\. Check"
    ) as error:
        read_coco(json_file, str(tmp_path / "nowhere"))
    assert len(str(error.value)) < 600


def test_a_file_system_that_lists_names_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    json_file, images = write_coco(tmp_path)
    monkeypatch.setattr("os.listdir", lambda folder: ["A.PNG", "B.PNG"])
    assert len(read_coco(json_file, images).records) == 2


def test_a_broken_image_whose_size_is_needed(tmp_path: Path) -> None:
    json_file, images = write_coco(tmp_path, changed("images", 0, width=GONE))
    Path(images, "a.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"image .*a\.png cannot be read"):
        read_coco(json_file, images)


def test_training_needs_boxes(tmp_path: Path) -> None:
    full = read_coco(*write_coco(tmp_path / "full"), name="full")
    crowds = read_coco(
        *write_coco(tmp_path / "crowds", changed("annotations", 0, iscrowd=1)), name="crowds"
    )
    empty = read_coco(*write_coco(tmp_path / "empty", {**CONTENT, "annotations": []}), name="empty")
    require_boxes(full)
    require_boxes(empty, full)  # a second data set may contain only background
    with pytest.raises(
        DatasetError,
        match=r"in 2 images of crowds \(.*crowds/annotations.json\), "
        r"2 images of empty",
    ):
        require_boxes(crowds, empty)


def test_classes_that_cannot_be_learnt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    json_file, images = write_coco(tmp_path)
    require_boxes(read_coco(json_file, images, name="pets"))
    # its only box is a crowd
    assert "no box in pets of these classes, which cannot be learnt: cat" in caplog.text


def test_the_parent_category_of_roboflow(tmp_path: Path) -> None:
    """It stays a class even if one file uses it, so that training and test set agree; a warning
    names it where it is unused."""
    content = copy.deepcopy(CONTENT)
    for category in content["categories"]:
        category["supercategory"] = "pets"
    content["categories"].insert(0, {"id": 0, "name": "pets", "supercategory": "none"})
    dataset = read_coco(*write_coco(tmp_path, content))
    assert dataset.class_names == ("pets", "cat", "ant")
    (line,) = dataset.warnings
    assert (
        "category 0 ('pets') is only the supercategory of others, as in Roboflow's exports" in line
    )
    content["annotations"][0]["category_id"] = 0
    assert read_coco(*write_coco(tmp_path, content)).warnings == ()
    assert read_coco(*write_coco(tmp_path, {**content, "annotations": []})).warnings == ()


@pytest.mark.parametrize(
    ("key", "flag"),
    [("difficult", "difficult"), ("group_of", "group_of"), ("is_group_of", "group_of")],
)
def test_boxes_with_flags_are_not_learned(tmp_path: Path, key: str, flag: str) -> None:
    content = changed("annotations", 0, iscrowd=0, **{key: True})
    entry = read_coco(*write_coco(tmp_path, content)).records[0]["annotations"][0]
    assert (entry["iscrowd"], entry[flag]) == (1, 1)
    content = changed("annotations", 0, **{key: 0})
    entry = read_coco(*write_coco(tmp_path, content)).records[0]["annotations"][0]
    assert entry["iscrowd"] == 0
    assert flag not in entry
