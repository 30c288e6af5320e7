"""Photographs with EXIF rotation: boxes measured before rotation are recognized and rotated with
the image."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.testing import assert_close

from retina_plugin.data import DatasetError, read_coco, read_record, use_box_coordinates
from retina_plugin.data.exif_boxes import OrientationEvidence
from retina_plugin.data.images import ORIENTATION
from tests.load_tools import load_tool
from tests.scenes import write_run

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
WIDE, TALL, SQUARE = (40, 24), (24, 40), (40, 40)  # stored width and height
BOX = [6.0, 4.0, 28.0, 10.0]  # x, y, width, height in the stored image of size WIDE


def write(
    folder: Path,
    orientation: int,
    *,
    size: tuple[int, int],
    box: list[float],
    json_size: tuple[int, int] | None,
    count: int = 3,
) -> tuple[str, str]:
    """Write ``count`` photographs with a white box on black at ``BOX`` of the stored image."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        image = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        x, y, w, h = map(int, BOX)
        image[y : y + h, x : x + w] = 255
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        Image.fromarray(image).save(folder / "images" / f"{number}.png", exif=exif)
        images.append({"id": number, "file_name": f"{number}.png"})
        if json_size:
            images[-1].update(width=json_size[0], height=json_size[1])
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": box})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "box"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder / "annotations.json"), str(folder / "images")


def white(record: dict[str, Any]) -> list[float]:
    """XYXY corners of the white box in the image as it is read."""
    ys, xs = np.nonzero(read_record(record)[..., 0] > 128)
    return [float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]


