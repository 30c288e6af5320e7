"""Which image files the names of an annotation file mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from retina_plugin.data import DatasetError
from retina_plugin.data.importers.annotation_files import split_of
from tests.imported_boxes import boxes, read, write_images


def write(file: Path, *names: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{name},1,2,3,4,dog\n" for name in names))
    return file


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("train2017", "train"),
        ("instances_val.json", "val"),
        ("VALID-labels", "val"),
        ("validation", "val"),
        ("test_annotations", "test"),
        ("trainval", None),
        ("train_and_test", None),
        ("latest", None),
    ],
)
def test_splits_in_names(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("file", "image", "written", "found"),
    [
        ("boxes.csv", "a.png", "a.png", "a.png"),
        ("boxes.csv", "images/a.png", "a.png", "images/a.png"),
        ("boxes.csv", "images/a.png", "images\\a.png", "images/a.png"),
        ("annotations/boxes.csv", "images/a.png", "a.png", "images/a.png"),
        ("annotations/boxes.csv", "images/a.png", "../images/a.png", "images/a.png"),
        ("boxes.csv", "x/y/a.png", "/home/me/a.png", "x/y/a.png"),
        ("boxes.csv", "x/y/a.PNG", "C:\\me\\a.png", "x/y/a.PNG"),
        ("boxes.csv", "x/y/a.jpg", "a.png", "x/y/a.jpg"),
        ("boxes.csv", "images/my a.png", "my%20a.png", "images/my a.png"),
        ("boxes.csv", "x/y/my a.png", "/home/me/my%20a.png", "x/y/my a.png"),
        ("boxes.csv", "images/my%20a.png", "my%20a.png", "images/my%20a.png"),
        ("boxes.csv", "images/ä.png", "A\u0308.PNG", "images/ä.png"),
        ("boxes.csv", "images/a.png", "https://host/x/a.png?key=1", "images/a.png"),
        ("boxes.csv", "x/a.png", "missing.png", "missing.png"),
    ],
)
def test_places(tmp_path: Path, file: str, image: str, written: str, found: str) -> None:
    write_images(tmp_path, image)
    imported = read(write(tmp_path / file, written))
    assert list(boxes(imported)) == [found]
    assert Path(imported.image_root) == tmp_path


def test_an_image_of_another_folder_is_noted(tmp_path: Path) -> None:
    write_images(tmp_path, "deep/a.png")
    imported = read(write(tmp_path / "boxes.csv", "old/a.png"))
    assert imported.notes == (
        "1 images are not where the annotations name them and were found by their base names "
        "(first: 'old/a.png' in boxes.csv is 'deep/a.png')",
    )


def test_the_folder_that_the_user_names_is_the_only_one(tmp_path: Path) -> None:
    write_images(tmp_path, "one/a.png", "two/a.png")
    file = write(tmp_path / "boxes.csv", "a.png")
    imported = read(file, image_folder=str(tmp_path / "two"))
    assert (list(boxes(imported)), Path(imported.image_root)) == (["a.png"], tmp_path / "two")
    with pytest.raises(DatasetError, match=r"2 images have the name 'a.png': one/a.png, two/a.png"):
        read(file)


def test_two_names_of_one_file(tmp_path: Path) -> None:
    write_images(tmp_path, "deep/a.png")
    file = write(tmp_path / "boxes.csv", "cam1/a.png", "cam2/a.png")
    with pytest.raises(DatasetError, match=r"'cam1/a.png' and 'cam2/a.png' are both found as"):
        read(file)


def test_no_image_of_another_split(tmp_path: Path) -> None:
    write_images(tmp_path, "train/a.png", "val/b.png")
    write(tmp_path / "train.csv", "a.png", "b.png")
    write(tmp_path / "val.csv", "b.png")
    assert list(boxes(read(tmp_path, "train"))) == ["train/a.png", "b.png"]


def test_images_that_the_only_file_does_not_name_are_noted(tmp_path: Path) -> None:
    write_images(tmp_path, "images/a.png", "images/b.png", "other/c.png")
    file = write(tmp_path / "boxes.csv", "images/a.png")
    assert read(tmp_path).notes == (
        "1 images are not in the annotations and are not used (first: images/b.png)",
    )
    assert read(file).notes == ()  # another file may name them
