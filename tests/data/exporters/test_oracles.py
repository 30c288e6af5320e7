"""What other libraries read from converted data sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retina_plugin.data import Dataset, load_dataset
from retina_plugin.data.exporters import convert
from tests.data.exporters.test_convert import write_coco

pytestmark = pytest.mark.slow

Boxes = dict[str, list[tuple[str, list[float]]]]


def boxes(dataset: Dataset) -> Boxes:
    """Base name of the image -> [(class, XYXY)], sorted; without images that have none."""
    return {
        os.path.basename(record["file_name"]): sorted(
            (dataset.class_names[a["category_id"]], [round(v, 3) for v in a["bbox"]])
            for a in record["annotations"]
        )
        for record in dataset.records
        if record["annotations"]
    }


@pytest.mark.parametrize("format", ["coco", "yolo", "voc"])
def test_supervision_reads_the_same_boxes(tmp_path: Path, format: str) -> None:
    supervision = pytest.importorskip("supervision")
    write_coco(tmp_path / "my")
    convert(f"{tmp_path}/my:val", format, str(tmp_path / "out"))
    out = str(tmp_path / "out")
    if format == "coco":
        read = supervision.DetectionDataset.from_coco(
            f"{out}/images/val", f"{out}/annotations/val.json"
        )
    elif format == "yolo":
        read = supervision.DetectionDataset.from_yolo(
            f"{out}/images/val", f"{out}/labels/val", f"{out}/data.yaml"
        )
    else:
        read = supervision.DetectionDataset.from_pascal_voc(
            f"{out}/JPEGImages", f"{out}/Annotations"
        )
    found: Boxes = {
        os.path.basename(path): sorted(
            (read.classes[label], [round(float(v), 3) for v in box])
            for box, label in zip(detections.xyxy, detections.class_id, strict=True)
        )
        for path, detections in read.annotations.items()
        if len(detections)
    }
    assert found.keys() == boxes(load_dataset(out)).keys()
    for name, expected in boxes(load_dataset(out)).items():
        for (a, box), (b, other) in zip(found[name], expected, strict=True):
            assert a == b
            assert box == pytest.approx(other, abs=0.002)


def test_globox_reads_the_same_boxes(tmp_path: Path) -> None:
    globox = pytest.importorskip("globox")
    write_coco(tmp_path / "my")
    convert(f"{tmp_path}/my:val", "yolo", str(tmp_path / "out"))
    out = tmp_path / "out"
    read = globox.AnnotationSet.from_yolo_v5(
        folder=out / "labels/val", image_folder=out / "images/val", image_extension=".png"
    )
    expected = boxes(load_dataset(str(out)))["val 1.png"]
    names = load_dataset(str(out)).class_names
    (annotation,) = (a for a in read if a.boxes)
    found = sorted(
        (names[int(b.label)], [b.xmin, b.ymin, b.xmax, b.ymax]) for b in annotation.boxes
    )
    for (a, box), (b, other) in zip(found, expected, strict=True):
        assert a == b
        assert box == pytest.approx(other, abs=0.002)
