"""Use this project's data sets in Detectron2's catalogs, and Detectron2's in this project."""

from __future__ import annotations

import contextlib
import functools
import reprlib
from collections.abc import Iterator, Sequence
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.structures import BoxMode

from retina_plugin.data import (
    Dataset,
    DatasetError,
    class_counts,
    dataset_names,
    evaluated_sets,
    final_sets,
    load_dataset,
    read_coco,
    require_boxes,
)
from retina_plugin.data.box_coordinates import KEY
from retina_plugin.data.catalog import Paths, add_catalog, require_known
from retina_plugin.data.coco import logger
from retina_plugin.data.images import image_size
from retina_plugin.data.repairs import Repairs, clip_box


def register_datasets(names: Sequence[str] | None = None) -> None:
    """Register data sets by name in ``DatasetCatalog``, which reads each on first use. Names that
    are registered already are skipped.

    Args:
        names: as for :func:`retina_plugin.data.load_dataset`; None for all names of this
            project's catalog.

    Raises:
        DatasetError: a name is in neither catalog.
    """
    for name in dataset_names() if names is None else names:
        if name in DatasetCatalog:
            continue
        require_known(name, DatasetCatalog.list())
        DatasetCatalog.register(name, functools.partial(_dataset_dicts, name))


def _dataset_dicts(name: str) -> list[dict[str, Any]]:
    """Return a data set as Detectron2's list of dicts, and set the metadata for its evaluator and
    visualizer."""
    dataset = load_dataset(name)
    metadata = MetadataCatalog.get(name)
    if dataset.is_coco:  # Detectron2's own evaluator opens this file
        metadata.set(json_file=dataset.json_file)
    metadata.set(
        image_root=dataset.image_root,
        evaluator_type="coco",
        thing_classes=list(dataset.class_names),
        thing_dataset_id_to_contiguous_id={
            coco_id: i for i, coco_id in enumerate(dataset.category_ids)
        },
    )
    return [
        {
            **record,
            "annotations": [{**a, "bbox_mode": BoxMode.XYXY_ABS} for a in record["annotations"]],
        }
        for record in dataset.records
    ]


def _is_registered_by_us(name: str) -> bool:
    """Return whether :func:`register_datasets` has registered the data set."""
    return name in DatasetCatalog and getattr(DatasetCatalog[name], "func", None) is _dataset_dicts


def _paths_from_detectron2(name: str) -> Paths | None:
    """Return annotation file and image folder of a data set that Detectron2 or the user registered
    in ``DatasetCatalog``; None for any other data set."""
    if name not in DatasetCatalog or _is_registered_by_us(name):
        return None
    metadata = MetadataCatalog.get(name)
    # A data set with a file but no folder comes from a user's function. Detectron2's evaluator has
    # converted the data set and written the file.
    known = metadata.get("json_file") and metadata.get("image_root") is not None
    return (metadata.json_file, metadata.image_root) if known else None


_function_datasets: dict[str, tuple[Any, Dataset]] = {}  # name -> the function, its result


def _dataset_of_function(name: str) -> Dataset | None:
    """Return the data set that a user's function in ``DatasetCatalog`` returns; None for any other
    name. The result is cached until another function is registered."""
    if name not in DatasetCatalog or _is_registered_by_us(name) or _paths_from_detectron2(name):
        return None
    function = DatasetCatalog[name]
    if _function_datasets.get(name, (None,))[0] is not function:
        _function_datasets[name] = function, _call_function(name)
    return _function_datasets[name][1]


def _call_function(name: str) -> Dataset:
    """Call the function of a data set and convert its dicts to records.

    Raises:
        DatasetError: the function fails, or a dict cannot be used; the message has its index.
    """
    with dataset_errors([name]):
        dicts = DatasetCatalog.get(name)
    names = class_names(name)
    contiguous_ids: dict[Any, int] = MetadataCatalog.get(name).get(
        "thing_dataset_id_to_contiguous_id"
    ) or {i: i for i in range(len(names))}
    records, repairs = [], Repairs()
    for index, record in enumerate(dicts):
        try:
            records.append(_to_record(record, index, len(names), repairs))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"data set {name!r}: record {index} of its function cannot be used "
                f"({type(error).__name__}: {error}). "
                f"Expected one of Detectron2's standard dataset dicts, found {reprlib.repr(record)}"
            ) from error
    if len({record["image_id"] for record in records}) < len(records):
        raise DatasetError(
            f"data set {name!r}: its function gives an image_id twice; each image needs its own"
        )
    return Dataset(
        name=name,
        json_file=f"the function of {name!r} in DatasetCatalog",
        image_root="",
        class_names=tuple(names),
        category_ids=tuple(sorted(contiguous_ids, key=lambda i: contiguous_ids[i])),
        records=records,
        warnings=_log_repairs(name, repairs, dicts),
        has_ground_truth=any(record["annotations"] for record in records),
    )


def _log_repairs(name: str, repairs: Repairs, dicts: list[dict[str, Any]]) -> tuple[str, ...]:
    """Log and return a warning for each kind of repair of boxes."""
    total = sum(len(record.get("annotations", [])) for record in dicts)
    warnings = tuple(f"{name}: {line}" for line in repairs.lines(total))
    for line in warnings:
        logger.warning(line)
    return warnings


