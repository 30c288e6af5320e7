"""The fingerprint of training data: what counts, and what does not."""

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
        change(lambda r: r[0]["annotations"][1], category_id=0),
        change(lambda r: r[0]["annotations"][0], iscrowd=1),
        records()[::-1],
        records()[:1],
    ],
)
def test_what_counts(other: Records) -> None:
    assert fingerprint([other])["sha256"] != fingerprint([records()])["sha256"]


def test_what_does_not_count() -> None:
    """The folder, the order of an image's boxes, which data set an image is from, and keys that a
    record need not have."""
    moved = change(lambda r: r[0], file_name="/b/c/1.png")
    moved[0]["annotations"].reverse()
    del moved[1]["annotations"]
    assert fingerprint([moved]) == fingerprint([records()[:1], records()[1:]])


def test_numbers() -> None:
    found = fingerprint([records(), records()])
    assert (found["images"], found["boxes"]) == (4, 4)
    assert (fingerprint([])["images"], fingerprint([[]])["boxes"]) == (0, 0)
