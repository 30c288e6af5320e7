"""Data sets on Detectron2: this project's in its catalog, the user's in ours, and Detectron2's
mapper with our image reader."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.data.datasets import load_coco_json, register_coco_instances
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator
from detectron2.structures import Boxes, BoxMode, Instances
from PIL import Image
from torch.testing import assert_close

import retina_plugin.d2
from retina_plugin.d2 import get_cfg
from retina_plugin.d2.datasets import check_datasets, class_names, register_datasets
from retina_plugin.d2.loader import evaluation_loader, training_loader, training_samples
from retina_plugin.d2.mapper import RetinaDatasetMapper
from retina_plugin.d2.trainer import RetinaCOCOEvaluator
from retina_plugin.data import (
    DatasetError,
    catalog,
    dataset_names,
    load_dataset,
    register_dataset,
    resolve,
)
from retina_plugin.data.images import ORIENTATION
from retina_plugin.engine.process import user_message
from tests.coco_files import CONTENT, changed, write_coco


@pytest.fixture(autouse=True)
def own_names() -> Iterator[None]:
    """Remove what a test registers."""
    tables = DatasetCatalog.data, MetadataCatalog.data, catalog._CATALOG
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def cfg_of(train: str, test: str = "", **changes: Any) -> CfgNode:
    cfg = get_cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (train,), (test,) if test else ()
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN = (20,)
    cfg.SOLVER.IMS_PER_BATCH = 1
    cfg.merge_from_list(
        [word for key, value in changes.items() for word in (key.replace("__", "."), value)]
    )
    return cfg


# ------------------------------------------------------------------------------- ours in Detectron2


def test_every_name_is_registered_and_twice_is_harmless() -> None:
    """Names registered later, for example by other tests, are found when they are used."""
    register_dataset("comes later", "a.json", "images")
    # registered by the import
    assert {"digits_train", "digits_test", "bccd_val"} <= set(DatasetCatalog.list())
    register_datasets()
    assert set(dataset_names()) <= set(DatasetCatalog.list())
    before = dict(DatasetCatalog.data)
    register_datasets()
    importlib.reload(retina_plugin.d2)
    assert DatasetCatalog.data == before


@pytest.mark.parametrize("name", ["coco_2017_train", "coco_2017_val", "coco_2017_val_100"])
def test_detectron2s_own_names_stay_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both catalogs use the same files for them."""
    metadata = MetadataCatalog.get(name)
    assert "coco.py" in DatasetCatalog[name].__code__.co_filename
    assert resolve(name) == (metadata.json_file, metadata.image_root)
    assert class_names(name) == metadata.thing_classes  # 80 classes, without reading a file
    assert len(class_names(name)) == 80
    ours = (
        Path(*Path(catalog._CATALOG[name]()[0]).parts[-3:]),
        Path(*Path(catalog._CATALOG[name]()[1]).parts[-2:]),
    )
    theirs = Path(*Path(metadata.json_file).parts[-3:]), Path(*Path(metadata.image_root).parts[-2:])
    assert ours == theirs


def test_records_and_metadata_are_what_detectron2_reads_itself(tmp_path: Path) -> None:
    json_file, images = write_coco(tmp_path)
    name = f"{json_file}@{images}"
    register_datasets([name])
    found = {record["image_id"]: record for record in DatasetCatalog.get(name)}
    theirs = load_coco_json(json_file, images, "theirs")
    assert len(found) == len(theirs)
    for record in theirs:
        ours = found[record["image_id"]]
        assert {k: v for k, v in ours.items() if k != "annotations"} == {
            k: v for k, v in record.items() if k != "annotations"
        }
        for a, b in zip(ours["annotations"], record["annotations"], strict=True):
            assert (a["category_id"], a["iscrowd"]) == (b["category_id"], b.get("iscrowd", 0))
            assert a["bbox"] == BoxMode.convert(b["bbox"], b["bbox_mode"], a["bbox_mode"])
    metadata = MetadataCatalog.get(name)
    for key in ("thing_classes", "thing_dataset_id_to_contiguous_id"):
        assert metadata.get(key) == MetadataCatalog.get("theirs").get(key)
    assert (metadata.json_file, metadata.image_root, metadata.evaluator_type) == (
        json_file,
        images,
        "coco",
    )