@pytest.mark.parametrize("size", [WIDE, SQUARE], ids=["wide", "square"])
@pytest.mark.parametrize("json_size", ["stored", "left out"])
@pytest.mark.parametrize("layout", ["", "xyxy fraction"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_rotated_like_the_image(
    tmp_path: Path, orientation: int, layout: str, json_size: str, size: tuple[int, int]
) -> None:
    x, y, w, h = BOX
    box = [x / size[0], y / size[1], (x + w) / size[0], (y + h) / size[1]] if layout else BOX
    paths = write(
        tmp_path, orientation, size=size, box=box, json_size=size if json_size == "stored" else None
    )
    for record in read_coco(*paths, box_coordinates=f"{layout} stored").records:
        assert_close(record["annotations"][0]["bbox"], white(record))


UPRIGHT_BOX = [10.0, 6.0, 10.0, 28.0]  # BOX of a WIDE image after orientation 6


ONLY = "3 boxes fit only into the image {} rotation"
SIZES = "width and height of 3 images that EXIF rotates are those before rotation"


@pytest.mark.parametrize(
    ("box", "json_size", "words"),
    [
        pytest.param(
            BOX, WIDE, f"{SIZES}, and {ONLY.format('before')} .*Set .* to 'stored'", id="stored"
        ),
        pytest.param(
            BOX, None, f"{ONLY.format('before')} .*stored as 40x24 and shown as 24x40", id="boxes"
        ),
        pytest.param(
            BOX, TALL, f"{ONLY.format('before')} .*Set .* to 'stored'", id="boxes against sizes"
        ),
        pytest.param([1, 1, 5, 5], WIDE, f"{SIZES} .*to 'stored' if .*to 'upright' if", id="sizes"),
        pytest.param(
            UPRIGHT_BOX,
            WIDE,
            f"{SIZES}, and {ONLY.format('after')} .*to 'upright'",
            id="sizes only",
        ),
    ],
)
def test_stored_coordinates_are_recognized(
    tmp_path: Path, box: list, json_size: tuple[int, int] | None, words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        read_coco(*write(tmp_path, 6, size=WIDE, box=box, json_size=json_size))


@pytest.mark.parametrize(
    ("orientation", "size", "json_size", "warned"),
    [
        pytest.param(6, WIDE, TALL, False, id="sizes are upright"),
        pytest.param(6, WIDE, None, False, id="boxes are upright"),
        pytest.param(3, WIDE, WIDE, True, id="180 degrees"),
        pytest.param(2, WIDE, WIDE, True, id="mirrored"),
        pytest.param(6, SQUARE, SQUARE, True, id="square"),
        pytest.param(1, WIDE, WIDE, False, id="not rotated"),
    ],
)
def test_upright_and_undecidable_coordinates(
    tmp_path: Path,
    orientation: int,
    size: tuple[int, int],
    json_size: tuple[int, int] | None,
    warned: bool,
) -> None:
    box = UPRIGHT_BOX if size == WIDE and orientation == 6 else [1, 1, 5, 5]
    paths = write(tmp_path, orientation, size=size, box=box, json_size=json_size)
    dataset = read_coco(*paths)
    assert len(dataset.warnings) == warned
    assert not warned or (
        "3 images with boxes are rotated by their EXIF orientation (first: 1.png, orientation "
        f"{orientation})"
        in dataset.warnings[0]
        and "BOX_COORDINATES to 'upright' or 'stored'" in dataset.warnings[0]
    )
    stated = read_coco(*paths, box_coordinates="upright")
    assert (stated.records, stated.warnings) == (dataset.records, ())


def test_square_images_follow_the_other_images_of_the_file(tmp_path: Path) -> None:
    json_file, images = write(tmp_path, 6, size=WIDE, box=UPRIGHT_BOX, json_size=TALL)
    write(tmp_path / "other", 6, size=SQUARE, box=UPRIGHT_BOX, json_size=SQUARE)
    Path(images, "1.png").write_bytes((tmp_path / "other/images/1.png").read_bytes())
    content = json.loads(Path(json_file).read_text())
    content["images"][0].update(width=40, height=40)
    Path(json_file).write_text(json.dumps(content))
    assert read_coco(json_file, images).warnings == ()


def test_stored_and_upright_sizes_in_one_file_are_an_error(tmp_path: Path) -> None:
    json_file, images = write(tmp_path, 6, size=WIDE, box=[1, 1, 5, 5], json_size=TALL)
    content = json.loads(Path(json_file).read_text())
    content["images"][2].update(width=40, height=24)
    Path(json_file).write_text(json.dumps(content))
    with pytest.raises(
        DatasetError,
        match=r"of 1 images .*, of 2 those after it \(first: 3.png.*Correct the "
        r"JSON file",
    ):
        read_coco(json_file, images)


def test_broken_files_are_left_to_others(tmp_path: Path) -> None:
    json_file, images = write(tmp_path, 6, size=WIDE, box=UPRIGHT_BOX, json_size=TALL)
    Path(images, "2.png").write_bytes(b"no image")
    assert len(read_coco(json_file, images).records) == 3


@pytest.mark.parametrize("host", HOSTS)
def test_a_test_set_is_refused_before_training(tmp_path: Path, root: Path, host: str) -> None:
    """The sizes show the mistake before training, not only when the first image is drawn at the
    end."""
    config = write_run(tmp_path, root)
    json_file, images = write(tmp_path / "photographs", 6, size=WIDE, box=BOX, json_size=WIDE)
    content = json.loads(Path(json_file).read_text())
    content["categories"] = json.loads((tmp_path / "train/annotations.json").read_text())[
        "categories"
    ]
    for annotation in content["annotations"]:
        annotation["category_id"] = 3
    Path(json_file).write_text(json.dumps(content))
    run = [
        "--config-file",
        config,
        "--host",
        host,
        "SOLVER.MAX_ITER",
        "1",
        "DATASETS.TEST",
        f"('{json_file}@{images}',)",
    ]
    with pytest.raises(DatasetError, match="BOX_COORDINATES to 'stored'"):
        load_tool("train_net").main(run)
    load_tool("train_net").main([*run, "MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES", "stored"])
    use_box_coordinates("")
    assert (tmp_path / "out/inference/coco_instances_results.json").is_file()


@pytest.mark.parametrize(
    ("stored", "upright", "shown"),
    [
        (0, 0, ""),
        (2, 0, ""),
        (3, 0, "stored"),
        (0, 3, "upright"),
        (9, 1, ""),
        (10, 1, "stored"),
        (1, 10, "upright"),
        (19, 2, ""),
        (20, 2, "stored"),
        (5, 5, ""),
    ],
)
def test_boxes_that_fit_only_one_orientation_decide(stored: int, upright: int, shown: str) -> None:
    """At least 3 boxes fit one orientation only, and at most a tenth as many fit only the other
    one."""
    assert OrientationEvidence(0, 0, stored, upright).boxes == shown
