"""The Lightning host compared with Detectron2's loaders and evaluator: equal samples, equal
metrics."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from PIL import Image
from torch.testing import assert_close

from retina_plugin import get_cfg
from retina_plugin.d2.datasets import register_datasets
from retina_plugin.d2.loader import evaluation_loader, training_loader, training_samples
from retina_plugin.d2.mapper import RetinaDatasetMapper
from retina_plugin.d2.trainer import RetinaCOCOEvaluator
from retina_plugin.data import Sample, load_dataset, training_records
from retina_plugin.data.samples import EvaluationDataset, TrainingDataset
from retina_plugin.data.transforms import RandomCrop
from retina_plugin.data.transforms.flip import flip
from retina_plugin.data.transforms.resize import resize
from retina_plugin.evaluation.coco import coco_results, evaluate
from retina_plugin.lit.data import training_samples as lit_samples
from retina_plugin.modeling.preprocessing import resized_shape
from tests.models import COMPACT
from tests.scenes import write_scenes

pytestmark = pytest.mark.slow


def cfg_of(**changes: Any) -> CfgNode:
    """Detectron2's config with the small model of the other tests; in names of ``changes``, ``__``
    stands for a dot."""
    cfg = get_cfg()
    for key, value in {**COMPACT, **{k.replace("__", "."): v for k, v in changes.items()}}.items():
        cfg.merge_from_list([key, value])
    return cfg


# ------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("limits", [(800, 1333), (640, 1333), (320, 400), (97, 131)])
def test_sizes_after_resizing(limits: tuple[int, int]) -> None:
    numbers = np.random.default_rng(0)
    for height, width in numbers.integers(1, 2000, (500, 2)).tolist():
        theirs = T.ResizeShortestEdge.get_output_shape(height, width, *limits)
        expected = tuple(max(side, 1) for side in theirs)  # long images may have no pixel left
        assert resized_shape(height, width, *limits) == expected, (height, width)


def test_size_0_keeps_the_size() -> None:
    assert isinstance(
        T.ResizeShortestEdge(0, 10).get_transform(picture(40, 60)[0]), T.NoOpTransform
    )
    assert resized_shape(40, 60, 0, 10) == (40, 60)


def picture(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise and eight boxes in it."""
    numbers = np.random.default_rng(height)
    corners = numbers.random((8, 2, 2)) * [width, height]
    return numbers.integers(0, 256, (height, width, 3), dtype=np.uint8), np.concatenate(
        [corners.min(1), corners.max(1)], axis=1
    )


def sample_of(image: np.ndarray, boxes: np.ndarray) -> Sample:
    return {"image": image, "boxes": boxes, "labels": np.arange(len(boxes))}