def test_a_name_of_ours_registered_later(tmp_path: Path) -> None:
    register_dataset("pets", *write_coco(tmp_path))
    assert class_names("pets") == ["cat", "ant"]
    assert len(DatasetCatalog.get("pets")) == 2


def test_our_data_sets_follow_the_folder_of_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This also holds if Detectron2 has read them from another folder before."""
    json_file, images = write_coco(tmp_path)
    for folder in ("one", "two"):
        (tmp_path / folder / "bccd").mkdir(parents=True)
        (tmp_path / folder / "bccd" / "images").symlink_to(images)
        (tmp_path / folder / "bccd" / "annotations").mkdir()
        (tmp_path / folder / "bccd" / "annotations" / "val.json").symlink_to(json_file)
    MetadataCatalog.data.pop("bccd_val", None)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "one"))
    assert class_names("bccd_val") == ["cat", "ant"]
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "two"))
    assert load_dataset("bccd_val").json_file == str(tmp_path / "two/bccd/annotations/val.json")


def test_a_misspelt_name_is_an_error_and_is_not_registered(tmp_path: Path) -> None:
    register_coco_instances("my_pets", {}, *write_coco(tmp_path))
    for name, nearest in (
        ("my_pest", "my_pets"),
        ("coco_2014_trian", "coco_2014_train"),
        ("bccd_vall", "bccd_val"),
    ):
        with pytest.raises(
            DatasetError,
            match=f"no data set is called '{name}'. Nearest: "
            f".*{nearest}.*IMPORTS.*json@image_folder",
        ):
            class_names(name)
        assert name not in DatasetCatalog


# ------------------------------------------------------------------------------- the user's in ours


def test_a_coco_file_that_the_user_registered(tmp_path: Path) -> None:
    json_file, images = write_coco(tmp_path)
    register_coco_instances("my_pets", {}, json_file, images)
    assert class_names("my_pets") == ["cat", "ant"]
    assert resolve("my_pets") == (json_file, images)
    assert load_dataset("my_pets").category_ids == (3, 7)
    check_datasets(cfg_of("my_pets", "my_pets"), eval_only=False)
    cfg = cfg_of("my_pets")
    for cfg.MODEL.META_ARCHITECTURE in ("FocalRetinaNet", "RetinaNet"):
        assert next(training_samples(cfg))["labels"].tolist() == [1]


def test_the_users_file_takes_precedence_over_ours_of_the_same_name(tmp_path: Path) -> None:
    DatasetCatalog.pop("cards_val")
    register_coco_instances("cards_val", {}, *write_coco(tmp_path))
    register_datasets()
    assert class_names("cards_val") == ["cat", "ant"]
    assert load_dataset("cards_val").class_names == ("cat", "ant")
    check_datasets(cfg_of("cards_val", "cards_val"), eval_only=False)


def test_a_function_that_the_user_registered(tmp_path: Path) -> None:
    """It is read like any other data set, before and after Detectron2 writes a COCO file for its
    evaluator."""
    records = load_dataset("@".join(write_coco(tmp_path))).records
    boxes = [
        {**a, "bbox_mode": BoxMode.XYXY_ABS} for a in records[0]["annotations"] if not a["iscrowd"]
    ]
    DatasetCatalog.register("my_function", lambda: [{**records[0], "annotations": boxes}])
    with pytest.raises(
        DatasetError,
        match=r"'my_function' has no class names. "
        r".*MetadataCatalog.get\('my_function'\)",
    ):
        class_names("my_function")
    MetadataCatalog.get("my_function").thing_classes = ["cat", "ant"]
    assert class_names("my_function") == ["cat", "ant"]
    cfg = cfg_of("my_function", "my_function")
    check_datasets(cfg, eval_only=False)
    for cfg.MODEL.META_ARCHITECTURE in ("FocalRetinaNet", "RetinaNet"):
        assert next(training_samples(cfg))["boxes"].shape == (1, 4)
    expected = [
        {
            **records[0],
            "annotations": [
                {"id": 1, "bbox": [2, 3, 6, 8], "category_id": 1, "iscrowd": 0, "area": 20.0}
            ],
        }
    ]
    assert load_dataset("my_function").records == expected
    assert evaluated(evaluator_of("my_function", tmp_path / "out"), boxes=[[2.0, 3, 6, 8]]) == 100
    dataset = load_dataset("my_function")
    assert (dataset.records, dataset.class_names, dataset.category_ids) == (
        expected,
        ("cat", "ant"),
        (0, 1),
    )
    assert dataset.has_ground_truth


def write_noise(path: Path) -> str:
    noise = np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("box", "mode"),
    [
        ([2.0, 3, 6, 8], BoxMode.XYXY_ABS),
        ([2.0, 3, 4, 5], BoxMode.XYWH_ABS),
        ([2, 3, 4, 5], BoxMode.XYWH_ABS),
        ((4.0, 5.5, 4, 5, 0), BoxMode.XYWHA_ABS),
    ],
    ids=str,
)
def test_samples_of_a_users_function(tmp_path: Path, box: Any, mode: BoxMode) -> None:
    """Boxes in all of Detectron2's box modes, missing fields and extra fields: the samples equal
    those of Detectron2's mapper."""
    found = {"bbox": box, "bbox_mode": mode, "category_id": 1, "mine": 1}
    crowd = {**found, "category_id": 0, "iscrowd": 1}
    outside = {**found, "bbox": [-5.0, 1, 40, 30], "bbox_mode": BoxMode.XYXY_ABS}
    record = {"file_name": write_noise(tmp_path / "a.png"), "mine": object}
    record["annotations"] = [found, crowd, outside]
    register_function("my_function", [record])
    cfg = cfg_of("my_function", INPUT__RANDOM_FLIP="none")
    samples = []
    for name in ("FocalRetinaNet", "RetinaNet"):
        cfg.MODEL.META_ARCHITECTURE = name
        samples.append(next(iter(training_loader(cfg)))[0])
    ours, theirs = samples
    assert ours["image_id"] == 0
    assert_close(ours["image"], theirs["image"], rtol=0, atol=0)
    assert (ours["height"], ours["width"]) == (theirs["height"], theirs["width"]) == (10, 20)
    boxes = ours["instances"].gt_boxes.tensor
    assert_close(boxes, theirs["instances"].gt_boxes.tensor)
    assert_close(boxes, torch.tensor([[4.0, 6, 12, 16], [0, 2, 40, 20]]))
    assert ours["instances"].gt_classes.tolist() == [1, 1]


