"""Duplicates in a file give a warning with a count and are kept."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from retina_plugin.data import read_coco
from retina_plugin.data.coco_duplicates import duplicate_warnings
from tests.coco_files import CONTENT, changed, write_coco


def lines(folder: Path, content: Any) -> list[str]:
    return [w.split(": ", 1)[1] for w in read_coco(*write_coco(folder, content)).warnings]


@pytest.mark.parametrize("other", ["ant ", "Ant", " ANT", "ant\u00a0", "\uff41nt"])
def test_names_that_differ_by_spaces_or_case(tmp_path: Path, other: str) -> None:
    (line,) = lines(tmp_path, changed("categories", 1, name=other))
    assert line == (
        f"classes {other!r} and 'ant' (categories 3, 7) differ by spaces or case only and are "
        "learnt as 2 classes: merge them if they mean the same"
    )


def test_names_that_differ(tmp_path: Path) -> None:
    assert lines(tmp_path, changed("categories", 1, name="ant 2")) == []


def test_duplicate_boxes(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    content["annotations"] += [{**a, "id": a["id"] + 10} for a in content["annotations"]]
    assert lines(tmp_path, content) == [
        "2 of 4 boxes repeat another of the same image and class (first: annotations 1 and 11 of "
        "a.png): they count twice in training and metrics; remove them"
    ]
    for change in ({"category_id": 3}, {"image_id": 2}, {"bbox": [2, 3, 4, 6]}):
        content["annotations"] = [*CONTENT["annotations"], {**CONTENT["annotations"][0], "id": 9}]
        content["annotations"][-1].update(change)
        assert lines(tmp_path, content) == []


@pytest.mark.parametrize("name", ["a.png", "./a.png", "deeper/../a.png"])
def test_one_file_that_is_two_images(tmp_path: Path, name: str) -> None:
    (line,) = lines(tmp_path, changed("images", 1, file_name=name))
    assert line.startswith(
        "1 of 2 images have the file of another image (first: images 5 and 2, a.png): "
    )


def test_no_duplicates() -> None:
    assert duplicate_warnings({}, []) == []
