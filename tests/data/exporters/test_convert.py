"""Conversion of data sets: round trips, what a format cannot hold, folders and images."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retina_plugin.cli.command import main
from retina_plugin.data import (
    Dataset,
    DatasetError,
    load_dataset,
    splits_of,
    use_box_coordinates,
    use_voc_offset,
)
from retina_plugin.data.exporters import EXPORTERS, convert
from tests.imported_boxes import write_images

NAMES = ["zebra", 'ant: the "big" one \U0001f41c', "no"]
# with digits that binary floats do not have
BOXES = [[10.1, 5.3, 29.7, 20.9], [0, 0, 100, 50], [33.333333333333336, 1e-3, 2.1, 48.7]]


@pytest.fixture(autouse=True)
def default_offset() -> Iterator[None]:
    yield
    use_voc_offset("minima")


def write_coco(folder: Path) -> None:
    """Splits train and val of 2 images each; one has no box, and one a name in folders."""
    for split in ("train", "val"):
        names = [f"{split} 1.png", f"deeper/images/{split} ž.jpg"]
        write_images(folder / "images" / split, *names)
        boxes = [
            {"id": 7 + i, "image_id": 5, "category_id": 30 - 10 * i, "bbox": box}
            for i, box in enumerate(BOXES)
        ]
        content = {
            "images": [
                {"id": i, "file_name": name, "width": 100, "height": 50}
                for i, name in zip((5, 2), names, strict=True)
            ],
            "annotations": boxes,
            "categories": [{"id": 10 * (i + 1), "name": n} for i, n in enumerate(NAMES)],
        }
        (folder / f"{split}.json").write_text(json.dumps(content))


def table(dataset: Dataset) -> dict[str, list[tuple[Any, ...]]]:
    """Base name of the file -> [(class, edges with 11 digits, flags)]."""
    return {
        os.path.basename(record["file_name"]).rpartition("_")[2]: [
            (
                dataset.class_names[a["category_id"]],
                [round(edge, 11) for edge in a["bbox"]],
                [flag for flag in ("iscrowd", "difficult", "group_of") if a.get(flag)],
            )
            for a in record["annotations"]
        ]
        for record in dataset.records
    }


@pytest.mark.parametrize("format", EXPORTERS)
def test_round_trips(tmp_path: Path, format: str) -> None:
    write_coco(tmp_path / "my")
    convert(str(tmp_path / "my"), format, str(tmp_path / "there"))
    convert(str(tmp_path / "there"), "coco", str(tmp_path / "back"))
    assert list(splits_of(str(tmp_path / "there"))) == ["train", "val"]
    for split in ("train", "val"):
        first, there, back = (
            load_dataset(f"{tmp_path}/{n}:{split}") for n in ("my", "there", "back")
        )
        assert table(there) == table(first) == table(back)
        assert first.class_names == tuple(NAMES)
        expected = sorted(NAMES) if format == "voc" else NAMES
        assert back.class_names == there.class_names == tuple(expected)
        assert there.warnings == ()


def test_coco_is_exact(tmp_path: Path) -> None:
    write_coco(tmp_path / "my")
    lines = convert(str(tmp_path / "my"), "coco", str(tmp_path / "there"))
    first, there = load_dataset(str(tmp_path / "my")), load_dataset(str(tmp_path / "there"))
    assert there.category_ids == first.category_ids == (10, 20, 30)
    strip = [{**r, "file_name": ""} for r in first.records]
    assert [{**r, "file_name": ""} for r in there.records] == strip
    root = tmp_path / "there"
    assert lines == [
        f"written: {root}, train: 2 images, 3 boxes, 3 classes; read as {first.format}",
        f"written: {root}, val: 2 images, 3 boxes, 3 classes; read as "
        f"{load_dataset(f'{tmp_path}/my:val').format}",
        "4 images were copied",
    ]
    assert sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()) == [
        "annotations/train.json",
        "annotations/val.json",
        "images/train/deeper/images/train ž.jpg",
        "images/train/train 1.png",
        "images/val/deeper/images/val ž.jpg",
        "images/val/val 1.png",
    ]


def test_flags(tmp_path: Path) -> None:
    write_images(tmp_path / "my", "a.png")
    objects = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>11</xmin>"
        "<ymin>6</ymin><xmax>40.25</xmax><ymax>25</ymax></bndbox></object>"
        for name, difficult in (("ant", 1), ("cat", 0))
    )
    (tmp_path / "my/a.xml").write_text(f"<annotation>{objects}</annotation>")
    notes = {
        format: convert(str(tmp_path / "my"), format, str(tmp_path / format))[2:]
        for format in EXPORTERS
    }
    first, coco, voc, yolo = (
        load_dataset(str(tmp_path / name)) for name in ("my", "coco", "voc", "yolo")
    )
    assert table(first) == table(coco) == table(voc)
    assert table(voc)["a.png"][0] == ("ant", [10, 5, 40.25, 25], ["iscrowd", "difficult"])
    assert table(yolo)["a.png"] == [table(first)["a.png"][1]]
    assert notes["coco"] == notes["voc"] == []
    assert notes["yolo"][0].startswith("1 boxes with the flag crowd, difficult or group-of were le")
    assert notes["yolo"][1].startswith("data.yaml has no val")
    content = json.loads((tmp_path / "coco/annotations.json").read_text())
    content["annotations"][0].pop("difficult")
    (tmp_path / "coco/annotations.json").write_text(json.dumps(content))
    (note,) = convert(str(tmp_path / "coco"), "voc", str(tmp_path / "crowd"))[2:]
    assert note.startswith("1 boxes with the flag crowd or group-of are marked difficult")


def test_classes_without_boxes(tmp_path: Path) -> None:
    write_coco(tmp_path / "my")
    for split in ("train", "val"):
        file = tmp_path / f"my/{split}.json"
        content = json.loads(file.read_text())
        content["categories"].append({"id": 40, "name": "bee"})
        file.write_text(json.dumps(content))
    lines = convert(str(tmp_path / "my"), "voc", str(tmp_path / "voc"))
    assert lines[-1] == (
        "Pascal VOC has no list of classes: a reader sorts them by name; classes without boxes are "
        "lost: bee"
    )


def test_splits_with_different_classes(tmp_path: Path) -> None:
    write_coco(tmp_path / "my")
    file = tmp_path / "my/val.json"
    content = json.loads(file.read_text())
    content["categories"] = [{"id": i, "name": n} for i, n in ((10, "no"), (20, "bee"), (30, "ox"))]
    file.write_text(json.dumps(content))
    before = table(load_dataset(f"{tmp_path}/my:val"))
    lines = convert(str(tmp_path / "my"), "yolo", str(tmp_path / "yolo"))
    names = (*NAMES, "bee", "ox")
    assert lines[-1] == f"the splits list different classes: all splits get {', '.join(names)}"
    assert load_dataset(str(tmp_path / "yolo")).class_names == names
    assert table(load_dataset(f"{tmp_path}/yolo:val")) == before


def test_images_of_one_name(tmp_path: Path) -> None:
    names = ["a/1.png", "a/1.jpg", "a_1.png", "b/1.png"]
    write_images(tmp_path / "my/images", *names)
    images = [{"id": i, "file_name": n} for i, n in enumerate([*names, names[0]])]
    boxes = [{"id": i + 1, "image_id": i, "category_id": 1, "bbox": [i, 0, 9, 9]} for i in range(5)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "ant"}]}
    (tmp_path / "my/a.json").write_text(json.dumps(content))
    for format, number in (("yolo", 5), ("voc", 5), ("coco", 5)):
        convert(str(tmp_path / "my"), format, str(tmp_path / format))
        records = load_dataset(str(tmp_path / format)).records
        lefts = [record["annotations"][0]["bbox"][0] for record in records]
        assert sorted(lefts) == pytest.approx(range(number))


def test_one_split_and_a_registered_name(tmp_path: Path) -> None:
    write_coco(tmp_path / "my")
    convert(f"{tmp_path}/my:val", "yolo", str(tmp_path / "yolo"))
    assert list(splits_of(str(tmp_path / "yolo"))) == ["val"]
    convert(f"{tmp_path}/my/val.json@{tmp_path}/my/images/val", "voc", str(tmp_path / "voc"))
    assert list(splits_of(str(tmp_path / "voc"))) == [""]


def test_copies_and_links(tmp_path: Path) -> None:
    write_coco(tmp_path / "my")
    image = tmp_path / "my/images/train/train 1.png"
    copied = convert(f"{tmp_path}/my", "yolo", str(tmp_path / "copied"))
    linked = convert(f"{tmp_path}/my", "yolo", str(tmp_path / "linked"), link=True)
    assert "4 images were copied" in copied
    assert any(line.startswith("4 images are hard links: a program that") for line in linked)
    for folder, same in (("copied", False), ("linked", True)):
        other = tmp_path / folder / "images/train/train 1.png"
        assert other.read_bytes() == image.read_bytes()
        assert os.path.samefile(other, image) == same


def test_a_folder_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_coco(tmp_path / "my")
    used = tmp_path / "used"
    used.mkdir()
    convert(f"{tmp_path}/my", "yolo", str(used))  # an empty folder
    before = sorted(used.rglob("*"))
    with pytest.raises(DatasetError, match="used exists: name a new or empty folder"):
        convert(f"{tmp_path}/my", "coco", str(used))
    assert sorted(used.rglob("*")) == before

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match=r"cannot write .*1.png: No space left on device"):
        convert(f"{tmp_path}/my", "coco", str(tmp_path / "new"))
    assert sorted(os.listdir(tmp_path)) == ["my", "used"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "my", "a.png")
    (tmp_path / "my/a.xml").write_text(
        "<annotation><object><name>ant</name><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>40</xmax>"
        "<ymax>25</ymax></bndbox></object></annotation>"
    )
    out = str(tmp_path / "coco")
    key = ["MODEL.RETINA_PLUGIN.DATASETS.VOC_OFFSET", "none"]
    main(["data", "convert", str(tmp_path / "my"), "--format", "coco", "--output", out, *key])
    assert "1 images, 1 boxes, 1 classes; read as Pascal VOC (VOC_OFFSET none)" in (
        capsys.readouterr().out
    )
    content = json.loads(Path(out, "annotations.json").read_text())
    assert content["annotations"][0]["bbox"] == [11, 6, 29, 19]
    with Image.open(Path(out, "images/a.png")) as image:
        assert image.size == (100, 50)


def write_named(folder: Path, names: list[str], classes: list[str]) -> str:
    """Images with any names, each with a box of a class in turn."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 50)).save(folder / name, "PNG")
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": i % len(classes), "bbox": [i, 1, 9, 9]}
            for i in range(len(names))
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes)],
    }
    folder.with_suffix(".json").write_text(json.dumps(content))
    return f"{folder.with_suffix('.json')}@{folder}"


