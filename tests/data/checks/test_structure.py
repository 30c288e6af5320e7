"""Faults of a whole file are reported, and the rest of the data set is still checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retina_plugin.data.checks import check_datasets
from retina_plugin.data.checks.read import read_checked
from tests.coco_files import write_coco
from tests.imported_boxes import write_images

ROW = "0 0.5 0.5 0.2 0.4\n"
BOX = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>40</xmax><ymax>25</ymax></bndbox>"
XML = f"<annotation><object><name>ant</name>{BOX}</object></annotation>"
LABELME: dict[str, Any] = {
    "imagePath": "a.png",
    "shapes": [{"label": "ant", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"}],
}
REGION = {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}
YAML = "train: images\nnames: [ant, bee]\n"
YOLO = {"data.yaml": YAML, "labels/a.txt": ROW, "labels/b.txt": ROW}


def via(*attributes: dict[str, str]) -> str:
    regions = [{"shape_attributes": REGION, "region_attributes": a} for a in attributes]
    entries = {"a": {"filename": "a.png", "regions": regions}, "b": {"filename": ""}}
    return json.dumps(entries)


# files beside images/a.png and images/b.png; messages; boxes that are left
CASES: dict[str, tuple[dict[str, str | bytes], list[str], int]] = {
    "YOLO: nc": (YOLO | {"data.yaml": f"{YAML}nc: 3\n"}, ["nc is 3, but names has 2"], 2),
    "YOLO: two equal names": (
        YOLO | {"data.yaml": "train: images\nnames: [ant, ant]\n"},
        ["classes 0 and 1 are both called 'ant'"],
        2,
    ),
    "YOLO: a folder is missing": (
        YOLO | {"data.yaml": "train: [gone, images]\nnames: [ant]\n"},
        ["names gone, which is not below"],
        2,
    ),
    "YOLO: a listed image is missing": (
        YOLO | {"data.yaml": "train: t.txt\nnames: [ant]\n", "t.txt": "gone.png\nimages/a.png\n"},
        ["t.txt, line 1: no image 'gone.png'"],
        1,
    ),
    "YOLO: not UTF-8": (YOLO | {"labels/a.txt": b"0 \xb5"}, ["line 1: expected text in utf-8"], 1),
    "VOC: not XML, a list": (
        {
            "Annotations/a.xml": XML,
            "Annotations/b.xml": "<annotation>",
            "ImageSets/Main/train.txt": "a\nb\nc\n",
        },
        ["b.xml, line 1: expected XML", "train.txt, line 3: no XML file"],
        1,
    ),
    "LabelMe: not JSON": (
        {"a.json": json.dumps(LABELME), "b.json": "{"},
        ["b.json is not JSON"],
        1,
    ),
    "LabelMe: two files of an image": (
        {"a.json": json.dumps(LABELME), "c.json": json.dumps(LABELME)},
        ["c.json: expected one file for each image, found 'images/a.png' in"],
        1,
    ),
    "CSV: a quote": (
        {"boxes.csv": 'a.png,1,2,3,4,ant\nb.png,1,2,3,4,bee\nc.png,"1,2,3,4,ant\n'},
        ["line 3: expected cells between commas"],
        2,
    ),
    "CSV: two sizes": (
        {
            "boxes.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n"
            "a.png,100,50,ant,1,2,3,4\na.png,50,50,ant,1,2,5,4\n"
        },
        ["line 3: expected image size (100, 50)"],
        1,
    ),
    "CSV: two images in one place": (
        {"boxes.csv": "x/a.png,1,2,3,4,ant\ny/a.png,1,2,3,4,ant\n"},
        ["images 'x/a.png' and 'y/a.png' are both found as"],
        2,
    ),
    "VIA: no name, several keys": (
        {"via.json": via({"kind": "ant", "color": "red"})},
        [
            "entry 'b': expected text at 'filename'",
            "one attribute of regions that has the class",
            "has no boxes and no list of classes",
        ],
        0,
    ),
    "CVAT: no name, no frame": (
        {
            "annotations.xml": '<annotations>\n<image id="0"/>\n<image name="a.png">'
            '<box label="ant" xtl="1" ytl="2" xbr="3" ybr="4"/><box/></image>\n</annotations>'
        },
        ["line 2: expected name of <image>", "line 3: expected label of <box>"],
        1,
    ),
    "Label Studio: a task without image": (
        {
            "export.json": json.dumps(
                [
                    {"data": {"text": "?"}, "annotations": [{"result": []}]},
                    {"data": {"image": "a.png"}, "annotations": [{"result": [7]}]},
                ]
            )
        },
        [
            "entry 0: expected one key of 'data'",
            "entry 0 of 'result': expected an object",
            "has no boxes and no list of classes",
        ],
        0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rest_is_read(tmp_path: Path, case: str) -> None:
    files, messages, boxes = CASES[case]
    write_images(tmp_path, "images/a.png", "images/b.png")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        raw = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(raw)
    checked = read_checked(str(tmp_path))
    found = [f.message for f in checked.findings if f.rule == "invalid-annotation"]
    assert len(found) == len(messages), found
    for message in messages:
        assert any(message in text for text in found), found
    assert sum(len(record["annotations"]) for record in checked.dataset.records) == boxes
    assert checked.dataset.records


def change_coco(folder: Path, **lists: Any) -> str:
    file, images = write_coco(folder)
    content = json.loads(Path(file).read_text(encoding="utf-8"))
    Path(file).write_text(json.dumps(content | lists), encoding="utf-8")
    return f"{file}@{images}"


def test_categories_of_coco(tmp_path: Path) -> None:
    name = change_coco(tmp_path, categories=[{"id": i, "name": "cat"} for i in (1, 3, "x")])
    result = check_datasets([name], show=False)
    found = [f.message for f in result.findings if f.rule == "invalid-annotation"]
    assert any("some ids of 'categories' are numbers and some are text" in text for text in found)
    assert any("categories 1 and 3 are both called 'cat'" in text for text in found)
    assert result.sets[0].dataset.class_names == ("cat", "cat (3)", "cat (x)")
    assert result.sets[0].dataset.records


def test_splits_of_a_broken_data_yaml_are_all_checked(tmp_path: Path) -> None:
    write_images(tmp_path, "images/a.png", "images/b.png")
    for name, text in (YOLO | {"data.yaml": f"{YAML}val: gone\nnc: 5\n"}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(str(text))
    sets = check_datasets([str(tmp_path)], show=False).sets
    assert [len(checked.dataset.records) for checked in sets] == [2, 0]
    for checked in sets:
        assert any("nc is 5" in finding.message for finding in checked.findings)
