"""Data sets by name: the files of a name, when they are read again, and the message for unknown
names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from retina_plugin.data import (
    DatasetError,
    catalog,
    dataset_names,
    load_dataset,
    register_dataset,
    resolve,
)
from tests.coco_files import CONTENT, write_coco

DATASETS = os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets"))


@pytest.fixture(autouse=True)
def own_names() -> Iterator[None]:
    """Remove what a test registers."""
    before, others, readers = (
        dict(catalog._CATALOG),
        list(catalog._HOST_CATALOGS),
        list(catalog._HOST_DATASETS),
    )
    catalog._HOST_CATALOGS.clear()  # Detectron2's catalog has its own tests
    catalog._HOST_DATASETS.clear()
    yield
    catalog._CATALOG.clear()
    catalog._CATALOG.update(before)
    catalog._HOST_CATALOGS[:] = others
    catalog._HOST_DATASETS[:] = readers


@pytest.mark.parametrize(
    ("name", "json_file", "images"),
    [
        ("bccd_train", "bccd/annotations/train.json", "bccd/images"),
        ("bccd_val", "bccd/annotations/val.json", "bccd/images"),
        ("cards_train", "cards/annotations/train.json", "cards/images"),
        ("cards_val", "cards/annotations/val.json", "cards/images"),
        ("coco_2017_train", "coco/annotations/instances_train2017.json", "coco/train2017"),
        ("coco_2017_val", "coco/annotations/instances_val2017.json", "coco/val2017"),
        ("coco_2017_val_100", "coco/annotations/instances_val2017_100.json", "coco/val2017"),
    ],
)
def test_names_below_the_folder_of_data_sets(
    monkeypatch: pytest.MonkeyPatch, name: str, json_file: str, images: str
) -> None:
    assert name in dataset_names()
    monkeypatch.setenv("DETECTRON2_DATASETS", "/data")
    assert resolve(name) == (f"/data/{json_file}", f"/data/{images}")
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/data")
    assert resolve(name) == (
        os.path.expanduser(f"~/data/{json_file}"),
        os.path.expanduser(f"~/data/{images}"),
    )
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert resolve(name) == (f"datasets/{json_file}", f"datasets/{images}")


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("a.json@images", ("a.json", "images")),
        ("/x/a.json@/y/images", ("/x/a.json", "/y/images")),
        ("a.json@b@c", ("a.json", "b@c")),
        ("a@b/c.json@images", ("a@b/c.json", "images")),
        ("a.json@b.json@images", ("a.json@b.json", "images")),
        ("~/a.json@~/images", (os.path.expanduser("~/a.json"), os.path.expanduser("~/images"))),
        ("a.json@", ("a.json", ".")),
    ],
)
def test_paths_as_names(name: str, paths: tuple[str, str]) -> None:
    assert resolve(name) == paths


def test_unknown_names() -> None:
    with pytest.raises(
        DatasetError,
        match=r"no data set is called 'bccd_trian'. Nearest: "
        r"bccd_train.*annotations.json@image_folder",
    ):
        resolve("bccd_trian")
    with pytest.raises(DatasetError, match=r"Known: .*cards_val.*IMPORTS"):
        load_dataset("???")


def test_registering(tmp_path: Path) -> None:
    paths = write_coco(tmp_path)
    register_dataset("pets", *paths)
    register_dataset("pets", *paths)
    assert "pets" in dataset_names()
    assert load_dataset("pets").class_names == ("cat", "ant")
    with pytest.raises(
        DatasetError,
        match=r"name 'pets' is taken by .*annotations\.json; choose "
        r"another",
    ):
        register_dataset("pets", paths[0], "elsewhere")
    assert resolve("pets") == paths
    register_dataset("home", "~/a.json", "~/images")
    assert resolve("home") == resolve("~/a.json@~/images")


def test_the_catalog_of_the_host_takes_precedence() -> None:
    catalog.add_catalog(
        lambda name: ("its.json", "its images") if name in ("theirs", "bccd_val") else None,
        lambda _: None,
    )
    assert resolve("theirs") == ("its.json", "its images")
    assert resolve("bccd_val") == ("its.json", "its images")
    assert resolve("cards_val")[0].endswith("cards/annotations/val.json")
    assert resolve("a.json@b") == ("a.json", "b")


def test_a_file_is_read_again_when_it_changes_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    json_file, images = write_coco(tmp_path)
    register_dataset("pets", json_file, images)
    first, again = load_dataset(f"{json_file}@{images}"), load_dataset("pets")
    assert again.records is first.records
    assert (first.name, again.name) == (f"{json_file}@{images}", "pets")
    monkeypatch.chdir(tmp_path)
    assert load_dataset("annotations.json@images").records is first.records
    Path(json_file).write_text(json.dumps({**CONTENT, "annotations": []}))
    assert [record["annotations"] for record in load_dataset("pets").records] == [[], []]
    for number, name in enumerate(
        ("ant", "bee", "cow")
    ):  # the file keeps its size, and only its time changes
        text = json.dumps(CONTENT).replace('"ant"', f'"{name}"')
        Path(json_file).write_text(text)
        os.utime(json_file, ns=(number, number))
        assert load_dataset("pets").class_names == ("cat", name)
    Path(json_file).unlink()
    with pytest.raises(DatasetError, match="no annotations at"):
        load_dataset("pets")


@pytest.mark.parametrize(
    ("name", "images", "boxes", "classes"),
    [
        ("bccd_train", 205, 2804, 3),
        ("bccd_val", 87, 1137, 3),
        ("cards_train", 296, 527, 6),
        ("cards_val", 67, 143, 6),
    ],
)
def test_real_images(name: str, images: int, boxes: int, classes: int) -> None:
    if not os.path.isdir(os.path.join(DATASETS, name.split("_")[0])):
        pytest.skip(f"no {name} below {DATASETS}")
    dataset = load_dataset(name)
    assert (len(dataset.records), dataset.num_classes, dataset.warnings) == (images, classes, ())
    assert sum(len(record["annotations"]) for record in dataset.records) == boxes


def test_a_known_name_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "digits_dataset", lambda *args, **kwargs: pytest.fail("rendered"))
    for name in dataset_names():
        catalog.require_known(name)
