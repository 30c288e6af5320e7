"""Formats without a list of classes: all splits of a folder have the classes of all splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from retina_plugin.data import DatasetError, load_dataset
from tests.imported_boxes import write_images


def header_csv(image: str, names: list[str]) -> str:
    rows = [f"{image},{name},1,2,30,40\n" for name in names]
    return "".join(["filename,class,xmin,ymin,xmax,ymax\n", *rows])


def fizyr_csv(image: str, names: list[str]) -> str:
    return "".join(f"{image},1,2,30,40,{name}\n" for name in names)


def via(image: str, names: list[str]) -> str:
    shape = {"name": "rect", "x": 1, "y": 2, "width": 29, "height": 38}
    regions = [{"shape_attributes": shape, "region_attributes": {"class": n}} for n in names]
    return json.dumps({image: {"filename": image, "regions": regions}})


FORMATS = [(header_csv, "csv"), (fizyr_csv, "csv"), (via, "json")]


def write(folder: Path, text: Callable[[str, list[str]], str], suffix: str) -> None:
    for split, names in (("train", ["cat", "ant"]), ("val", ["bee"])):
        write_images(folder, f"{split}/{split}.png")
        (folder / f"{split}.{suffix}").write_text(text(f"{split}.png", names))


@pytest.mark.parametrize(("text", "suffix"), FORMATS)
def test_splits_have_the_same_classes(
    tmp_path: Path, text: Callable[[str, list[str]], str], suffix: str
) -> None:
    write(tmp_path, text, suffix)
    train, val = load_dataset(str(tmp_path)), load_dataset(f"{tmp_path}:val")
    assert train.class_names == val.class_names == ("ant", "bee", "cat")
    assert [a["category_id"] for a in train.records[0]["annotations"]] == [2, 0]
    assert [a["category_id"] for a in val.records[0]["annotations"]] == [1]
    (tmp_path / f"val.{suffix}").write_text(text("val.png", ["dog"]))  # the other split
    assert load_dataset(str(tmp_path)).class_names == ("ant", "cat", "dog")


def test_an_error_in_another_split(tmp_path: Path) -> None:
    write(tmp_path, header_csv, "csv")
    (tmp_path / "val.csv").write_text(header_csv("val.png", ["bee"]) + "val.png,bee,x,1,2,3\n")
    assert load_dataset(str(tmp_path)).class_names == ("ant", "bee", "cat")
    with pytest.raises(DatasetError, match=r"val.csv, line 3: expected a number"):
        load_dataset(f"{tmp_path}:val")
