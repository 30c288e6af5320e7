"""Annotations in unusual spellings: ids as text, masks without boxes, file names, encodings."""

from __future__ import annotations

import copy
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from retina_plugin.data import DatasetError, read_coco
from retina_plugin.data.coco_masks import box_of_segmentation
from tests.coco_files import CONTENT, GONE, changed, write_coco


def boxes(folder: Path, content: Any = CONTENT) -> dict[Any, list[tuple[int, list[float]]]]:
    """Image id -> (class, box) of each object."""
    records = read_coco(*write_coco(folder, content)).records
    return {
        r["image_id"]: [(a["category_id"], a["bbox"]) for a in r["annotations"]] for r in records
    }


# ---------------------------------------------------------------------------------------------- ids


def with_ids(images: Any, categories: Any, image_ids: Any, category_ids: Any) -> dict[str, Any]:
    """``CONTENT`` with each id converted by a function."""
    content = copy.deepcopy(CONTENT)
    for entry in content["images"]:
        entry["id"] = images(entry["id"])
    for entry in content["categories"]:
        entry["id"] = categories(entry["id"])
    for entry in content["annotations"]:
        entry.update(
            image_id=image_ids(entry["image_id"]), category_id=category_ids(entry["category_id"])
        )
    return content


TEXT = "{} of 2 of 2 annotations is text, ids of {} are numbers: the same numbers were matched"
NUMBER = (
    "image_id of 2 of 2 annotations is a number, ids of images are text: the same numbers were "
    "matched"
)


@pytest.mark.parametrize(
    ("kinds", "ids", "line"),
    [
        pytest.param(
            (int, int, str, int),
            (5, 2),
            TEXT.format("image_id", "images"),
            id="text in annotations",
        ),
        pytest.param(
            (int, int, "{:06d}".format, int), (5, 2), TEXT.format("image_id", "images"), id="zeros"
        ),
        pytest.param((str, int, int, int), ("5", "2"), NUMBER, id="text in images"),
        pytest.param(
            (int, int, int, str), (5, 2), TEXT.format("category_id", "categories"), id="classes"
        ),
        pytest.param((str, str, float, float), ("5", "2"), None, id="floats for text"),
        pytest.param(
            (int, int, int, "{}.0".format),
            (5, 2),
            TEXT.format("category_id", "categories"),
            id="text of floats",
        ),
        pytest.param((float, float, int, int), (5, 2), "", id="floats"),
        pytest.param((float, float, float, float), (5, 2), "", id="floats all over"),
        pytest.param((str, str, str, str), ("5", "2"), "", id="text all over"),
    ],
)
def test_ids_of_two_kinds(tmp_path: Path, kinds: tuple, ids: tuple, line: str | None) -> None:
    """Integral floats become integers, because results files use these ids. Text ids are matched
    with numbers, with a warning."""
    dataset = read_coco(*write_coco(tmp_path, with_ids(*kinds)))
    assert tuple(record["image_id"] for record in dataset.records) == ids
    assert not any(isinstance(value, float) for value in (*ids, *dataset.category_ids))
    assert [len(record["annotations"]) for record in dataset.records] == [2, 0]
    assert dataset.class_names == ("cat", "ant")
    if line is not None:
        assert [warning.split(": ", 1)[1] for warning in dataset.warnings] == [line] * bool(line)


def test_text_that_matches_two_ids_is_not_matched(tmp_path: Path) -> None:
    content = with_ids(str, int, lambda _: 5, int)
    content["images"][1]["id"] = "05"
    with pytest.raises(
        DatasetError, match="annotation 1 belongs to image 5, which is not among the images"
    ):
        read_coco(*write_coco(tmp_path, content))


