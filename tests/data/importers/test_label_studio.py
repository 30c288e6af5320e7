"""Label Studio's JSON and JSON-MIN."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retina_plugin.data import DatasetError
from tests.imported_boxes import boxes, classes, read, write_images


def region(kind: str = "rectanglelabels", **value: Any) -> dict[str, Any]:
    """Return a region of an image of 1000 x 500 pixels."""
    return {"original_width": 1000, "original_height": 500, "type": kind, "value": value}


def rectangle(x: float, y: float, width: float, height: float, **more: Any) -> dict[str, Any]:
    more = {"rotation": 0, "rectanglelabels": ["dog"], **more}
    return region(x=x, y=y, width=width, height=height, **more)


def task(*annotations: Any, image: str = "a.png", **more: Any) -> dict[str, Any]:
    return {"id": 1, "annotations": list(annotations), "data": {"image": image}, **more}


def done(*regions: Any, **more: Any) -> dict[str, Any]:
    return {"result": list(regions), "was_cancelled": False, **more}


def write(folder: Path, *tasks: Any) -> Path:
    write_images(folder, "a.png", size=(1000, 500))
    file = folder / "export.json"
    file.write_text(json.dumps(tasks), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (rectangle(20, 20, 30, 20), (200, 100, 500, 200)),
        # label-studio#2293: (200, 100) stays, 300 x 100 pixels point down and to the left
        (rectangle(20, 20, 30, 20, rotation=90), (100, 100, 200, 400)),
        (rectangle(20, 20, 30, 20, rotation=-90), (200, -200, 300, 100)),
        (rectangle(20, 20, 30, 20, rotation=180), (-100, 0, 200, 100)),
        # 100 x 100 pixels at 45 degrees: half a diagonal of 70.711 to each side
        (rectangle(20, 20, 10, 20, rotation=45), (129.289, 100, 270.711, 241.421)),
        (rectangle(50, 40, -30, -20), (200, 100, 500, 200)),
        (rectangle(20, 40, 30, -20), (200, 100, 500, 200)),
        (
            region("polygonlabels", points=[[10, 10], [20, 50], [5, 20]], polygonlabels=["dog"]),
            (50, 50, 200, 250),
        ),
        (
            region("ellipselabels", x=50, y=50, radiusX=10, radiusY=10, ellipselabels=["dog"]),
            (400, 200, 600, 300),
        ),
        (
            region(
                "ellipselabels",
                x=50,
                y=50,
                radiusX=10,
                radiusY=10,
                rotation=90,
                ellipselabels=["dog"],
            ),
            (450, 150, 550, 350),
        ),
    ],
    ids=[
        "rectangle",
        "90 degrees",
        "-90 degrees",
        "180 degrees",
        "45 degrees",
        "negative",
        "negative height",
        "polygon",
        "ellipse",
        "rotated ellipse",
    ],
)
def test_boxes_in_pixels(tmp_path: Path, entry: Any, expected: tuple[float, ...]) -> None:
    imported = read(write(tmp_path, task(done(entry))))
    assert boxes(imported) == {"a.png": [("dog", *expected)]}
    assert imported.places[0].endswith("entry 0, entry 0 of 'annotations', entry 0 of 'result'")
    assert any("rotated" in note for note in imported.notes) == bool(entry["value"].get("rotation"))


def test_size_from_the_image_if_the_file_lacks_it(tmp_path: Path) -> None:
    entry = rectangle(20, 20, 30, 20, rotation=90)
    del entry["original_width"], entry["original_height"]
    assert boxes(read(write(tmp_path, task(done(entry))))) == {
        "a.png": [("dog", 100, 100, 200, 400)]
    }


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/3/0a1b2c3d-a.png",
        "/data/upload/0a1b2c3d-a.png",
        "/data/local-files/?d=disk/photos/a.png",
        "/data/local-files/?d=Users%5Cme%5Ca.png",
        "https://example.org/x/a.png?token=1",
        "s3://bucket/folder/a.png",
        "C:\\photos\\a.png",
        "a.png",
    ],
)
def test_names_of_images(tmp_path: Path, image: str) -> None:
    assert list(boxes(read(write(tmp_path, task(done(), image=image))))) == ["a.png"]


def test_an_upload_whose_name_was_changed(tmp_path: Path) -> None:
    """Label Studio replaces spaces by "_" and takes out brackets."""
    write_images(tmp_path, "images/my photo (1).png", "images/0a1b2c3d-b.png")
    file = write(
        tmp_path,
        task(done(), image="/data/upload/1/0a1b2c3d-my_photo_1.png"),
        task(done(), image="/data/upload/1/0a1b2c3d-b.png"),
    )
    assert list(boxes(read(file))) == ["images/my photo (1).png", "images/0a1b2c3d-b.png"]


def test_skipped_and_open_tasks_are_not_used(tmp_path: Path) -> None:
    """A finished task without regions is an image without objects; the others say nothing."""
    write_images(tmp_path, "b.png", "c.png", "d.png")
    file = write(
        tmp_path,
        task(done(), image="a.png"),
        task(done(rectangle(1, 1, 2, 2), was_cancelled=True), image="b.png"),
        task(image="c.png"),
        task(image="d.png", predictions=[{"result": [rectangle(1, 1, 2, 2)]}]),
    )
    imported = read(file)
    assert boxes(imported) == {"a.png": []}
    assert [note.split(" (")[0] for note in imported.notes] == [
        "1 tasks were skipped and are not used",
        "2 tasks have no annotation and are not used",
    ]


@pytest.mark.parametrize("case", ["newest last", "newest first", "ground truth", "no dates"])
def test_of_several_annotations_the_ground_truth_or_the_newest(tmp_path: Path, case: str) -> None:
    other, wanted = rectangle(10, 10, 10, 10), rectangle(20, 20, 30, 20)
    old, new = {"updated_at": "2024-01-01T00:00:00Z"}, {"updated_at": "2024-02-01T00:00:00Z"}
    annotations = {
        "newest last": [done(other, **old), done(wanted, **new)],
        "newest first": [done(wanted, **new), done(other, **old)],
        "ground truth": [done(wanted, ground_truth=True, **old), done(other, **new)],
        "no dates": [done(other), done(wanted)],
    }[case]
    imported = read(write(tmp_path, task(*annotations)))
    assert boxes(imported) == {"a.png": [("dog", 200, 100, 500, 200)]}
    assert imported.notes[0].startswith("1 tasks have several annotations")


def test_labels(tmp_path: Path) -> None:
    """Two labels give two boxes; label and shape may be separate; regions without area or label
    are counted."""
    parts = [rectangle(20, 20, 30, 20), rectangle(20, 20, 30, 20)]
    parts[0]["value"].pop("rectanglelabels")
    parts[0] |= {"id": "x", "type": "rectangle"}
    parts[1]["value"]["labels"] = parts[1]["value"].pop("rectanglelabels")
    parts[1] |= {"id": "x", "type": "labels"}
    file = write(
        tmp_path,
        task(
            done(
                rectangle(20, 20, 30, 20, rectanglelabels=["dog", "pet"]),
                *parts,
                rectangle(20, 20, 30, 20, rectanglelabels=[]),
                region("keypointlabels", x=1, y=1, width=1, keypointlabels=["eye"]),
                region("brushlabels", format="rle", rle=[1, 2], brushlabels=["fur"]),
                region("choices", choices=["good"]),
                {**region("choices", x=1, y=1, width=2, height=2, choices=["good"]), "id": "x"},
            )
        ),
    )
    imported = read(file)
    box = (200, 100, 500, 200)
    assert boxes(imported) == {"a.png": [("dog", *box), ("pet", *box), ("dog", *box)]}
    assert classes(imported) == ["dog", "pet"]
    assert [note.split(" (")[0] for note in imported.notes] == [
        "1 regions have several labels and give a box for each",
        "1 regions have no label and were left out",
        "1 regions of type 'keypointlabels' give no box and were left out",
        "1 regions of type 'brushlabels' give no box and were left out",
    ]


def test_json_min(tmp_path: Path) -> None:
    value = {"x": 20, "y": 20, "width": 30, "height": 20, "rotation": 90}
    value |= {"rectanglelabels": ["dog"], "original_width": 1000, "original_height": 500}
    entry = {"image": "/data/upload/0a1b2c3d-a.png", "id": 1, "label": [value], "annotator": 1}
    imported = read(write(tmp_path, entry))
    assert boxes(imported) == {"a.png": [("dog", 100, 100, 200, 400)]}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (task(done(rectangle(20, "x", 1, 1))), r"entry 0 of 'result': expected a number at 'y'"),
        (task(done(rectangle(2, 2, 1, 1), 7)), r"entry 1 of 'result': expected an object, found 7"),
        (task({"was_cancelled": False}), r"entry 0 of 'annotations': expected a list at 'result'"),
        (
            task(done({**rectangle(2, 2, 1, 1), "image_rotation": 90})),
            r"expected image_rotation 0, found 90",
        ),
        (
            {"data": {"left": "a.png", "right": "b.png"}, "annotations": [done()]},
            r"entry 1: expected one key of 'data' with the name of an image, found 'left, right'",
        ),
        (7, r"entry 1: expected an object, found 7"),
    ],
)
def test_wrong_entries(tmp_path: Path, entry: Any, message: str) -> None:
    write_images(tmp_path, "b.png")
    file = write(tmp_path, task(done(), image="b.png"), entry)
    with pytest.raises(DatasetError, match=message) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}, entry 1")


def test_no_finished_task(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected tasks with an annotation, found none; tasks"):
        read(write(tmp_path, task()))


# ---------------------------------------------------------------------------- target storage


def store(folder: Path, **files: Any) -> None:
    write_images(folder.parent, "images/a.png", "images/b.png", size=(1000, 500))
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(json.dumps(content), encoding="utf-8")


DOG = ("dog", 200, 100, 500, 200)


@pytest.mark.parametrize("key", ["annotations", "completions"])
def test_a_file_for_each_task(tmp_path: Path, key: str) -> None:
    store(
        tmp_path / "labelled",
        **{
            "10_json": {"id": 10, "data": {"image": "b.png"}, key: [done()]},
            "9_json": {"id": 9, key: [done(rectangle(20, 20, 30, 20))], "data": {"image": "a.png"}},
            "11_json": {"id": 11, "data": {"image": "c.png"}, key: [done(was_cancelled=True)]},
            "config_json": {"label_config": "<View/>"},
        },
    )
    for path in (tmp_path, tmp_path / "labelled", tmp_path / "labelled/9.json"):
        imported = read(path, image_folder="" if path == tmp_path else f"{tmp_path}/images")
        names = ["a.png"] if path.suffix else ["a.png", "b.png"]
        assert [Path(name).name for name in boxes(imported)] == names
        assert next(iter(boxes(imported).values())) == [DOG]
    notes = " ".join(read(tmp_path).notes)
    assert f"1 tasks were skipped and are not used (first: {tmp_path}/labelled/11.json)" in notes
    assert "1 JSON files are not Label Studio's and were left out" in notes
    assert imported.places == [
        f"{tmp_path}/labelled/9.json, entry 0 of '{key}', entry 0 of 'result'"
    ]


def test_a_file_for_each_annotation(tmp_path: Path) -> None:
    """File names have no suffix. Two annotations of a task belong to one image."""
    tasks = [{"id": 7, "data": {"image": "a.png"}}, {"id": 8, "data": {"image": "b.png"}}]
    old, new = {"updated_at": "2024-01-01"}, {"updated_at": "2024-02-01"}
    store(
        tmp_path / "annotations",
        **{
            "1": {**done(rectangle(1, 1, 2, 2), **old), "task": tasks[0]},
            "2": {**done(), "task": tasks[1]},
            "3": {**done(rectangle(20, 20, 30, 20), **new), "task": tasks[0]},
        },
    )
    for path in (tmp_path, tmp_path / "annotations"):
        imported = read(path)
        assert boxes(imported) == {"images/a.png": [DOG], "images/b.png": []}
        assert imported.places == [f"{tmp_path}/annotations/3, entry 0 of 'result'"]
        assert imported.notes[0].startswith("1 tasks have several annotations")
        assert f"{tmp_path}/annotations/3" in imported.watched
    (tmp_path / "annotations/4").write_text(json.dumps({**done(), "task": 9}))
    with pytest.raises(DatasetError, match=r"annotations/4, 'task': expected an object, found 9"):
        read(tmp_path)


def test_an_export_beside_a_storage(tmp_path: Path) -> None:
    store(tmp_path / "storage", **{"1_json": task(done())})
    write(tmp_path, task(done(rectangle(20, 20, 30, 20))))
    assert boxes(read(tmp_path, "export")) == {"a.png": [DOG]}
    assert boxes(read(tmp_path, "storage")) == {"a.png": []}
