"""JSON, CSV and project files of VGG Image Annotator."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from retina_plugin.data import DatasetError
from tests.imported_boxes import boxes, read, write_images

RECT = {"name": "rect", "x": 1, "y": 2, "width": 29, "height": 38}
CSV = (
    "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
    "region_attributes\n"
)


def region(shape: Any = RECT, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes or {"class": "dog"}}


def write(folder: Path, *regions: Any, **more: Any) -> Path:
    write_images(folder, "a.png", "b.png")
    content = {
        "a.png123": {"filename": "a.png", "size": 123, "regions": list(regions), **more},
        "b.png-1": {"filename": "b.png", "size": -1, "regions": [], "file_attributes": {}},
    }
    return dump(folder, content)


def dump(folder: Path, content: Any) -> Path:
    file = folder / "via_region_data.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (RECT, (1, 2, 30, 40)),
        ({"name": "circle", "cx": 20, "cy": 20, "r": 5.5}, (14.5, 14.5, 25.5, 25.5)),
        ({"name": "ellipse", "cx": 20, "cy": 20, "rx": 10, "ry": 5}, (10, 15, 30, 25)),
        (
            {"name": "ellipse", "cx": 20, "cy": 20, "rx": 10, "ry": 5, "theta": math.pi / 2},
            (15, 10, 25, 30),
        ),
        (
            {"name": "polygon", "all_points_x": [5, 7, 3], "all_points_y": [9, 1, 4]},
            (3, 1, 7, 9),
        ),
    ],
    ids=["rect", "circle", "ellipse", "rotated ellipse", "polygon"],
)
def test_boxes_of_shapes(tmp_path: Path, shape: Any, expected: tuple[float, ...]) -> None:
    imported = read(write(tmp_path, region(shape)))
    assert boxes(imported) == {"a.png": [("dog", *expected)], "b.png": []}
    assert imported.places[0].endswith("entry 'a.png123', entry 0 of 'regions'")


def test_regions_of_version_1_and_project_files(tmp_path: Path) -> None:
    file = write(tmp_path)
    content = json.loads(file.read_text())
    content["a.png123"]["regions"] = {"0": region(), "1": region(**{"class": "cat"})}
    expected = {"a.png": [("dog", 1, 2, 30, 40), ("cat", 1, 2, 30, 40)], "b.png": []}
    assert boxes(read(dump(tmp_path, content))) == expected
    project = {"_via_settings": {"ui": {}}, "_via_img_metadata": content, "_via_attributes": {}}
    assert boxes(read(dump(tmp_path, project))) == expected


def test_csv(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    text = CSV
    for number, name in enumerate(("dog", "cat")):
        shape, attributes = (json.dumps(v).replace('"', '""') for v in (RECT, {"class": name}))
        text += f'a.png,123,"{{}}",2,{number},"{shape}","{attributes}"\n'
    file = tmp_path / "via.csv"
    file.write_text(text + 'b.png,1,"{}",0,0,"{}","{}"\n')
    imported = read(file)
    assert boxes(imported) == {
        "a.png": [("dog", 1, 2, 30, 40), ("cat", 1, 2, 30, 40)],
        "b.png": [],
    }
    assert imported.places[1] == f"{file}, line 3"
    file.write_text(f'{CSV}a.png,123,"{{}}",2,0,"{{cut","{{}}"\n')
    with pytest.raises(DatasetError, match=r"line 2: expected JSON in column region_shape_attr"):
        read(file)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ([{"animal": "dog"}, {"animal": "cat"}], ["dog", "cat"]),
        ([{"animal": 7}, {"animal": " cat "}], ["7", "cat"]),
        ([{"animal": {"dog": True, "cat": False}}, {"animal": "cat"}], ["dog", "cat"]),
        ([{"class": "dog", "color": "red"}, {"class": "cat", "color": "red"}], ["dog", "cat"]),
        ([{"kind": "dog", "note": "?"}, {"kind": "cat", "note": ""}], ["dog", "cat"]),
        ([{"kind": "dog", "difficult": "1"}, {"kind": "cat"}], ["dog", "cat"]),
        ([{}, {}], ["object", "object"]),
    ],
    ids=["key", "number", "checkbox", "named class", "in all regions", "flag", "no attributes"],
)
def test_the_key_with_the_class(tmp_path: Path, attributes: Any, expected: list[str]) -> None:
    regions = [{"shape_attributes": RECT, "region_attributes": a} for a in attributes]
    table = boxes(read(write(tmp_path, *regions)))
    assert [box[0] for box in table["a.png"]] == expected
    assert [box[5:] for box in table["a.png"]] == [
        ("difficult",) if "difficult" in a else () for a in attributes
    ]


def test_what_is_noted(tmp_path: Path) -> None:
    point = {"name": "point", "cx": 1, "cy": 2}
    imported = read(
        write(tmp_path, region(point), region(RECT, **{"class": {"dog": True, "cat": True}}))
    )
    assert [box[0] for box in boxes(imported)["a.png"]] == ["dog", "cat"]
    assert [note.split(" (")[0] for note in imported.notes] == [
        "1 regions of shape 'point' have no area and were left out",
        "1 regions have several classes and give a box for each",
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (region({"name": "rect", "x": 1}), r"entry 1 of 'regions': expected a number at 'y'"),
        (region({"name": "star"}), r"entry 1 of 'regions': expected one of rect, .*'star'"),
        (
            region({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}),
            r"expected at least 3 points, as many x as y; found 3 and 2",
        ),
        (region(**{"class": ""}), r"entry 1 of 'regions': expected a class at 'class'"),
        ({"shape_attributes": RECT}, r"'region_attributes': expected an object, found None"),
        (7, r"entry 1 of 'regions': expected an object, found 7"),
    ],
)
def test_wrong_regions(tmp_path: Path, entry: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=f"entry 'a.png123', .*{message}|{message}"):
        read(write(tmp_path, region(), entry))


def test_several_keys_that_may_have_the_class(tmp_path: Path) -> None:
    file = write(tmp_path, region(kind="dog", color="red"))
    with pytest.raises(DatasetError, match=r"one attribute .*found 'kind, color'. Rename"):
        read(file)


def test_wrong_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"entry 'a.png123': expected text at 'filename'"):
        read(write(tmp_path, filename=""))
    with pytest.raises(DatasetError, match=r"'b.png-1': expected each image once, found 'b.png'"):
        read(write(tmp_path, filename="b.png"))


# ---------------------------------------------------------------------------- projects of VIA 3


def project(*regions: Any, attributes: Any = None, **more: Any) -> dict[str, Any]:
    """A project with the images a.png, whose regions these are, and b.png."""
    files = {
        "1": {"fid": "1", "fname": "a.png", "type": 2, "loc": 1, "src": ""},
        "2": {"fid": 2, "fname": "B", "type": 2, "loc": 3, "src": "/home/me/b.png"},
    }
    name = {"aname": "kind", "anchor_id": "FILE1_Z0_XY1", "type": 1, "options": {}}
    return {
        "project": {"pid": "__VIA_PROJECT_ID__", "vid_list": ["1", "2"]},
        "config": {"file": {"loc_prefix": {"1": "", "3": ""}}},
        "attribute": {"7": name} if attributes is None else attributes,
        "file": files,
        "view": {"1": {"fid_list": [1]}, "2": {"fid_list": ["2"]}},
        "metadata": {f"1_{number}": entry for number, entry in enumerate(regions)},
    } | more


def drawn(*xy: float, vid: Any = "1", z: Any = (), **av: Any) -> dict[str, Any]:
    return {"vid": vid, "flg": 0, "z": list(z), "xy": list(xy), "av": av or {"7": "dog"}}


@pytest.mark.parametrize(
    ("xy", "expected"),
    [
        ((2, 10, 20, 40, 50), (10, 20, 50, 70)),
        ((3, 20, 20, 5.5), (14.5, 14.5, 25.5, 25.5)),
        ((4, 20, 20, 10, 5), (10, 15, 30, 25)),
        ((7, 5, 9, 7, 1, 3, 4), (3, 1, 7, 9)),
        ((8, 5, 1, 9, 4, 6, 8, 2, 5), (2, 1, 9, 8)),
        ((9, 25, 20, 20, 25, 15, 20), (15, 15, 25, 25)),  # about (20, 20)
    ],
    ids=["rectangle", "circle", "ellipse", "polygon", "extreme rectangle", "extreme circle"],
)
def test_shapes_of_version_3(tmp_path: Path, xy: tuple[float, ...], expected: Any) -> None:
    write_images(tmp_path, "a.png", "images/b.png")
    imported = read(dump(tmp_path, project(drawn(*xy))))
    assert boxes(imported) == {"a.png": [("dog", *expected)], "images/b.png": []}
    assert imported.places[0].endswith("entry '1_0' of 'metadata'")


def test_options_of_version_3(tmp_path: Path) -> None:
    """Radio buttons, lists and checkboxes store the ids of their options."""
    write_images(tmp_path, "a.png", "b.png")
    options = {"0": "dog", "1": "cat"}
    for kind, value, expected in ((4, "1", ["cat"]), (2, "0,1", ["dog", "cat"])):
        attributes = {"7": {"aname": "kind", "type": kind, "options": options}}
        content = project(drawn(2, 1, 2, 3, 4, **{"7": value}), attributes=attributes)
        assert [b[0] for b in boxes(read(dump(tmp_path, content)))["a.png"]] == expected
    content = project(drawn(2, 1, 2, 3, 4, **{"7": "5"}), attributes=attributes)
    with pytest.raises(DatasetError, match=r"an option of attribute 'kind', found '5'; it has '0,"):
        read(dump(tmp_path, content))


def test_what_version_3_leaves_out(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    content = project(
        drawn(2, 1, 2, 3, 4),
        drawn(1, 1, 2),
        drawn(),
        drawn(2, 1, 2, 3, 4, z=[1.5]),
        drawn(2, 1, 2, 3, 4, vid=3),
        view={"1": {"fid_list": [1]}, "2": {"fid_list": [1, 2]}, "3": {"fid_list": [3]}},
    )
    content["file"]["3"] = {"fname": "c.mp4", "type": 4, "loc": 1, "src": ""}
    imported = read(dump(tmp_path, content))
    assert boxes(imported) == {"a.png": [("dog", 1, 2, 4, 6)]}
    assert sorted(note.split(" (")[0] for note in imported.notes) == [
        "1 entries describe files or times without a region and are not used",
        "1 files are videos or sounds and are not used",
        "1 regions of shape 'point' have no area and were left out",
        "1 views of several files are not used",
        "2 regions of videos, or of views of several files, are not used",
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (drawn(2, 1, 2, 3), r"expected a number at 'height'"),
        (drawn(12, 1, 2), r"expected a shape 1..9 at 'xy', found 12"),
        (drawn(9, 0, 0, 1, 1, 2, 2), r"3 points of a circle, found points in a line"),
        (drawn(2, 1, 2, 3, 4, vid=8), r"expected a key of 'view' at 'vid', found '8'"),
        (drawn(2, 1, 2, 3, 4, **{"9": "x"}), r"attribute '9': expected an object, found None"),
    ],
)
def test_wrong_entries_of_version_3(tmp_path: Path, entry: Any, message: str) -> None:
    write_images(tmp_path, "a.png", "b.png")
    with pytest.raises(DatasetError, match=f"entry '1_0' of 'metadata'.*{message}"):
        read(dump(tmp_path, project(entry)))


@pytest.mark.parametrize(
    ("value", "flagged"),
    [
        ({"yes": True}, True),
        ({"difficult": True}, True),
        ({"yes": False}, False),
        ({"no": True}, False),
        ({}, False),
        ("y", True),
        (1, True),
        ("off", False),
    ],
)
def test_flags_of_check_boxes(tmp_path: Path, value: Any, flagged: bool) -> None:
    imported = read(write(tmp_path, region(**{"class": "dog", "difficult": value})))
    assert boxes(imported)["a.png"] == [("dog", 1, 2, 30, 40, *["difficult"] * flagged)]


def test_an_unknown_check_box(tmp_path: Path) -> None:
    file = write(tmp_path, region(**{"class": "dog", "difficult": {"maybe": True}}))
    with pytest.raises(
        DatasetError, match=r"expected 0, 1, true or false for difficult, found {'maybe'"
    ):
        read(file)