@pytest.mark.parametrize("annotations", [{}, {"annotations": []}], ids=["missing", "empty"])
def test_a_function_without_boxes_is_refused_for_training(
    tmp_path: Path, annotations: dict
) -> None:
    register_function("my_function", [{"file_name": str(tmp_path / "a.png"), **annotations}])
    cfg = cfg_of("my_function", DATALOADER__FILTER_EMPTY_ANNOTATIONS=False)
    cfg.MODEL.META_ARCHITECTURE = "FocalRetinaNet"
    with pytest.raises(DatasetError, match="no box to learn from in 1 images of my_function"):
        training_loader(cfg)


def register_function(name: str, records: list[Any], **metadata: Any) -> None:
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(thing_classes=["cat", "ant"], **metadata)


def test_optional_fields_of_the_records_of_a_function(tmp_path: Path) -> None:
    """Ids, sizes and boxes may be missing; boxes may have any box mode; class indices become the
    ids of the metadata."""
    _, images = write_coco(tmp_path)
    box = {"bbox": np.array([2, 3, 4, 5]), "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    register_function(
        "my_function",
        [
            {"file_name": f"{images}/a.png", "annotations": [box]},
            {"file_name": f"{images}/deeper/b.png"},
        ],
        thing_dataset_id_to_contiguous_id={7: 0, 3: 1},
    )
    first, second = load_dataset("my_function").records
    assert (first["image_id"], first["height"], first["width"]) == (0, 10, 20)
    assert [a["bbox"] for a in first["annotations"]] == [[2, 3, 6, 8]]
    assert (second["image_id"], second["annotations"]) == (1, [])
    assert load_dataset("my_function").category_ids == (7, 3)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        pytest.param(7, r"record 1 of its function cannot be used .*found 7", id="a number"),
        pytest.param({"image_id": 1}, "record 1 .*KeyError: 'file_name'", id="no file"),
        pytest.param(
            {"boxes": [{"bbox": [1, 2, 3, 4], "bbox_mode": 0, "category_id": 2}]},
            "category_id 2 for 2 classes",
            id="class",
        ),
        pytest.param(
            {"boxes": [{"bbox": [1, 2, 3, 4], "category_id": 1}]},
            "KeyError: 'bbox_mode'",
            id="no mode",
        ),
        pytest.param({"boxes": [], "image_id": 0}, "gives an image_id twice", id="the same image"),
    ],
)
def test_mistakes_in_the_records_of_a_function(tmp_path: Path, record: Any, words: str) -> None:
    _, images = write_coco(tmp_path)
    good = {"file_name": f"{images}/a.png", "image_id": 0, "annotations": []}
    if isinstance(record, dict) and "boxes" in record:
        boxes = record.pop("boxes")
        record = good | {"image_id": 1, "annotations": boxes} | record
    register_function("my_function", [good, record])
    with pytest.raises(DatasetError, match=words):
        load_dataset("my_function")


