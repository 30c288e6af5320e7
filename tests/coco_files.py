"""Small COCO annotation files with images; tests change single entries."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CONTENT: dict[str, list[dict[str, Any]]] = {
    "images": [
        {"id": 5, "file_name": "a.png", "height": 10, "width": 20},
        {"id": 2, "file_name": "deeper/b.png", "height": 10, "width": 20},
    ],
    "annotations": [
        {"id": 1, "image_id": 5, "category_id": 7, "bbox": [2, 3, 4, 5]},
        {"id": 2, "image_id": 5, "category_id": 3, "bbox": [0, 0, 20, 10], "iscrowd": 1},
    ],
    "categories": [{"id": 7, "name": "ant"}, {"id": 3, "name": "cat"}],
}
GONE = object()  # as a value: remove the key


def changed(kind: str, place: int, **values: Any) -> dict[str, Any]:
    """A copy of ``CONTENT`` with other values in one entry."""
    content = copy.deepcopy(CONTENT)
    for key, value in values.items():
        if value is GONE:
            del content[kind][place][key]
        else:
            content[kind][place][key] = value
    return content


def write_coco(folder: Path, content: Any = CONTENT) -> tuple[str, str]:
    """Write annotations and the two gray images of ``CONTENT``; returns the JSON's path and the
    image folder."""
    for image in CONTENT["images"]:
        path = folder / "images" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 20, 3), 128, dtype=np.uint8)).save(path)
    json_file = folder / "annotations.json"
    json_file.write_text(
        content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
    )
    return str(json_file), str(folder / "images")
