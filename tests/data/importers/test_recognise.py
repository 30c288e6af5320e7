"""Data sets by path: what is recognised, splits, caching, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retina_plugin.data import DatasetError, catalog, load_dataset, register_dataset, splits_of
from retina_plugin.data.catalog import format_lines, require_known
from retina_plugin.data.data_path import DataPath, absolute_name, parse_data_path
from tests.coco_files import write_coco
from tests.imported_boxes import write_images

ROW = "0 0.5 0.5 0.2 0.4\n"
XML = (
    "<annotation><object><name>ant</name><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>40</xmax>"
    "<ymax>25</ymax></bndbox></object></annotation>"
)


def write_yolo(folder: Path, *splits: str) -> None:
    for split in splits:
        write_images(folder / split / "images", "a.png")
        (folder / split / "labels").mkdir()
        (folder / split / "labels/a.txt").write_text(ROW)
    (folder / "classes.txt").write_text("ant\n")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bccd_train", None),
        ("my", DataPath("my")),
        ("my:val", DataPath("my", "val")),
        ("my/data.yaml:val", DataPath("my/data.yaml", "val")),
        ("my/data.yaml", DataPath("my/data.yaml")),
        ("a.csv@my", DataPath("a.csv", "", "my")),
        ("a:b", DataPath("a:b")),  # exists
        ("a@b", DataPath("a@b")),  # exists
        ("a@b:val", DataPath("a@b", "val")),
        ("a@b@my", DataPath("a@b", "", "my")),
        ("a.csv:val@my", DataPath("a.csv", "val", "my")),
        ("gone.csv@my", DataPath("gone.csv", "", "my")),
        ("gone/data.yaml:val", DataPath("gone/data.yaml", "val")),
        ("gone", None),
        ("gone.json@my", DataPath("gone.json", "", "my")),
        ("my@b/b.csv@my@b/photos", DataPath("my@b/b.csv", "", "my@b/photos")),
    ],
)
def test_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: DataPath | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    (tmp_path / "my@b").mkdir()
    for file in ("my/data.yaml", "a.csv", "a:b", "a@b", "my@b/b.csv"):
        (tmp_path / file).touch()
    assert parse_data_path(name) == expected


def test_names_with_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    assert absolute_name("my:val") == f"{tmp_path}/my:val"
    assert absolute_name("./a.json@my") == f"{tmp_path}/a.json@{tmp_path}/my"
    assert absolute_name("bccd_train") == "bccd_train"


def test_registered_names_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_CATALOG", dict(catalog._CATALOG))
    monkeypatch.chdir(tmp_path)
    register_dataset("pets", *write_coco(tmp_path))
    write_yolo(tmp_path / "pets", "")
    assert load_dataset("pets").class_names == ("cat", "ant")
    assert load_dataset("./pets").class_names == ("ant",)
    assert splits_of("pets") == {"": f"{tmp_path}/annotations.json"}


def test_names_that_are_neither_registered_nor_paths() -> None:
    for name in ("bccd_trian", "gone"):
        with pytest.raises(DatasetError, match=f"no data set is called '{name}'.*PATH:SPLIT"):
            load_dataset(name)
    with pytest.raises(DatasetError, match="Nearest: mine"):
        require_known("mines", ["mine"])
    for name in ("gone/data.yaml", "gone.csv"):
        with pytest.raises(DatasetError, match=f"no data set at .*{name}: no such file or folder"):
            load_dataset(name)


def test_splits_and_the_line_of_the_format(tmp_path: Path) -> None:
    write_yolo(tmp_path, "train", "valid")
    assert list(splits_of(f"{tmp_path}:val")) == ["train", "val"]
    assert "split train" in load_dataset(str(tmp_path)).format
    for spelling in ("val", "valid", "Validation"):
        assert "split val" in load_dataset(f"{tmp_path}:{spelling}").format
    with pytest.raises(DatasetError, match=r"has no split 'test', but train, val: use .*:train"):
        load_dataset(f"{tmp_path}:test")
    (line,) = format_lines([str(tmp_path), "digits_train"])
    assert line == f"{tmp_path}: read as YOLO, split train: 1 images, 1 boxes, 1 classes"


def test_a_single_split_that_is_not_for_training(tmp_path: Path) -> None:
    write_yolo(tmp_path, "test")
    assert load_dataset(str(tmp_path)).format == "YOLO, split test"
    write_yolo(tmp_path / "flat", "")
    with pytest.raises(DatasetError, match="has no splits, found 'val'"):
        load_dataset(f"{tmp_path}/flat:val")


def test_two_formats_in_one_folder(tmp_path: Path) -> None:
    write_yolo(tmp_path, "")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/a.xml").write_text(XML)
    with pytest.raises(DatasetError) as error:
        load_dataset(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path} has annotations in 2 formats: Pascal VOC ({tmp_path}/Annotations); YOLO "
        f"({tmp_path}/images). Give the path of the annotations to use, or move the others "
        "elsewhere."
    )
    assert load_dataset(f"{tmp_path}/Annotations").format.startswith("Pascal VOC")


def test_what_is_not_recognised(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="The folder has no files"):
        load_dataset(str(tmp_path))
    write_images(tmp_path, "a.png", "b/c.jpg")
    with pytest.raises(DatasetError, match=r"It has 2 images, but no annotations.*ANNOTATIONS@"):
        load_dataset(str(tmp_path))
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DatasetError, match=r"It has 2 images, 1 \.txt. Known formats: COCO, .*VOC"):
        load_dataset(str(tmp_path))
    with pytest.raises(DatasetError, match=r"no annotation format is recognised. Known formats"):
        load_dataset(str(tmp_path / "notes.txt"))
    write_yolo(tmp_path / "deep/unpacked", "")
    with pytest.raises(DatasetError, match=r"folders in known formats: .*/unpacked \(YOLO\)"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "", "a.json is empty"),
        ("a.csv", "image,x,y,w,h\n", "a.csv starts with 'image,x,y,w,h'; expected the columns"),
        ("a.json", '{"images": [], "annot', r"a.json is not JSON .*may be truncated"),
        ("xml/a.xml", "<annotations><im", r"a.xml, line 1: expected XML, found unclosed token"),
    ],
)
def test_files_that_are_empty_or_cut_off(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    write_images(tmp_path, "a.png")
    (tmp_path / "xml").mkdir()
    (tmp_path / name).write_text(text)
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(DatasetError, match=message):
            load_dataset(str(path))


def test_annotations_without_images(tmp_path: Path) -> None:
    write_yolo(tmp_path, "")
    os.remove(tmp_path / "images/a.png")
    with pytest.raises(DatasetError, match=r"is recognised. It has 2 \.txt. There are no images"):
        load_dataset(str(tmp_path))
    json_file, _ = write_coco(tmp_path / "coco")
    os.remove(tmp_path / "coco/images/a.png")
    with pytest.raises(DatasetError, match=r"1 of 2 images .* are missing: .*a.png"):
        load_dataset(json_file)


def test_class_names_that_differ_in_case_only(tmp_path: Path) -> None:
    write_yolo(tmp_path, "")
    (tmp_path / "classes.txt").write_text("ant\nAnt\n")
    (line,) = load_dataset(str(tmp_path)).warnings
    assert "classes 'ant' and 'Ant' (categories 1, 2) differ by spaces or case only" in line


def test_a_folder_is_read_again_when_an_annotation_file_changes(tmp_path: Path) -> None:
    write_yolo(tmp_path, "")
    first = load_dataset(str(tmp_path))
    assert load_dataset(str(tmp_path)).records is first.records
    (tmp_path / "labels/a.txt").write_text(ROW + "0 0.2 0.2 0.1 0.1\n")
    assert len(load_dataset(str(tmp_path)).records[0]["annotations"]) == 2
    write_images(tmp_path / "images", "b.png")
    assert len(load_dataset(str(tmp_path)).records) == 2


def test_messages_name_file_and_line(tmp_path: Path) -> None:
    write_yolo(tmp_path, "")
    label = tmp_path / "labels/a.txt"
    label.write_text(f"{ROW}{ROW}0 0.5 0.5 0 0.1\n0 0.95 0.5 0.5 0.1\n")
    dataset = load_dataset(str(tmp_path))
    lines = "\n".join(dataset.warnings)
    assert f"have no area and were dropped (first: {label}, line 3, bbox [" in lines
    assert f"reach outside their image and were clipped (first: {label}, line 4, bbox [" in lines
    assert f"(first: {label}, line 1 and {label}, line 2): they count twice" in lines
    record = dataset.records[0]
    assert [dataset.name_of(a, record) for a in record["annotations"]] == [
        f"{label}, line {number}" for number in (1, 2, 4)
    ]
