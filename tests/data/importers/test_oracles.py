"""Other libraries read the same files to the same boxes, where they read the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.imported_boxes import Table, boxes, read, write_images

BOX = (1.5, 2.0, 30.0, 40.25)


def of_globox(annotations: Any) -> Table:
    return {
        Path(annotation.image_id).name: [
            (box.label, *(round(value, 3) for value in (box.xmin, box.ymin, box.xmax, box.ymax)))
            for box in annotation.boxes
        ]
        for annotation in annotations
    }


def write_labelme(folder: Path) -> None:
    write_images(folder, "a.png", "b.png")
    shapes = [
        {"label": "dog", "points": [[30.0, 2.0], [1.5, 40.25]], "shape_type": "rectangle"},
        {"label": "cat", "points": [[5.0, 9.0], [7.0, 1.0], [3.0, 4.0]], "shape_type": "polygon"},
    ]
    for shape in shapes:
        shape |= {"group_id": None, "flags": {}}
    for name, entries in (("a", shapes), ("b", [])):
        content = {"version": "5", "flags": {}, "shapes": entries, "imagePath": f"{name}.png"}
        content |= {"imageData": None, "imageHeight": 50, "imageWidth": 100}
        (folder / f"{name}.json").write_text(json.dumps(content))


def test_labelme_by_globox(tmp_path: Path) -> None:
    globox = pytest.importorskip("globox")
    write_labelme(tmp_path)
    found = globox.AnnotationSet.from_labelme(tmp_path, include_poly=True)
    assert of_globox(found) == boxes(read(tmp_path))


def test_labelme_by_supervision(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    write_labelme(tmp_path)
    found = supervision.DetectionDataset.from_labelme(
        images_directory_path=str(tmp_path), annotations_directory_path=str(tmp_path)
    )
    table = {
        Path(path).name: [
            (found.classes[label], *map(float, box.round(3)))
            for box, label in zip(detections.xyxy, detections.class_id, strict=True)
        ]
        for path, _, detections in found
    }
    assert table == boxes(read(tmp_path))


def test_groups_of_labelme_by_supervision(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    write_labelme(tmp_path)
    content = json.loads((tmp_path / "a.json").read_text())
    shape = content["shapes"][0]
    content["shapes"] = [
        shape | {"group_id": 1},
        shape | {"points": [[50, 5], [60, 9]], "group_id": 1},
    ]
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = supervision.DetectionDataset.from_labelme(
        images_directory_path=str(tmp_path), annotations_directory_path=str(tmp_path)
    )
    of_a = next(d for path, _, d in found if Path(path).name == "a.png")
    assert [("dog", *map(float, of_a.xyxy[0]))] == boxes(read(tmp_path))["a.png"]


def test_open_images_by_globox(tmp_path: Path) -> None:
    globox = pytest.importorskip("globox")
    write_images(tmp_path, "a.png")
    file = tmp_path / "boxes.csv"
    file.write_text("ImageID,LabelName,XMin,XMax,YMin,YMax\na.png,dog,0.015,0.3,0.04,0.805\n")
    found = globox.AnnotationSet.from_openimage(file, image_folder=tmp_path)
    assert of_globox(found) == {"a.png": [("dog", *BOX)]}
    ours = boxes(read(file))["a.png"][0]  # fractions
    width, height = 100, 50
    scales = (width, height, width, height)
    assert [round(v * s, 3) for v, s in zip(ours[1:], scales, strict=True)] == list(BOX)


def test_cvat_by_globox(tmp_path: Path) -> None:
    globox = pytest.importorskip("globox")
    write_images(tmp_path, "a.png", "b.png")
    file = tmp_path / "annotations.xml"
    file.write_text(
        '<annotations><image id="0" name="a.png" width="100" height="50"><box label="dog" '
        'xtl="1.5" ytl="2" xbr="30" ybr="40.25"/></image>'
        '<image id="1" name="b.png" width="100" height="50"/></annotations>'
    )
    assert of_globox(globox.AnnotationSet.from_cvat(file)) == boxes(read(file))


def test_via_by_globox(tmp_path: Path) -> None:
    globox = pytest.importorskip("globox")
    write_images(tmp_path, "a.png", "b.png")
    file = tmp_path / "via.json"
    shape = {"name": "rect", "x": 1.5, "y": 2, "width": 28.5, "height": 38.25}
    regions = [{"shape_attributes": shape, "region_attributes": {"label_id": "dog"}}]
    images = {name: {"filename": name, "size": 1, "regions": []} for name in ("a.png", "b.png")}
    images["a.png"]["regions"] = regions
    file.write_text(json.dumps(images))
    assert of_globox(globox.AnnotationSet.from_via_json(file)) == boxes(read(file))