@pytest.mark.parametrize("format", EXPORTERS)
def test_images_with_unusual_names(tmp_path: Path, format: str) -> None:
    names = [
        "noext",
        "noext.png",
        "p.HEIC",
        ".hidden.png",
        ".cache/1.png",
        "end .png",
        " begin.png",
    ]
    names += [
        "q.PNG",
        "dots.1.2.png",
        "two\nlines.png",
        "per%20cent.png",
        "back\\slash.png",
        ".png",
    ]
    data = write_named(tmp_path / "my", names, ["ant"])
    lines = convert(data, format, str(tmp_path / "there"))
    records = load_dataset(str(tmp_path / "there")).records
    lefts = sorted(round(r["annotations"][0]["bbox"][0], 9) for r in records)
    assert lefts == list(range(len(names)))
    notes = [line for line in lines if "images were renamed" in line]
    assert notes == (
        []
        if format == "coco"
        else [
            "9 images were renamed, because readers would not find their names "
            "(first: 'noext' is 'noext.png')"
        ]
    )


def test_a_file_that_has_no_usual_suffix(tmp_path: Path) -> None:
    data = write_named(tmp_path / "my", ["a"], ["ant"])
    Image.new("RGB", (100, 50)).save(tmp_path / "my" / "a", "ICO", sizes=[(100, 50)])
    with pytest.raises(DatasetError, match=r"my/a is a ICO file, whose suffix readers do not take"):
        convert(data, "yolo", str(tmp_path / "there"))
    assert sorted(os.listdir(tmp_path)) == ["my", "my.json"]


