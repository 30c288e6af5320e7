"""LabelMe's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retina_plugin.data import DatasetError
from retina_plugin.data.importers import IMPORTERS
from tests.imported_boxes import boxes, read, write_images


def shape(label: str, points: list[list[float]], kind: Any = None, **more: Any) -> Any:
    return {"label": label, "points": points, "shape_type": kind, **more}


def write(file: Path, *shapes: Any, image: str = "a.png", **more: Any) -> Path:
    """A JSON file of an image of 100 x 50 pixels."""
    content = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": image}
    content |= {"imageData": None, "imageHeight": 50, "imageWidth": 100, **more}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (shape("dog", [[1, 2], [30, 40]], "rectangle"), (1, 2, 30, 40)),
        (shape("dog", [[30, 2], [1, 40]], "rectangle"), (1, 2, 30, 40)),
        (shape("dog", [[30, 40], [1, 2]], "rectangle"), (1, 2, 30, 40)),
        (shape("dog", [[1, 2], [30, 2], [30, 40], [1, 40]], "rectangle"), (1, 2, 30, 40)),
        (shape("dog", [[5, 9], [7, 1], [3, 4]], "polygon"), (3, 1, 7, 9)),
        (shape("dog", [[5, 9], [7, 1], [3, 4]]), (3, 1, 7, 9)),  # older files have no type
        (shape("dog", [[20, 20], [23, 24]], "circle"), (15, 15, 25, 25)),  # radius 5
        (shape("dog", [[1, 2], [30, 40]], "mask"), (1, 2, 30, 40)),
    ],
    ids=["rectangle", "corners", "other corners", "4 corners", "polygon", "old", "circle", "mask"],
)
def test_boxes_of_shapes(tmp_path: Path, entry: Any, expected: tuple[float, ...]) -> None:
    write_images(tmp_path, "a.png")
    imported = read(write(tmp_path / "a.json", entry))
    assert boxes(imported) == {"a.png": [("dog", *expected)]}
    assert imported.places[0] == f"{tmp_path / 'a.json'}, entry 0 of 'shapes'"
    assert imported.content["images"][0]["width"] == 100


def test_parts_of_a_group(tmp_path: Path) -> None:
    """Shapes of one label and group are parts of one object; without group they are objects."""
    write_images(tmp_path, "a.png")
    file = write(
        tmp_path / "a.json",
        shape("dog", [[0, 0], [10, 10]], "rectangle", group_id=1),
        shape("dog", [[20, 5], [30, 20]], "rectangle", group_id=1, flags={"difficult": True}),
        shape("cat", [[40, 5], [50, 20]], "rectangle", group_id=1),
        shape("dog", [[60, 5], [70, 20]], "rectangle", group_id=None),
        shape("dog", [[80, 5], [90, 20]], "rectangle", group_id=0),
    )
    imported = read(file)
    assert boxes(imported)["a.png"] == [
        ("dog", 0, 0, 30, 20, "difficult"),
        ("cat", 40, 5, 50, 20),
        ("dog", 60, 5, 70, 20),
        ("dog", 80, 5, 90, 20),
    ]
    assert imported.notes[0].startswith("1 boxes enclose several shapes of one group_id")


def test_shapes_without_area_are_counted(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    file = write(
        tmp_path / "a.json",
        shape("dog", [[1, 1]], "point"),
        shape("dog", [[1, 1], [5, 5]], "line"),
        shape("dog", [[2, 2]], "point"),
    )
    imported = read(file)
    assert boxes(imported) == {"a.png": []}
    assert imported.notes == (
        f"2 shapes of type 'point' have no area and were left out (first: {file}, entry 0 of "
        "'shapes')",
        f"1 shapes of type 'line' have no area and were left out (first: {file}, entry 1 of "
        "'shapes')",
    )


@pytest.mark.parametrize(
    "image",
    ["a.png", "..\\images\\a.png", "C:\\Users\\me\\a.png", "/home/me/a.png", "old/a.png"],
)
def test_folders_of_image_path_are_ignored(tmp_path: Path, image: str) -> None:
    write_images(tmp_path, "a.png")
    assert list(boxes(read(write(tmp_path / "a.json", image=image)))) == ["a.png"]


def test_images_in_another_folder(tmp_path: Path) -> None:
    write_images(tmp_path, "images/a.png", "images/b.png")
    write(tmp_path / "annotations/a.json", shape("dog", [[1, 2], [3, 4]], "rectangle"))
    write(tmp_path / "annotations/b.json", image="b.png")
    assert boxes(read(tmp_path)) == {"images/a.png": [("dog", 1, 2, 3, 4)], "images/b.png": []}
    assert boxes(read(tmp_path / "annotations", image_folder=str(tmp_path / "images"))) == {
        "a.png": [("dog", 1, 2, 3, 4)],
        "b.png": [],
    }


def test_a_renamed_image(tmp_path: Path) -> None:
    write_images(tmp_path, "new.png")
    imported = read(write(tmp_path / "new.json", image="old.png"))
    assert list(boxes(imported)) == ["new.png"]
    assert imported.notes[0].startswith("1 images are missing at imagePath")


def test_images_without_file_and_other_files(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    write(tmp_path / "a.json")
    (tmp_path / "config.json").write_text("{}")
    imported = read(tmp_path)
    assert boxes(imported) == {"a.png": []}
    assert [note.split(" (")[0] for note in imported.notes] == [
        "1 JSON files are not LabelMe's and were left out",
        "1 images have no JSON file and are not used",
    ]


def test_folders_are_splits(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_images(tmp_path, f"{split}/{split}.png")
        write(tmp_path / split / "a.json", image=f"{split}.png")
    importer = IMPORTERS.get("LabelMe")()
    assert set(importer.splits(str(tmp_path)) or ()) == {"train", "val"}
    assert boxes(read(tmp_path, "val")) == {"valid.png": []}


def test_one_image_in_two_files(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    write(tmp_path / "a.json")
    write(tmp_path / "b.json")
    with pytest.raises(DatasetError, match=r"b.json: expected one file for each image, found 'a"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (shape("dog", [[1, 2]], "rectangle"), r"expected at least 2 points at 'points', found 1"),
        (shape("dog", [[1, 2], [3]], "rectangle"), r"expected two numbers as point 1"),
        (shape("dog", [[1, 2], [3, "4"]], "rectangle"), r"expected two numbers as point 1"),
        (shape("dog", [[1, 2], [3, 4]], "cube"), r"expected a shape_type of polygon, .*'cube'"),
        (shape("dog", [[1, 2], [3, 4]], ["cube"]), r"expected a shape_type of polygon"),
        (shape("dog", [[1, 2], [3, 4]], "mask", flags=[1]), r"'flags': expected an object"),
        (shape("", [[1, 2], [3, 4]], "rectangle"), r"expected text at 'label', found ''"),
        ({"label": "dog"}, r"expected a list at 'points', found nothing"),
        ("dog", r"expected an object, found 'dog'"),
    ],
)
def test_wrong_shapes(tmp_path: Path, entry: Any, message: str) -> None:
    write_images(tmp_path, "a.png")
    file = write(tmp_path / "a.json", shape("dog", [[1, 2], [3, 4]], "rectangle"), entry)
    with pytest.raises(DatasetError, match=f"a.json, entry 1 of 'shapes'.*{message}"):
        read(file)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"imageWidth": 10.5}, r"a.json: expected a whole number of pixels at 'imageWidth'"),
        ({"shapes": None}, r"a.json: expected a list at 'shapes', found None"),
        ({"imagePath": 7}, r"a.json: expected text at 'imagePath', found 7"),
    ],
)
def test_wrong_files(tmp_path: Path, more: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(write(tmp_path / "a.json", **more))


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json")
    file.write_text(file.read_text()[:-20])
    with pytest.raises(DatasetError, match=r"a.json is not JSON \(.*line 1"):
        read(file)


def test_utf_16_with_a_mark(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    file = write(tmp_path / "a.json", shape("čáp", [[1, 2], [3, 4]], "rectangle"))
    text = file.read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        file.write_text(text, encoding=encoding)
        assert boxes(read(file)) == {"a.png": [("čáp", 1, 2, 3, 4)]}


def test_a_folder_of_json_files_with_any_name(tmp_path: Path) -> None:
    write_images(tmp_path, "images/a.png", "images/b.png")
    for name in "ab":
        entry = shape("dog", [[1, 2], [30, 40]], "rectangle")
        write(tmp_path / f"drawn/{name}.json", entry, image=f"{name}.png")
    dog = [("dog", 1, 2, 30, 40)]
    assert boxes(read(tmp_path)) == {"images/a.png": dog, "images/b.png": dog}
    write(tmp_path / "other/c.json")
    assert IMPORTERS.get("LabelMe")().splits(str(tmp_path)) is None  # which one is meant?
