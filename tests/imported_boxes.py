"""Boxes of imported annotations, as tables that a reader can check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from retina_plugin.data.importers import IMPORTERS, Imported

Table = dict[str, list[tuple[Any, ...]]]


def write_images(folder: Path, *names: str, size: tuple[int, int] = (100, 50)) -> None:
    """Images, by default 100 x 50 pixels."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(folder / name)


def read(path: Path, split: str = "", image_folder: str = "") -> Imported:
    """Read a path with the only importer that recognises it."""
    found = [kind() for _, kind in IMPORTERS.items() if kind().splits(str(path)) is not None]
    assert len(found) == 1, found
    return found[0].read(str(path), split, image_folder=image_folder)


def boxes(imported: Imported) -> Table:
    """File name -> [(class, left, top, right, bottom, flags...)], rounded to 3 digits."""
    content = imported.content
    names = {category["id"]: category["name"] for category in content["categories"]}
    table: Table = {image["file_name"]: [] for image in content["images"]}
    files = {image["id"]: image["file_name"] for image in content["images"]}
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        flags = [flag for flag in ("difficult", "group_of") if annotation.get(flag)]
        flags += ["iscrowd"] if annotation["iscrowd"] and not flags else []
        corners = [round(value, 3) + 0.0 for value in (x, y, x + width, y + height)]
        table[files[annotation["image_id"]]].append(
            (names[annotation["category_id"]], *corners, *flags)
        )
    return table


def classes(imported: Imported) -> list[str]:
    """Names of the classes in their order."""
    return [category["name"] for category in imported.content["categories"]]