# -------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        pytest.param([[2, 3, 6, 3, 6, 8, 2, 8]], [2, 3, 4, 5], id="polygon"),
        pytest.param([[2, 3, 4, 3, 4, 5], [5.5, 4, 6, 8, 6, 7]], [2, 3, 4, 5], id="two polygons"),
        pytest.param({"size": [4, 5], "counts": [5, 2, 2, 2, 9]}, [1, 1, 2, 2], id="runs"),
        pytest.param({"size": [4, 5]}, None, id="no runs"),
        pytest.param([], None, id="empty"),
        pytest.param([[]], None, id="empty polygon"),
        pytest.param([[1, 2, 3]], None, id="odd"),
        pytest.param([["1", "2"]], None, id="text"),
        pytest.param("mask.png", None, id="a file"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_box_of_a_mask(segmentation: Any, box: list[float] | None) -> None:
    assert box_of_segmentation(segmentation) == box


@pytest.mark.parametrize("bbox", [[], None, GONE], ids=["empty", "null", "left out"])
def test_polygons_without_boxes(tmp_path: Path, bbox: Any) -> None:
    content = changed("annotations", 0, bbox=bbox, segmentation=[[2, 3, 6, 3, 6, 8, 2, 8]])
    dataset = read_coco(*write_coco(tmp_path, content))
    assert dataset.records[0]["annotations"][0]["bbox"] == [2, 3, 6, 8]
    (line,) = dataset.warnings
    assert (
        "1 of 2 annotations have no bbox, their segmentation's box was taken (first: annotation 1)"
        in line
    )
    with pytest.raises(DatasetError, match=r"\(id 1\) needs bbox: "):
        read_coco(*write_coco(tmp_path, changed("annotations", 0, bbox=bbox, segmentation=[])))


# --------------------------------------------------------------------------------------- file names

SPACES = "have spaces or line breaks around them"
FOLDERS = "include the image folder, which was removed"
ACCENT = "caf\u00e9.png"


@pytest.mark.parametrize(
    ("written", "on_disk", "words"),
    [
        pytest.param(
            "deeper\\b.png", "deeper/b.png", "have backslashes, read as /", id="backslashes"
        ),
        pytest.param("my%20pets/b%23.png", "my pets/b#.png", "are URL-encoded", id="URL"),
        pytest.param(
            "Deeper/B.PNG",
            "deeper/b.png",
            "differ from the disk in upper and lower case",
            id="case",
        ),
        pytest.param(
            "Deeper\\B.PNG",
            "deeper/b.png",
            "differ from the disk in upper and lower case",
            id="case and backslashes",
        ),
        pytest.param(
            ACCENT,
            unicodedata.normalize("NFD", ACCENT),
            "have another Unicode normalization than",
            id="NFC",
        ),
        pytest.param(
            unicodedata.normalize("NFD", ACCENT),
            ACCENT,
            "have another Unicode normalization than",
            id="NFD",
        ),
        *(
            pytest.param(f"{before}b.png{after}", "b.png", SPACES, id=f"{before}name{after}")
            for before, after in (("", " "), ("", "\n"), (" ", "\r\n"), ("\t", ""))
        ),
        pytest.param("C:\\data\\images\\b.png", "b.png", FOLDERS, id="of Windows"),
        pytest.param("file:///data/images/my%20b.png", "my b.png", FOLDERS, id="a file URL"),
        pytest.param("/data/images/deeper/b.png", "deeper/b.png", FOLDERS, id="another root"),
        pytest.param("images/deeper/b.png", "deeper/b.png", FOLDERS, id="the folder twice"),
        pytest.param("images/images/b.png", "b.png", FOLDERS, id="the folder three times"),
        pytest.param("100%.png", "100%.png", None, id="a percent sign"),
        pytest.param("a%20b.png", "a%20b.png", None, id="such a name on the disk"),
    ],
)
def test_other_spellings_of_file_names(
    tmp_path: Path, written: str, on_disk: str, words: str | None
) -> None:
    json_file, images = write_coco(tmp_path, changed("images", 1, file_name=written))
    path = Path(images, on_disk)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(Path(images, "deeper/b.png"), path)
    dataset = read_coco(json_file, images)
    assert dataset.records[1]["file_name"] == str(path)
    assert len(dataset.warnings) == (words is not None)
    assert words is None or f"1 of 2 file names {words}" in dataset.warnings[0]


def test_a_file_url_of_this_machine(tmp_path: Path) -> None:
    path = (tmp_path / "elsewhere.png").as_posix()
    json_file, images = write_coco(tmp_path, changed("images", 0, file_name=f"file://{path}"))
    os.replace(Path(images, "a.png"), path)
    dataset = read_coco(json_file, images)
    assert dataset.records[0]["file_name"] == path
    assert "1 of 2 file names are file:// URLs" in dataset.warnings[0]


@pytest.mark.parametrize(
    "name", ["C:\\train\\a.png", "file:///train/a.png", "/train/a.png", "t/a.png"]
)
def test_missing_folders_are_named(tmp_path: Path, name: str) -> None:
    """A file with the same name in another folder may belong to another split, so it is not
    used."""
    json_file, images = write_coco(tmp_path, changed("images", 0, file_name=name))
    with pytest.raises(
        DatasetError, match=r"starts with folders that are not in .*images, but 'a.png' is there"
    ):
        read_coco(json_file, images)


@pytest.mark.parametrize("name", ["x\n.png", "x.png\r\n", "\u2028x.png", "\x1b[31m.png"])
def test_a_message_stays_one_line(tmp_path: Path, name: str) -> None:
    json_file, images = write_coco(tmp_path, changed("images", 0, file_name=name))
    with pytest.raises(DatasetError, match=r"1 of 2 images of .* are missing") as error:
        read_coco(json_file, images)
    assert str(error.value).isprintable()


def test_an_ambiguous_file_name(tmp_path: Path) -> None:
    json_file, images = write_coco(tmp_path, changed("images", 0, file_name="A.PNG"))
    Path(images, "A.png").write_bytes(Path(images, "a.png").read_bytes())
    with pytest.raises(DatasetError, match=r"1 of 2 images of .* are missing: .*A\.PNG"):
        read_coco(json_file, images)


@pytest.mark.parametrize("page", ["cp1252", "cp1250", "cp437"])
def test_names_in_another_encoding(tmp_path: Path, page: str) -> None:
    """UTF-8 decoded with a wrong code page, in the JSON or on the disk, and file names in a code
    page."""
    spoilt = ACCENT.encode("utf-8").decode(page)
    json_file, images = write_coco(tmp_path, changed("images", 0, file_name=spoilt))
    os.replace(Path(images, "a.png"), Path(images, ACCENT))
    with pytest.raises(
        DatasetError,
        match=rf"'{ACCENT}' in UTF-8 that was read as cp.*Write the "
        r"JSON file again",
    ):
        read_coco(json_file, images)
    write_coco(tmp_path, changed("images", 0, file_name=ACCENT))
    os.replace(Path(images, ACCENT), Path(images, spoilt))
    with pytest.raises(DatasetError, match="UTF-8 that was unpacked as cp"):
        read_coco(json_file, images)
    os.replace(Path(images, spoilt), os.path.join(os.fsencode(images), ACCENT.encode(page)))
    with pytest.raises(DatasetError, match=rf"The disk spells '{ACCENT}' in cp.*convmv -f cp"):
        read_coco(json_file, images)


# ---------------------------------------------------------------------------------- the file itself


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
    ids=lambda name: name,
)
def test_encodings_of_the_file(tmp_path: Path, encoding: str) -> None:
    content = changed("categories", 0, name="mréže")
    json_file, images = write_coco(tmp_path, content)
    Path(json_file).write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    assert read_coco(json_file, images).class_names == ("cat", "mréže")


def test_a_code_page_is_named(tmp_path: Path) -> None:
    content = changed("categories", 0, name="mréže")
    json_file, images = write_coco(tmp_path, content)
    Path(json_file).write_text(json.dumps(content, ensure_ascii=False), encoding="cp1250")
    with pytest.raises(
        DatasetError,
        match=r"is not JSON in utf-8 \(byte 0xe9 at \d+\).*iconv -f "
        r"cp1250 -t utf-8",
    ):
        read_coco(json_file, images)