def strange_category(folder: Path) -> tuple[str, str]:
    return write_coco(folder, changed("annotations", 0, category_id=9))


def cut_off(folder: Path) -> tuple[str, str]:
    return write_coco(folder, json.dumps(CONTENT)[:-5])


def missing(folder: Path) -> tuple[str, str]:
    return str(folder / "none.json"), str(folder)


def without_boxes(folder: Path) -> tuple[str, str]:
    return write_coco(folder, {**CONTENT, "annotations": []})


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (strange_category, r"annotation 1 of a.png has category_id 9, known are \[3, 7\]"),
        (cut_off, "annotations.json is not JSON"),
        (missing, r"no annotations at .*none\.json"),
        (
            without_boxes,
            "data set my_pets cannot be used: AssertionError: No valid data found in my_pets",
        ),
    ],
)
@pytest.mark.parametrize("names", [{}, {"thing_classes": ["cat", "ant"]}], ids=["", "names known"])
def test_mistakes_in_the_users_file(
    tmp_path: Path, write: Callable[[Path], tuple[str, str]], words: str, names: dict
) -> None:
    register_coco_instances("my_pets", names, *write(tmp_path))

    def begin(cfg: CfgNode) -> None:
        class_names("my_pets")
        check_datasets(cfg, eval_only=False)
        training_loader(cfg)

    with pytest.raises(DatasetError, match=words):
        begin(cfg_of("my_pets"))


def test_a_class_that_the_users_function_does_not_have(tmp_path: Path) -> None:
    json_file, images = write_coco(tmp_path)
    # ids as in the file: 3 and 7
    DatasetCatalog.register("my_function", lambda: load_coco_json(json_file, images))
    MetadataCatalog.get("my_function").thing_classes = ["cat", "ant"]
    with pytest.raises(
        DatasetError,
        match=r"my_function cannot be used: .*invalid category_id=7 "
        r"for a dataset of 2",
    ):
        training_loader(cfg_of("my_function"))


@pytest.mark.parametrize(
    ("train", "test", "eval_only", "words"),
    [
        pytest.param(
            "empty", "full", False, "no box to learn from in 2 images of", id="nothing to learn"
        ),
        pytest.param("empty", "full", True, None, id="not needed for evaluation"),
        pytest.param("full", "missing", False, "no annotations at .*none.json", id="no test set"),
        pytest.param(
            "full",
            "coco_2017_val",
            False,
            "no annotations at .*instances_val2017.json",
            id="no COCO",
        ),
        pytest.param("full", "empty", False, None, id="no box to find"),
    ],
)
def test_checks_before_a_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    train: str,
    test: str,
    eval_only: bool,
    words: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    MetadataCatalog.pop("coco_2017_val")
    MetadataCatalog.get("coco_2017_val").set(
        json_file="coco/annotations/instances_val2017.json", image_root="coco"
    )
    names = {
        "full": "@".join(write_coco(tmp_path / "full")),
        "empty": "@".join(write_coco(tmp_path / "empty", {**CONTENT, "annotations": []})),
        "missing": f"{tmp_path}/none.json@{tmp_path}",
        "coco_2017_val": "coco_2017_val",
    }
    register_datasets([names[train], names[test]])
    cfg = cfg_of(names[train], names[test])
    if words is None:
        check_datasets(cfg, eval_only=eval_only)
    else:
        with pytest.raises(DatasetError, match=words):
            check_datasets(cfg, eval_only=eval_only)


