"""One image with two boxes and one without boxes, in each format: the same records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from retina_plugin.data import DatasetError, load_dataset
from tests.imported_boxes import write_images

pytestmark = pytest.mark.slow

# in images of 100 x 50 pixels
DOG, CAT = (10, 5, 50, 45), (20, 10, 30, 20)
PERCENT = {"dog": (10, 10, 40, 80), "cat": (20, 20, 10, 20)}  # x, y, width, height
FRACTIONS = {"/m/1": (0.1, 0.5, 0.1, 0.9), "/m/2": (0.2, 0.3, 0.2, 0.4)}  # XMin, XMax, YMin, YMax
OBJECTS = (("dog", DOG), ("cat", CAT))


def fizyr(folder: Path) -> None:
    rows = [f"a.png,{','.join(map(str, box))},{name}\n" for name, box in OBJECTS]
    (folder / "boxes.csv").write_text("".join([*rows, "b.png,,,,,\n"]))


def header(folder: Path) -> None:
    rows = [f"a.png,100,50,{name},{','.join(map(str, box))}\n" for name, box in OBJECTS]
    start = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    (folder / "boxes.csv").write_text("".join([start, *rows, "b.png,100,50,,,,,\n"]))


def open_images(folder: Path) -> None:
    rows = [f"a,{code},{','.join(map(str, box))}\n" for code, box in FRACTIONS.items()]
    start = "ImageID,LabelName,XMin,XMax,YMin,YMax\n"
    (folder / "boxes.csv").write_text("".join([start, *rows, "b,,,,,\n"]))
    (folder / "classes.csv").write_text("/m/1,dog\n/m/2,cat\n")


def labelme(folder: Path) -> None:
    for image, objects in (("a", OBJECTS), ("b", ())):
        shapes = [
            {"label": name, "points": [box[:2], box[2:]], "shape_type": "rectangle"}
            for name, box in objects
        ]
        content = {"shapes": shapes, "imagePath": f"{image}.png", "imageWidth": 100}
        (folder / f"{image}.json").write_text(json.dumps(content | {"imageHeight": 50}))


def label_studio(folder: Path) -> None:
    regions = [
        {
            "original_width": 100,
            "original_height": 50,
            "value": dict(zip(("x", "y", "width", "height"), box, strict=True))
            | {"rectanglelabels": [name]},
        }
        for name, box in PERCENT.items()
    ]
    tasks = [
        {"data": {"image": f"/data/upload/1/0a1b2c3d-{name}.png"}, "annotations": [{"result": r}]}
        for name, r in (("a", regions), ("b", []))
    ]
    (folder / "export.json").write_text(json.dumps(tasks))


def cvat(folder: Path) -> None:
    shapes = [
        f'<box label="{name}" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}"/>'
        for name, (x0, y0, x1, y1) in OBJECTS
    ]
    images = [
        f'<image name="{name}.png" width="100" height="50">{"".join(boxes)}</image>'
        for name, boxes in (("a", shapes), ("b", []))
    ]
    (folder / "annotations.xml").write_text(f"<annotations>{''.join(images)}</annotations>")


def via(folder: Path) -> None:
    regions = [
        {
            "shape_attributes": {"name": "rect", "x": x, "y": y, "width": x1 - x, "height": y1 - y},
            "region_attributes": {"class": name},
        }
        for name, (x, y, x1, y1) in OBJECTS
    ]
    images = {
        name: {"filename": f"{name}.png", "size": 1, "regions": r}
        for name, r in (("a", regions), ("b", []))
    }
    (folder / "via.json").write_text(json.dumps(images))


FORMATS = (fizyr, header, open_images, labelme, label_studio, cvat, via)


@pytest.mark.parametrize("write", FORMATS)
def test_records(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write_images(tmp_path, "a.png", "b.png")
    write(tmp_path)
    dataset = load_dataset(str(tmp_path))
    assert dataset.class_names == ("cat", "dog")
    first, second = dataset.records
    names = [Path(record["file_name"]).name for record in (first, second)]
    assert (names, second["annotations"]) == (["a.png", "b.png"], [])
    assert (first["width"], first["height"]) == (100, 50)
    found = [(a["category_id"], *(round(v, 6) for v in a["bbox"])) for a in first["annotations"]]
    assert found == [(1, *DOG), (0, *CAT)]
    assert dataset.warnings == ()


@pytest.mark.parametrize("write", FORMATS)
def test_missing_images_are_reported(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    with pytest.raises(
        DatasetError, match=r"of 2 images of .* are missing|cannot be read|no image"
    ):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize("write", FORMATS)
def test_damaged_files(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """Files that are cut off or have other bytes are read or refused by name: no other error."""
    write_images(tmp_path, "a.png", "b.png")
    write(tmp_path)
    file = sorted(path for path in tmp_path.iterdir() if path.suffix != ".png")[0]
    whole = file.read_bytes()
    step = max(1, len(whole) // 25)
    messages = []
    for place in range(0, len(whole), step):
        for damaged in (whole[:place], whole[:place] + b'\xff"};,9' + whole[place + 2 :]):
            file.write_bytes(damaged)
            try:
                load_dataset(str(tmp_path))
            except DatasetError as error:
                messages.append(str(error))
    assert messages
    assert all(str(tmp_path) in message for message in messages)