@pytest.mark.parametrize("format", ["yolo", "voc"])
def test_class_names_that_readers_would_change(tmp_path: Path, format: str) -> None:
    classes = ["car\n", "car", " two  words", "a\x01b", "in  side", "\u2028", "<&>"]
    data = write_named(tmp_path / "my", [f"{i}.png" for i in range(7)], classes)
    lines = convert(data, format, str(tmp_path / "there"))
    (note,) = [line for line in lines if "class names were changed" in line]
    assert note.endswith(
        "'car\\n' is 'car_2', ' two  words' is 'two words', 'a\\x01b' is 'a b', '\\u2028' is '_'"
    )
    there = load_dataset(str(tmp_path / "there"))
    expected = ["car_2", "car", "two words", "a b", "in  side", "_", "<&>"]
    found = {
        round(r["annotations"][0]["bbox"][0]): there.class_names[r["annotations"][0]["category_id"]]
        for r in there.records
    }
    assert [found[i] for i in range(7)] == expected


@pytest.mark.parametrize("format", EXPORTERS)
def test_images_without_annotations(tmp_path: Path, format: str) -> None:
    data = write_named(tmp_path / "my", ["a.png"], ["ant"])
    content = json.loads((tmp_path / "my.json").read_text())
    del content["annotations"]
    (tmp_path / "my.json").write_text(json.dumps(content))
    lines = convert(data, format, str(tmp_path / "there"))
    assert any("has no annotations: its images are read" in line for line in lines) == (
        format != "coco"
    )