# --------------------------------------------------------------------------------------- evaluation


def evaluator_of(name: str, folder: Path) -> RetinaCOCOEvaluator:
    return RetinaCOCOEvaluator(name, output_dir=str(folder), max_dets_per_image=100)


def evaluated(evaluator: DatasetEvaluator, *, boxes: list, image_id: Any = 5) -> float:
    """AP of the class "ant" for detections at ``boxes`` of one image."""
    instances = Instances((10, 20), pred_boxes=Boxes(torch.tensor(boxes)))
    instances.scores, instances.pred_classes = (
        torch.ones(len(boxes)),
        torch.ones(len(boxes), dtype=torch.int64),
    )
    evaluator.reset()
    evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    return round(evaluator.evaluate()["bbox"]["AP"], 6)


def test_annotations_without_area_and_with_id_0(tmp_path: Path) -> None:
    """Detectron2's own evaluator needs ``area`` and never matches the object with id 0."""
    content = changed("annotations", 0, id=0)
    name = "@".join(write_coco(tmp_path, content))
    assert class_names(name) == ["cat", "ant"]
    assert evaluated(evaluator_of(name, tmp_path), boxes=[[2.0, 3, 6, 8]]) == 100
    with pytest.raises(KeyError, match=r"area|iscrowd"):
        evaluated(COCOEvaluator(name, output_dir=str(tmp_path)), boxes=[[2.0, 3, 6, 8]])
    content = changed("annotations", 0, id=0, area=20, iscrowd=0)
    content["annotations"][1]["area"] = 200
    write_coco(tmp_path, content)
    assert evaluated(COCOEvaluator(name, output_dir=str(tmp_path)), boxes=[[2.0, 3, 6, 8]]) == 0
    assert evaluated(evaluator_of(name, tmp_path), boxes=[[2.0, 3, 6, 8]]) == 100


def test_boxes_of_a_function_are_clipped_and_dropped_as_those_of_a_file(tmp_path: Path) -> None:
    record = record_of(tmp_path / "a.png", height=10, width=20)
    record["annotations"] = [
        {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
        for box in ([2, 3, 6, 8], [3, 3, 9, 3], [30, 1, 40, 5], [15, 2, 25, 8])
    ]
    register_function("my_function", [record])
    dataset = load_dataset("my_function")
    assert [a["bbox"] for a in dataset.records[0]["annotations"]] == [[2, 3, 6, 8], [15, 2, 20, 8]]
    assert [line.split(" (first")[0] for line in dataset.warnings] == [
        "my_function: 1 of 4 boxes have no area and were dropped",
        "my_function: 1 of 4 boxes lie outside their image and were dropped",
        "my_function: 1 of 4 boxes reach outside their image and were clipped",
    ]
    assert (
        evaluated(evaluator_of("my_function", tmp_path), boxes=[[2, 3, 6, 8.0], [15, 2, 20, 8]])
        == 100
    )


def test_classes_in_the_users_own_order(tmp_path: Path) -> None:
    """Class indices follow ``thing_dataset_id_to_contiguous_id``, as in Detectron2."""
    json_file, images = write_coco(tmp_path)
    DatasetCatalog.register("my_pets", lambda: load_coco_json(json_file, images))
    names = {"thing_classes": ["ant", "cat"], "thing_dataset_id_to_contiguous_id": {7: 0, 3: 1}}
    MetadataCatalog.get("my_pets").set(json_file=json_file, image_root=images, **names)
    assert evaluator_of("my_pets", tmp_path).category_ids == [7, 3]


# ------------------------------------------------------------------------------------------- mapper


def record_of(path: Path, **others: Any) -> dict[str, Any]:
    boxes = [
        {"bbox": [2, 3, 6, 8], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1},
        {"bbox": [0, 0, 20, 10], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 1},
    ]
    return {"file_name": str(path), "image_id": 5, "annotations": boxes, **others}


# Detectron2 causes this warning.
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "rotated"])
@pytest.mark.parametrize("image_format", ["BGR", "RGB", "L"])
@pytest.mark.parametrize("is_train", [True, False], ids=["train", "test"])
def test_mapper_equals_detectron2s(
    tmp_path: Path, mode: str, image_format: str, is_train: bool
) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[ORIENTATION] = 6 if mode == "rotated" else 1
    (noise if mode == "rotated" else noise.convert(mode)).save(tmp_path / "a.png", exif=exif)
    record = record_of(tmp_path / "a.png")
    before = json.dumps(record)
    cfg = cfg_of("", INPUT__FORMAT=image_format, INPUT__CROP__ENABLED=True)
    found = []
    for kind in (RetinaDatasetMapper, DatasetMapper):
        mapper = kind(cfg, is_train=is_train)
        np.random.seed(4)  # noqa: NPY002  Detectron2's augmentations draw from it
        found.append(mapper(record))
    ours, theirs = found
    assert set(ours) == set(theirs)
    assert_close(ours["image"], theirs["image"], rtol=0, atol=0)
    assert (ours["height"], ours["width"]) == (theirs["height"], theirs["width"])
    if is_train:
        assert_close(
            ours["instances"].gt_boxes.tensor, theirs["instances"].gt_boxes.tensor, rtol=0, atol=0
        )
        assert (
            ours["instances"].gt_classes.tolist() == theirs["instances"].gt_classes.tolist() == [1]
        )
    assert json.dumps(record) == before


