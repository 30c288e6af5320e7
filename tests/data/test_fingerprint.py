"""The fingerprint of training data: which changes it notices."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from retina_plugin.data.fingerprint import fingerprint

Records = list[dict[str, Any]]


def records() -> Records:
    first = [
        {"bbox": [1.0, 2.0, 11.0, 12.0], "category_id": 0, "iscrowd": 0},
        {"bbox": [3.0, 4.0, 13.0, 14.0], "category_id": 1, "iscrowd": 0},
    ]
    return [
        {"file_name": "/a/1.png", "width": 40, "height": 30, "annotations": first},
        {"file_name": "/a/2.png", "width": 40, "height": 30, "annotations": []},
    ]


def change(where: Callable[[Records], dict[str, Any]], **values: Any) -> Records:
    changed = copy.deepcopy(records())
    where(changed).update(values)
    return changed


@pytest.mark.parametrize(
    "other",
    [
        change(lambda r: r[0], file_name="/a/3.png"),
        change(lambda r: r[1], width=41),
        change(lambda r: r[0]["annotations"][1], bbox=[3.0, 4.0, 13.0, 15.0]),
        change(lambda r: r[0]["annotations"][1], bbox=[3.0, 4.0, 13.0, 14.02]),
        change(lambda r: r[0]["annotations"][1], category_id=0),
        change(lambda r: r[0]["annotations"][0], iscrowd=1),
        records()[::-1],
        records()[:1],
    ],
)
def test_changes_that_count(other: Records) -> None:
    assert fingerprint([other])["sha256"] != fingerprint([records()])["sha256"]


def test_changes_that_do_not_count() -> None:
    """The folder, the order of boxes in an image, the data set of an image, and optional keys of a
    record."""
    moved = change(lambda r: r[0], file_name="/b/c/1.png")
    moved[0]["annotations"].reverse()
    del moved[1]["annotations"]
    assert fingerprint([moved]) == fingerprint([records()[:1], records()[1:]])


def test_numbers() -> None:
    found = fingerprint([records(), records()])
    assert (found["images"], found["boxes"]) == (4, 4)
    assert (fingerprint([])["images"], fingerprint([[]])["boxes"]) == (0, 0)
