"""COCO by path: folders of Roboflow and others, where images are, the category of a group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retina_plugin.data import DatasetError, load_dataset, splits_of, use_box_coordinates
from retina_plugin.data.catalog import names_of_splits
from tests.coco_files import CONTENT, write_coco
from tests.imported_boxes import write_images

CATEGORIES = [
    {"id": 0, "name": "pets", "supercategory": "none"},
    {"id": 1, "name": "ant", "supercategory": "pets"},
    {"id": 2, "name": "cat", "supercategory": "cat"},
]


def content(name: str = "a.png", categories: Any = CATEGORIES, category: int = 1) -> dict[str, Any]:
    box = {"id": 1, "image_id": 1, "category_id": category, "bbox": [10, 5, 30, 20]}
    image = {"id": 1, "file_name": name, "width": 100, "height": 50}
    return {"images": [image], "annotations": [box], "categories": categories}


def write(file: Path, data: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data))


def write_roboflow(folder: Path, valid_category: int = 1) -> None:
    for split, category in (("train", 1), ("valid", valid_category), ("test", 1)):
        write(folder / split / "_annotations.coco.json", content(category=category))
        write_images(folder / split, "a.png")


def test_roboflow(tmp_path: Path) -> None:
    write_roboflow(tmp_path)
    assert list(splits_of(str(tmp_path))) == ["test", "train", "val"]
    train, val = load_dataset(str(tmp_path)), load_dataset(f"{tmp_path}:valid")
    assert train.class_names == val.class_names == ("ant", "cat")
    assert train.records[0]["annotations"][0]["category_id"] == 0
    (line,) = train.warnings
    assert line.endswith(
        "category 0 ('pets') is the supercategory of others and has no annotation, as in "
        "Roboflow's exports: it was dropped"
    )
    assert train.format == f"COCO, split train, images in {tmp_path}/train"
    assert load_dataset(f"{tmp_path}/valid/_annotations.coco.json").class_names == ("ant", "cat")
    assert load_dataset(f"{tmp_path}/test").class_names == ("ant", "cat")


def test_a_supercategory_that_a_split_uses_stays_in_all(tmp_path: Path) -> None:
    write_roboflow(tmp_path, valid_category=0)
    for name in (f"{tmp_path}", f"{tmp_path}:val", f"{tmp_path}/train/_annotations.coco.json"):
        assert load_dataset(name).class_names == ("pets", "ant", "cat")


def test_a_category_without_annotations_that_is_no_supercategory_stays(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "ant"}, {"id": 2, "name": "cat", "supercategory": "cat"}]
    write(tmp_path / "a.json", content(categories=categories))
    write_images(tmp_path, "a.png")
    assert load_dataset(str(tmp_path)).class_names == ("ant", "cat")


LAYOUTS = {  # JSON file, image, its name in the file
    "CVAT": ("annotations/instances_default.json", "images/a.png", "a.png"),
    "COCO": ("annotations/instances_train2017.json", "train2017/a.png", "a.png"),
    "Label Studio": ("result.json", "images/a.png", "images/a.png"),
    "Label Studio, old": ("result.json", "images/a.png", "../../media/upload/1/a.png"),
    "LabelMe": ("annotations.json", "JPEGImages/a.png", "JPEGImages/a.png"),
    "beside": ("labels.json", "a.png", "a.png"),
    "folder of the split": ("train.json", "images/train/a.png", "a.png"),
    "Windows": ("train.json", "a.png", "C:\\my\\a.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file, image, name = LAYOUTS[layout]
    write(tmp_path / file, content(name, CATEGORIES[1:]))
    write_images(tmp_path, image)
    monkeypatch.chdir(tmp_path)
    for path in (str(tmp_path), f"{tmp_path}/{file}", ".", file):
        dataset = load_dataset(path)
        assert dataset.records[0]["annotations"][0]["bbox"] == [10, 5, 40, 25]
        found = Path(dataset.records[0]["file_name"]).resolve()
        assert found == (tmp_path / image).resolve()
        by_base_name = layout in ("Label Studio, old", "Windows")
        assert any("found by their base name" in line for line in dataset.warnings) == by_base_name


def test_files_of_coco_without_boxes_are_left_out(tmp_path: Path) -> None:
    for name in ("instances_train2017", "person_keypoints_train2017", "captions_train2017"):
        write(tmp_path / f"annotations/{name}.json", content())
    write_images(tmp_path, "train2017/a.png")
    (files,) = splits_of(str(tmp_path)).values()
    assert files.endswith("instances_train2017.json")


@pytest.mark.parametrize("name", ["stuff_train", "person_keypoints_val", "image_info_x"])
def test_such_a_file_is_read_if_it_is_named_or_the_only_one(tmp_path: Path, name: str) -> None:
    write(tmp_path / f"{name}.json", content())
    write_images(tmp_path, "images/a.png")
    file = f"{tmp_path}/{name}.json"
    for data in (str(tmp_path), file, f"{file}@{tmp_path}/images"):
        assert len(load_dataset(data).records[0]["annotations"]) == 1


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (("annotations/siteA", "annotations/siteB"), ["siteA", "siteB"]),
        (("siteA/boxes", "siteB/boxes"), ["siteA", "siteB"]),
        (("annotations/site@A", "annotations/site:B"), ["site_A", "site_B"]),
        (("a", "annotations/a"), ["a", "annotations_a"]),
        (("train", "siteB"), ["siteB", "train"]),
    ],
)
def test_each_split_can_be_named(tmp_path: Path, files: tuple[str, ...], splits: list[str]) -> None:
    for file in files:
        write(tmp_path / f"{file}.json", content())
    write_images(tmp_path, "images/a.png")
    assert sorted(splits_of(str(tmp_path))) == splits
    for split in splits:
        assert len(load_dataset(f"{tmp_path}:{split}").records) == 1


def test_the_split_for_training_comes_first(tmp_path: Path) -> None:
    """Images that are also in another split are left out of the first one."""
    for name in ("extra", "test", "train", "valid"):
        write(tmp_path / f"{name}/boxes.json", content())
        write_images(tmp_path / name, "a.png")
    assert list(names_of_splits(str(tmp_path))) == ["train", "extra", "valid", "test"]


def test_several_files_without_names_of_splits(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.json", content())
    write_images(tmp_path, "a.png")
    with pytest.raises(DatasetError, match=r"no split train, but one, two: use .*:one"):
        load_dataset(str(tmp_path))
    assert load_dataset(f"{tmp_path}:two").format.startswith("COCO, split two")


def test_the_same_records_as_from_json_and_image_folder(tmp_path: Path) -> None:
    json_file, images = write_coco(tmp_path)
    by_folder, by_paths = load_dataset(str(tmp_path)), load_dataset(f"{json_file}@{images}")
    assert by_folder.records == by_paths.records
    assert (by_folder.category_ids, by_folder.json_file) == ((3, 7), json_file)
    assert by_paths.format == "COCO"
    assert load_dataset(f"{json_file}@{images}").records is by_paths.records


def test_box_coordinates_are_applied(tmp_path: Path) -> None:
    json_file, _ = write_coco(tmp_path)
    corners = {**CONTENT, "annotations": [{**CONTENT["annotations"][0], "bbox": [2, 3, 6, 8]}]}
    Path(json_file).write_text(json.dumps(corners))
    use_box_coordinates("xyxy")
    try:
        assert load_dataset(str(tmp_path)).records[0]["annotations"][0]["bbox"] == [2, 3, 6, 8]
    finally:
        use_box_coordinates("")


def test_an_image_that_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "a.json", content())
    with pytest.raises(DatasetError, match=r"1 of 1 images of .*a.json are missing: .*a.png"):
        load_dataset(str(tmp_path))


def test_large_files_are_recognised_by_their_start(tmp_path: Path) -> None:
    many = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, i + 1]} for i in range(1500)
    ]
    first = {"annotations": many, **{k: v for k, v in content().items() if k != "annotations"}}
    write(tmp_path / "a.json", first)
    write_images(tmp_path, "a.png", size=(100, 2000))
    assert (tmp_path / "a.json").stat().st_size > 1 << 16
    first["images"][0]["height"] = 2000
    write(tmp_path / "a.json", first)
    assert len(load_dataset(str(tmp_path)).records[0]["annotations"]) == 1500