@pytest.mark.parametrize("format", EXPORTERS)
@pytest.mark.parametrize("names", [["siteA", "siteB"], ["train", "site B"], ["names", "nc"]])
def test_other_splits_than_train_and_val(tmp_path: Path, format: str, names: list[str]) -> None:
    write_coco(tmp_path / "my")
    for old, new in zip(("train", "val"), names, strict=True):
        os.rename(tmp_path / f"my/{old}.json", tmp_path / f"my/{new}.json")
    lines = convert(str(tmp_path / "my"), format, str(tmp_path / "there"))
    assert sorted(splits_of(str(tmp_path / "there"))) == sorted(names)
    for name in names:
        first, there = (load_dataset(f"{tmp_path}/{folder}:{name}") for folder in ("my", "there"))
        assert table(there) == table(first)
    assert any("other programs do not read the splits" in line for line in lines) == (
        format == "yolo"
    )


def test_pascal_voc_is_exact_for_every_float(tmp_path: Path) -> None:
    """Corners are counted from 1 in the files; a float plus 1 would lose digits."""
    rng = np.random.default_rng(0)
    small = 10.0 ** rng.integers(-20, 1, (300, 4))
    boxes = (rng.random((300, 4)) * [50, 25, 50, 25] * small).tolist()
    boxes += [[5e-324, 1e-300, 0.1 + 0.2, 1 / 3], [1 - 2**-53, 2 / 3, 1e-9, 7e-5]]
    write_images(tmp_path / "my", "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1, "bbox": box} for i, box in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "ant"}],
    }
    (tmp_path / "my.json").write_text(json.dumps(content))
    use_box_coordinates("xywh pixels")  # many are below 1, as fractions are
    try:
        first = f"{tmp_path}/my.json@{tmp_path}/my"
        convert(first, "voc", f"{tmp_path}/voc")
        convert(f"{tmp_path}/voc", "voc", f"{tmp_path}/again")
        expected, voc, again = (
            [a["bbox"] for a in load_dataset(name).records[0]["annotations"]]
            for name in (first, f"{tmp_path}/voc", f"{tmp_path}/again")
        )
    finally:
        use_box_coordinates("")
    assert expected == voc == again
    assert len(expected) > 250  # some are so small that no area is left