@pytest.mark.parametrize("shape", [(40, 60), (61, 37), (20, 200)])
@pytest.mark.parametrize("limits", [(25, 1000), (80, 1000), (80, 110), (40, 1000)])
def test_resized_images(shape: tuple[int, int], limits: tuple[int, int]) -> None:
    image, boxes = picture(*shape)
    transform = T.ResizeShortestEdge(limits[:1], limits[1], "choice").get_transform(image)
    ours = resize(sample_of(image, boxes), resized_shape(*shape, *limits))
    assert (ours["image"] == transform.apply_image(image)).all()
    np.testing.assert_allclose(ours["boxes"], transform.apply_box(boxes), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_flipped_images(direction: str) -> None:
    image, boxes = picture(40, 60)
    transform = T.HFlipTransform(60) if direction == "horizontal" else T.VFlipTransform(40)
    ours = flip(sample_of(image, boxes), direction=direction)
    assert (ours["image"] == transform.apply_image(image)).all()
    np.testing.assert_allclose(ours["boxes"], transform.apply_box(boxes))


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("relative", [0.37, 0.6]),
        ("absolute", [17, 90]),
        ("relative_range", [0.4, 0.7]),
        ("absolute_range", [10, 90]),
    ],
)
def test_crops(kind: str, size: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same random numbers give the same window. Detectron2 draws from NumPy's global generator,
    this project from a given one."""
    image, boxes = picture(40, 60)
    for seed in range(20):
        shared = np.random.default_rng(seed)
        monkeypatch.setattr(np.random, "rand", lambda *shape, shared=shared: shared.random(shape))
        monkeypatch.setattr(
            np.random, "randint", lambda *ends, shared=shared: shared.integers(*ends)
        )
        transform = T.RandomCrop(kind, size).get_transform(image)
        crop = RandomCrop(enabled=True, kind=kind, size=size)
        ours = crop(sample_of(image, boxes), np.random.default_rng(seed), None)
        assert (ours["image"] == transform.apply_image(image)).all()
        np.testing.assert_allclose(ours["boxes"], transform.apply_box(boxes))


@pytest.fixture
def strange_images(tmp_path: Path) -> str:
    """Scenes with grayscale, JPEG, palette and EXIF-rotated files."""
    name = write_scenes(tmp_path, count=6, seed=0)
    files = sorted((tmp_path / "images").iterdir())
    Image.open(files[0]).convert("L").save(files[0])
    Image.open(files[3]).convert("P").save(files[3])
    Image.open(files[4]).save(files[4], format="JPEG")
    rotated, exif = Image.open(files[5]).transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # EXIF rotation by 270 degrees
    rotated.save(files[5], exif=exif)
    return name


@pytest.mark.parametrize("input_format", ["BGR", "RGB"])
def test_samples(strange_images: str, input_format: str) -> None:
    """Samples equal those of Detectron2's mapper, in training without randomness and at test
    time."""
    cfg = cfg_of(
        INPUT__FORMAT=input_format,
        INPUT__MIN_SIZE_TRAIN=(96,),
        INPUT__MAX_SIZE_TRAIN=110,
        INPUT__MIN_SIZE_TEST=50,
        INPUT__RANDOM_FLIP="none",
        DATASETS__TRAIN=(strange_images,),
        DATALOADER__FILTER_EMPTY_ANNOTATIONS=False,
    )
    register_datasets([strange_images])
    training = TrainingDataset.from_config(cfg, training_records(cfg), seed=0)
    testing = EvaluationDataset.from_config(cfg, training.records)
    mappers = RetinaDatasetMapper(cfg, is_train=True), RetinaDatasetMapper(cfg, is_train=False)
    for index, record in enumerate(DatasetCatalog.get(strange_images)):
        theirs, ours = mappers[0](copy.deepcopy(record)), training[0, index]
        assert_close(ours["image"], theirs["image"], rtol=0, atol=0)
        assert_close(ours["boxes"], theirs["instances"].gt_boxes.tensor)
        assert_close(ours["labels"], theirs["instances"].gt_classes)
        theirs, ours = mappers[1](copy.deepcopy(record)), testing[index]
        assert_close(ours["image"], theirs["image"], rtol=0, atol=0)
        assert (ours["height"], ours["width"]) == (theirs["height"], theirs["width"])


CHANCE = {
    "INPUT__CROP__ENABLED": True,
    "INPUT__CROP__SIZE": [0.4, 0.5],
    "INPUT__MIN_SIZE_TRAIN": (48, 64, 80),
    "DATALOADER__NUM_WORKERS": 0,
    "SEED": 3,
}


@pytest.mark.parametrize(("workers", "policy"), [(0, "none"), (2, "none"), (2, "strong")])
def test_the_stream_of_samples_is_equal_to_the_bit(
    strange_images: str, workers: int, policy: str
) -> None:
    """Both hosts give the same images at the same positions with the same random numbers. This
    includes crops, sizes and flips, and the last tenth of the steps of a run."""
    cfg = cfg_of(DATASETS__TRAIN=(strange_images,), **CHANCE)
    cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER = workers, 2, 15
    cfg.MODEL.RETINA_PLUGIN.INPUT.AUGMENTATION = policy
    pairs = zip(training_samples(cfg), lit_samples(cfg), range(30), strict=False)
    for theirs, ours, _ in pairs:
        assert theirs["file_name"] == ours["file_name"]
        for name in ("image", "boxes", "labels"):
            assert_close(theirs[name], ours[name], rtol=0, atol=0)


def test_dicts_of_both_loaders(strange_images: str) -> None:
    """Dicts for Detectron2's models, made by our loader, equal those of Detectron2's loader."""
    cfg = cfg_of(DATASETS__TRAIN=(strange_images,), SOLVER__IMS_PER_BATCH=2, **CHANCE)
    register_datasets([strange_images])
    sample = next(iter(training_loader(cfg)))[1]
    record = next(
        r for r in load_dataset(strange_images).records if r["image_id"] == sample["image_id"]
    )
    for key in ("file_name", "height", "width"):
        assert sample[key] == record[key]
    assert sample["instances"].image_size == tuple(sample["image"].shape[1:])
    assert set(sample) == {"image", "instances", "image_id", "file_name", "height", "width"}
    mapper = RetinaDatasetMapper(cfg, is_train=False)
    for (ours,), record in zip(
        evaluation_loader(cfg, strange_images), load_dataset(strange_images).records, strict=True
    ):
        theirs = mapper(record)
        assert set(ours) == set(theirs)
        assert_close(ours.pop("image"), theirs.pop("image"), rtol=0, atol=0)
        assert ours == theirs


# ------------------------------------------------------------------------------------------ metrics


def write_truth(folder: Path, num_classes: int) -> str:
    """Write 30 images with boxes of all sizes, crowds, images without boxes, id gaps, and a last
    class that never occurs."""
    numbers = np.random.default_rng(0)
    (folder / "images").mkdir()
    ids = [3 * k + 2 for k in range(num_classes)]
    images, annotations = [], []
    for image in range(10, 40):
        (folder / "images" / f"{image}.png").touch()
        images.append({"id": image, "file_name": f"{image}.png", "height": 300, "width": 300})
        for _ in range(0 if image % 5 == 0 else int(numbers.integers(1, 8))):
            size, corner = np.exp(numbers.uniform(2, 5.2, 2)), numbers.uniform(0, 100, 2)
            category = ids[int(numbers.integers(max(num_classes - 1, 1)))]
            entry = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": category,
                "bbox": [*corner, *size],
            }
            annotations.append(
                {**entry, "area": size.prod(), "iscrowd": int(numbers.random() < 0.15)}
            )
    categories = [{"id": coco_id, "name": f"class {coco_id}"} for coco_id in ids]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return f"{folder / 'annotations.json'}@{folder / 'images'}"


def guesses(name: str) -> dict[int, dict[str, torch.Tensor]]:
    """Image -> detections: most boxes shifted a little, some with another class, some without an
    object; all scores differ."""
    dataset, numbers = load_dataset(name), np.random.default_rng(1)
    found = {}
    for record in dataset.records:
        true = np.array([a["bbox"] for a in record["annotations"]]).reshape(-1, 4)
        labels = np.array([a["category_id"] for a in record["annotations"]], dtype=np.int64)
        near = np.repeat(true, 3, axis=0)
        near += numbers.normal(0, 0.08, near.shape) * np.tile(near[:, 2:] - near[:, :2], 2)
        away = numbers.uniform([0, 0, 150, 150], [150, 150, 300, 300], (4, 4))
        other = numbers.integers(0, dataset.num_classes, 3 * len(true) + 4)
        kind = np.where(
            numbers.random(len(other)) < 0.8, np.append(np.repeat(labels, 3), other[-4:]), other
        )
        found[record["image_id"]] = {
            "boxes": torch.tensor(np.concatenate([near, away]), dtype=torch.float32),
            "scores": torch.tensor(numbers.random(len(other)), dtype=torch.float32),
            "labels": torch.tensor(kind),
        }
    return found


@pytest.mark.parametrize("kind", [COCOEvaluator, RetinaCOCOEvaluator])
@pytest.mark.parametrize("num_classes", [4, 1])
def test_metrics(tmp_path: Path, kind: type, num_classes: int) -> None:
    name = write_truth(tmp_path, num_classes)
    detections, dataset = guesses(name), load_dataset(name)
    register_datasets([name])
    DatasetCatalog.get(name)
    evaluator = kind(name, output_dir=str(tmp_path / "theirs"), max_dets_per_image=100)
    evaluator.reset()
    for image, found in detections.items():
        instances = Instances(
            (300, 300),
            pred_boxes=Boxes(found["boxes"]),
            scores=found["scores"],
            pred_classes=found["labels"],
        )
        evaluator.process([{"image_id": image}], [{"instances": instances}])
    theirs = evaluator.evaluate()
    results = {
        image: coco_results(image, found, dataset.category_ids)
        for image, found in detections.items()
    }
    ours = evaluate(dataset, [results], str(tmp_path / "ours"), max_detections=100)
    assert 5 < theirs["bbox"]["AP"] < 95
    assert_close(ours, dict(theirs), rtol=0, atol=1e-6, equal_nan=True)
    files = [
        json.loads((tmp_path / side / "coco_instances_results.json").read_text())
        for side in ("theirs", "ours")
    ]
    assert files[0] == files[1]
    # the class that never occurs
    assert sum(value != value for value in ours["bbox"].values()) == (num_classes > 1)


def test_metrics_without_detections(tmp_path: Path) -> None:
    name = write_truth(tmp_path, 2)
    register_datasets([name])
    DatasetCatalog.get(name)
    evaluator = COCOEvaluator(name, output_dir=str(tmp_path))
    evaluator.reset()
    empty = Instances(
        (300, 300),
        pred_boxes=Boxes(torch.zeros(0, 4)),
        scores=torch.zeros(0),
        pred_classes=torch.zeros(0),
    )
    evaluator.process([{"image_id": 10}], [{"instances": empty}])
    ours = evaluate(load_dataset(name), [], str(tmp_path), max_detections=100)
    assert_close(ours, dict(evaluator.evaluate()), equal_nan=True)


def test_annotations_without_area_and_iscrowd(tmp_path: Path) -> None:
    """Detectron2's evaluator needs both fields. Ours uses width x height and 0 if they are missing,
    on either host."""
    name = write_truth(tmp_path, 2)
    path = tmp_path / "annotations.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    path.write_text(json.dumps(content))
    register_datasets([name])
    DatasetCatalog.get(name)
    assert MetadataCatalog.get(name).thing_classes == ["class 2", "class 5"]
    evaluator = RetinaCOCOEvaluator(
        name, output_dir=str(tmp_path / "theirs"), max_dets_per_image=100
    )
    evaluator.reset()
    results = {}
    for image, found in guesses(name).items():
        instances = Instances(
            (300, 300),
            pred_boxes=Boxes(found["boxes"]),
            scores=found["scores"],
            pred_classes=found["labels"],
        )
        evaluator.process([{"image_id": image}], [{"instances": instances}])
        results[image] = coco_results(image, found, load_dataset(name).category_ids)
    ours = evaluate(load_dataset(name), [results], str(tmp_path / "ours"), max_detections=100)
    assert_close(ours, dict(evaluator.evaluate()), rtol=0, atol=1e-6, equal_nan=True)