def _to_record(
    record: dict[str, Any], index: int, num_classes: int, repairs: Repairs
) -> dict[str, Any]:
    """Convert one of Detectron2's dicts to a record of :class:`retina_plugin.data.Dataset`. Missing
    entries get their defaults; the default image_id is ``index``."""
    width, height = record.get("width"), record.get("height")
    if not (width and height):
        width, height = image_size(record["file_name"])
    size = {"file_name": str(record["file_name"]), "height": int(height), "width": int(width)}
    annotations = []
    for number, entry in enumerate(record.get("annotations", []), start=1):
        if not 0 <= entry["category_id"] < num_classes:
            raise ValueError(
                f"category_id {entry['category_id']} for {num_classes} classes, which are "
                f"0..{num_classes - 1}"
            )
        sides = [
            float(v)
            for v in BoxMode.convert(list(entry["bbox"]), entry["bbox_mode"], BoxMode.XYWH_ABS)
        ]
        box = clip_box({"id": number, "bbox": sides}, size, repairs)
        if box is not None:
            annotations.append(
                {
                    "id": number,
                    "bbox": box,
                    "category_id": int(entry["category_id"]),
                    "iscrowd": int(entry.get("iscrowd") or 0),
                    "area": (box[2] - box[0]) * (box[3] - box[1]),
                }
            )
    return {**size, "image_id": record.get("image_id", index), "annotations": annotations}


add_catalog(_paths_from_detectron2, _dataset_of_function)


def class_names(name: str) -> list[str]:
    """Return the class names of a data set. Reads its annotations if the catalog does not have the
    names yet.

    Raises:
        DatasetError: the data set cannot be read, or has no class names.
    """
    register_datasets([name])
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_classes") is None:
        with dataset_errors([name]):
            DatasetCatalog.get(name)
    if metadata.get("thing_classes") is None:
        raise DatasetError(
            f"data set {name!r} has no class names. Where it is registered, set "
            f"MetadataCatalog.get({name!r}).thing_classes."
        )
    return list(metadata.thing_classes)


def count_boxes_of_classes(name: str) -> list[int]:
    """Count the boxes of each class of a data set; see :func:`retina_plugin.data.class_counts`.

    Raises:
        DatasetError: the data set cannot be read.
    """
    with dataset_errors([name]):
        return class_counts(records_of(name), len(class_names(name)))


def records_of(name: str) -> Sequence[dict[str, Any]]:
    """Return the records of a data set; if Detectron2 or the user registered it, the dicts of its
    function.

    Raises:
        DatasetError: the data set cannot be read.
    """
    with dataset_errors([name]):
        if _is_registered_by_us(name):
            return load_dataset(name).records
        dicts: list[dict[str, Any]] = DatasetCatalog.get(name)
        return dicts


def check_datasets(cfg: Any, *, eval_only: bool) -> None:
    """Check before a run starts that the sets to evaluate can be read and the training sets have
    boxes.

    Whether training sets that Detectron2 or the user registered have boxes is checked later, when
    Detectron2 has read them: see :func:`retina_plugin.d2.loader.training_loader`.

    Raises:
        DatasetError: a data set cannot be read, or the training sets have no box.
    """
    if not eval_only:
        _check_registered_coco_files(cfg)
    for name in final_sets(cfg) if eval_only else evaluated_sets(cfg):
        load_dataset(name)
    if not eval_only and all(map(_is_registered_by_us, cfg.DATASETS.TRAIN)):
        require_boxes(*map(load_dataset, cfg.DATASETS.TRAIN))


def _check_registered_coco_files(cfg: Any) -> None:
    """Check the training sets that are registered in Detectron2 as COCO files. Detectron2 reads the
    files again for training, with fewer checks.

    Raises:
        DatasetError: a data set cannot be used, or the config asks for a conversion of its boxes,
            which Detectron2 does not make.
    """
    for name in cfg.DATASETS.TRAIN:
        paths = _paths_from_detectron2(name)
        if not paths or MetadataCatalog.get(name).get("evaluator_type") != "coco":
            continue
        if cfg.MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES:
            raise DatasetError(
                f"{KEY} is {cfg.MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES!r}, but data set "
                f"{name!r} is registered in Detectron2, "
                f"which reads boxes as COCO's. Name it {paths[0]}@{paths[1]} in DATASETS.TRAIN."
            )
        read_coco(*paths, name=name)


def training_dicts(cfg: Any, *, filter_empty: bool) -> list[dict[str, Any]]:
    """Return Detectron2's dicts of all training sets.

    Args:
        cfg: ``DATASETS.TRAIN`` are the data sets; with ``MODEL.KEYPOINT_ON``, images with fewer
            than ``MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE`` keypoints are left out.
        filter_empty: whether to leave out images without objects.

    Raises:
        DatasetError: a data set cannot be used.
    """
    keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0
    with dataset_errors(cfg.DATASETS.TRAIN):
        dicts: list[dict[str, Any]] = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN,
            filter_empty=filter_empty,
            min_keypoints=keypoints,
        )
        return dicts


@contextlib.contextmanager
def dataset_errors(names: Sequence[str]) -> Iterator[None]:
    """Raise a :class:`DatasetError` in place of the errors of Detectron2's readers, such as
    AssertionError and KeyError.

    Args:
        names: the data sets that are read in the block.
    """
    try:
        yield
    except DatasetError:
        raise
    except (AssertionError, KeyError, OSError, ValueError) as error:
        for name in names:
            if _paths_from_detectron2(name):
                load_dataset(name)  # raises an error with more details if it finds the cause
        raise DatasetError(
            f"data set {', '.join(names)} cannot be used: {type(error).__name__}: {error}"
        ) from error