def test_16_bits_have_a_range_where_detectron2_cuts_them(tmp_path: Path) -> None:
    Image.fromarray(np.full((10, 20), 25700, dtype=np.uint16)).save(tmp_path / "a.png")
    cfg = cfg_of("")
    with pytest.raises(DatasetError, match=r"a\.png is a 16-bit gray PNG: .*PIXEL_RANGE"):
        RetinaDatasetMapper(cfg, is_train=False)(record_of(tmp_path / "a.png"))
    cfg.MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE = [0.0, 65535.0]
    assert RetinaDatasetMapper(cfg, is_train=False)(record_of(tmp_path / "a.png"))[
        "image"
    ].unique().tolist() == [100]
    assert DatasetMapper(cfg, is_train=False)(record_of(tmp_path / "a.png"))[
        "image"
    ].unique().tolist() == [255]


@pytest.mark.parametrize(
    "annotations", [[], record_of(Path())["annotations"][1:]], ids=["none", "crowd only"]
)
def test_images_without_boxes(tmp_path: Path, annotations: list) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    sample = RetinaDatasetMapper(cfg_of(""), is_train=True)(
        record_of(tmp_path / "a.png", annotations=annotations)
    )
    assert sample["instances"].gt_boxes.tensor.shape == (0, 4)
    assert sample["instances"].gt_classes.shape == (0,)


@pytest.mark.parametrize(
    ("data", "size", "words"),
    [
        (None, {}, r"image .*a\.png cannot be read: .*No such file"),
        (b"no image", {}, r"image .*a\.png cannot be read: its format is unknown"),
        (b"", {"height": 10, "width": 20}, r"image .*a\.png cannot be read"),
        (
            "image",
            {"height": 20, "width": 10},
            r"a\.png is 20x10 pixels, its annotations say "
            r"10x20\. .* EXIF",
        ),
    ],
)
@pytest.mark.parametrize("is_train", [True, False], ids=["train", "test"])
def test_images_that_cannot_be_used(
    tmp_path: Path, data: bytes | str | None, size: dict, words: str, is_train: bool
) -> None:
    if data == "image":
        Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    elif data is not None:
        (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DatasetError, match=words):
        RetinaDatasetMapper(cfg_of(""), is_train=is_train)(record_of(tmp_path / "a.png", **size))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FocalRetinaNet", "RetinaNet"])
def test_a_worker_process_names_the_file_too(tmp_path: Path, name: str) -> None:
    json_file, images = write_coco(tmp_path)
    Path(images, "a.png").write_bytes(b"no image")
    data = f"{json_file}@{images}"
    register_datasets([data])
    cfg = cfg_of(data, data, DATALOADER__NUM_WORKERS=1)
    cfg.MODEL.META_ARCHITECTURE = name
    with pytest.raises(DatasetError) as error:
        next(iter(training_loader(cfg)))
    assert user_message(error.value).startswith(
        f"image {images}/a.png cannot be read: its format is unknown"
    )
    with pytest.raises(DatasetError) as error:
        list(evaluation_loader(cfg, data))
    assert user_message(error.value).startswith(
        f"image {images}/a.png cannot be read: its format is unknown"
    )
