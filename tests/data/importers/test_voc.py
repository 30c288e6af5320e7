"""Pascal VOC: layouts, offsets, flags, names of images, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retina_plugin.data import DatasetError, load_dataset, splits_of, use_voc_offset
from tests.imported_boxes import boxes, classes, read, write_images

BNDBOX = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>40</xmax><ymax>25</ymax></bndbox>"
ANT = f"<object><name>ant</name>{BNDBOX}</object>"
SIZE = "<size><width>100</width><height>50</height><depth>3</depth></size>"
BOX = ("ant", 10, 5, 40, 25)  # pixels 11..40 and 6..25, counted from 1


@pytest.fixture(autouse=True)
def default_offset() -> Iterator[None]:
    yield
    use_voc_offset("minima")


def write_xml(file: Path, *objects: str, filename: str = "", size: str = SIZE) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    body = "\n".join(objects)
    file.write_text(f"<annotation>\n<filename>{filename}</filename>{size}\n{body}\n</annotation>\n")


def write_devkit(folder: Path) -> None:
    """Images 1 and 2 for training, 3 for validation, in the folders of the devkit."""
    for name, class_name in (("1", "ant"), ("2", "cat"), ("3", "bee")):
        write_images(folder / "JPEGImages", f"{name}.jpg")
        text = ANT.replace("ant", class_name)
        write_xml(folder / f"Annotations/{name}.xml", text, filename=f"{name}.jpg")
    lists = folder / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("1\n2\n")
    (lists / "val.txt").write_text("3\n")
    (lists / "ant_train.txt").write_text("1 1\n2 -1\n")


def test_the_folders_of_the_devkit(tmp_path: Path) -> None:
    write_devkit(tmp_path)
    assert list(splits_of(str(tmp_path))) == ["train", "val"]
    train, val = (load_dataset(f"{tmp_path}{split}") for split in ("", ":val"))
    assert train.class_names == val.class_names == ("ant", "bee", "cat")
    assert [len(dataset.records) for dataset in (train, val)] == [2, 1]
    assert boxes(read(tmp_path, "train")) == {"1.jpg": [BOX], "2.jpg": [("cat", *BOX[1:])]}
    assert "split train" in train.format
    assert "VOC_OFFSET minima" in train.format
    assert len(load_dataset(f"{tmp_path}/Annotations").records) == 3
    one = load_dataset(f"{tmp_path}/Annotations/3.xml")
    assert (one.class_names, len(one.records)) == (("bee",), 1)
    (tmp_path / "ImageSets/Main/val.txt").write_text("3\n4\n")
    with pytest.raises(DatasetError, match=r"val.txt, line 2: no XML file .*4.xml"):
        load_dataset(f"{tmp_path}:val")


@pytest.mark.parametrize("below", ["", "train", "images with annotations"])
def test_xml_files_beside_images_and_in_other_folders(tmp_path: Path, below: str) -> None:
    split = "train" if below == "train" else ""
    places = {"": "a", "train": "train/a", "images with annotations": "annotations/a"}
    images = {"": "a.png", "train": "train/a.png", "images with annotations": "images/a.png"}
    write_images(tmp_path, images[below], images[below].replace("a.png", "b.png"))
    write_xml(tmp_path / f"{places[below]}.xml", ANT, filename="a.png")
    imported = read(tmp_path, split)
    assert list(boxes(imported).values()) == [[BOX]]
    assert "1 images have no XML file and are not used" in imported.notes[0]
    assert load_dataset(str(tmp_path)).records[0]["annotations"][0]["bbox"] == [10, 5, 40, 25]


@pytest.mark.parametrize(
    ("offset", "expected"),
    [("minima", (10, 5, 40, 25)), ("all", (10, 5, 39, 24)), ("none", (11, 6, 40, 25))],
)
def test_offsets(tmp_path: Path, offset: str, expected: tuple[int, ...]) -> None:
    write_images(tmp_path, "a.png")
    write_xml(tmp_path / "a.xml", ANT)
    load_dataset(str(tmp_path))  # what was read with another offset is read again
    use_voc_offset(offset)
    assert boxes(read(tmp_path)) == {"a.png": [("ant", *expected)]}
    assert load_dataset(str(tmp_path)).records[0]["annotations"][0]["bbox"] == list(expected)
    with pytest.raises(ValueError, match="VOC_OFFSET: expected one of minima, all, none"):
        use_voc_offset("one")


def test_boxes_that_count_from_0_are_noted(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    write_xml(tmp_path / "a.xml", ANT.replace("11", "0"))
    assert "set MODEL.RETINA_PLUGIN.DATASETS.VOC_OFFSET to 'none'" in read(tmp_path).notes[0]


def test_difficult_parts_and_floats(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    part = f"<part><name>head</name>{BNDBOX}</part>"
    write_xml(
        tmp_path / "a.xml",
        ANT.replace("</object>", "<difficult>1</difficult></object>"),
        ANT.replace("</object>", f"<difficult>0</difficult>{part}</object>").replace("40", "40.5"),
    )
    write_xml(tmp_path / "b.xml")
    imported = read(tmp_path)
    assert boxes(imported) == {
        "a.png": [(*BOX, "difficult"), ("ant", 10, 5, 40.5, 25)],
        "b.png": [],
    }
    assert classes(imported) == ["ant"]
    assert imported.notes == (
        "1 boxes of <part> are parts of objects and were skipped "
        f"(first: {tmp_path}/a.xml, line 4)",
    )
    assert imported.places == [f"{tmp_path}/a.xml, line {line}" for line in (3, 4)]
    difficult, other = load_dataset(str(tmp_path)).records[0]["annotations"]
    assert (difficult["iscrowd"], difficult["difficult"]) == (1, 1)
    assert other["iscrowd"] == 0
    assert "difficult" not in other


@pytest.mark.parametrize(
    ("filename", "image", "note"),
    [
        ("a.png", "a.png", False),
        ("a", "a.png", False),
        ("", "a.png", False),
        ("other.png", "a.png", True),
        ("C:\\images\\a.png", "a.png", False),
        ("b.png", "b.png", False),  # no image of the file's own name
    ],
)
def test_names_of_images(tmp_path: Path, filename: str, image: str, note: bool) -> None:
    write_images(tmp_path, image)
    write_xml(tmp_path / "a.xml", ANT, filename=filename)
    imported = read(tmp_path)
    assert boxes(imported) == {image: [BOX]}
    assert any("differ in name from their <filename>" in line for line in imported.notes) == note


def test_sizes_that_are_missing_are_read_from_the_images(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    write_xml(tmp_path / "a.xml", ANT, size="")
    write_xml(tmp_path / "b.xml", ANT, size=SIZE.replace("100", "0"))
    assert [r["width"] for r in load_dataset(str(tmp_path)).records] == [100, 100]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ANT.replace("<name>ant</name>", ""), "line 3: expected a <name> in <object>, found none"),
        (ANT.replace("bndbox", "polygon"), "line 3: expected <bndbox> .*found <name>, <polygon>"),
        (ANT.replace("40", "wide"), "line 3: expected a number in <xmax>, found 'wide'"),
        (ANT.replace("<xmax>40</xmax>", ""), "line 3: expected a number in <xmax>, found ''"),
        (
            ANT.replace("</object>", "<difficult>2</difficult></object>"),
            "line 3: expected 0 or 1 in <difficult>, found '2'",
        ),
        (
            ANT.replace("11", "0.1").replace("6", "0.2").replace("40", "0.4").replace("25", "0.8"),
            r"line 3: expected pixels in <bndbox>, found 0\.1, 0\.2, 0\.4, 0\.8, which are",
        ),
        ("<object>", "line 4: expected XML, found mismatched tag"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, words: str) -> None:
    write_images(tmp_path, "a.png")
    write_xml(tmp_path / "a.xml", text)
    with pytest.raises(DatasetError, match=f"a.xml, {words}"):
        load_dataset(str(tmp_path))


def test_an_image_that_is_missing(tmp_path: Path) -> None:
    write_xml(tmp_path / "Annotations/a.xml", ANT, filename="a.png")
    with pytest.raises(DatasetError, match=r"1 of 1 images of .* are missing: .*a.png"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize("split", ["", "train/"])
def test_a_folder_of_xml_files_with_any_name(tmp_path: Path, split: str) -> None:
    """The layout of "kangaroo": annots/*.xml beside images/*.jpg."""
    write_images(tmp_path, f"{split}images/a.png")
    write_xml(tmp_path / f"{split}my_boxes/a.xml", ANT, filename="a.png")
    assert [list(boxes(read(tmp_path, split[:-1])).values())] == [[[BOX]]]
    dataset = load_dataset(f"{tmp_path}/{split}my_boxes")
    assert dataset.records[0]["file_name"] == f"{tmp_path}/{split}images/a.png"


def test_several_folders_of_xml_files(tmp_path: Path) -> None:
    write_images(tmp_path, "images/a.png")
    for name in ("first", "second"):
        write_xml(tmp_path / f"{name}/a.xml", ANT, filename="a.png")
    with pytest.raises(DatasetError, match=r"known formats: .*/first \(Pascal VOC\), .*/second"):
        load_dataset(str(tmp_path))


def test_a_data_set_one_folder_below(tmp_path: Path) -> None:
    write_images(tmp_path, "unpacked/a.png", "preview.png")
    write_xml(tmp_path / "unpacked/a.xml", ANT)
    assert boxes(read(tmp_path)) == {"a.png": [BOX]}


@pytest.mark.parametrize(("xml", "images"), [("Annotations", "JPEGImages"), ("labels", "images")])
def test_splits_inside_the_folder_of_annotations(tmp_path: Path, xml: str, images: str) -> None:
    """Both splits have an image of the same name."""
    for split in ("train", "val"):
        write_images(tmp_path / images / split, "1.jpg")
        write_xml(tmp_path / xml / split / "1.xml", ANT.replace("ant", split), filename="1.jpg")
    for split in ("train", "val"):
        expected = {f"{images}/{split}/1.jpg": [(split, *BOX[1:])]}
        assert boxes(read(tmp_path, split)) == expected


def test_lists_of_image_files(tmp_path: Path) -> None:
    write_devkit(tmp_path)
    (tmp_path / "ImageSets/Main/train.txt").write_text("1.jpg\n2.jpg\n")
    assert list(boxes(read(tmp_path, "train"))) == ["1.jpg", "2.jpg"]
