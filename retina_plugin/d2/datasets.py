"""Data sets of this project in Detectron2's catalogs and the other way round, and images read with
errors that name the file."""

from __future__ import annotations

import contextlib
import copy
import functools
import reprlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import (
    DatasetCatalog,
    DatasetFromList,
    DatasetMapper,
    MetadataCatalog,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.detection_utils import convert_PIL_to_numpy
from detectron2.data.transforms import (
    AugInput,
    Augmentation,
    AugmentationList,
    RandomCrop,
    ResizeShortestEdge,
    ResizeTransform,
    Transform,
)
from detectron2.structures import BoxMode
from detectron2.utils import comm
from PIL import Image

from retina_plugin.config.registry import unknown_name
from retina_plugin.d2.loader import TrainingLoader
from retina_plugin.data import (
    Dataset,
    DatasetError,
    class_counts,
    dataset_names,
    load_dataset,
    read_coco,
    read_record,
    reading,
    require_boxes,
)
from retina_plugin.data.box_coordinates import KEY
from retina_plugin.data.catalog import Paths, add_catalog
from retina_plugin.data.coco import Repairs, clipped, logger
from retina_plugin.data.coco_json import HOW_TO_NAME
from retina_plugin.data.images import image_size
from retina_plugin.engine import stopping


def register_datasets(names: Sequence[str] | None = None) -> None:
    """Register data sets by name in ``DatasetCatalog`` unless the name is taken; nothing is read
    before it is used.

    Args:
        names: registered names or ``annotations.json@image_folder``; None for all registered ones.

    Raises:
        DatasetError: a name that neither Detectron2 nor this project knows; it stays free.
    """
    for name in dataset_names() if names is None else names:
        if name in DatasetCatalog:
            continue
        if name not in dataset_names() and ".json@" not in name:
            known = {*dataset_names(), *DatasetCatalog.list()}
            raise DatasetError(f"{unknown_name('data set', name, known)} {HOW_TO_NAME}")
        DatasetCatalog.register(name, functools.partial(_records, name))


def _records(name: str) -> list[dict[str, Any]]:
    """Detectron2's list of dicts, with the metadata that its evaluator and its pictures need."""
    dataset = load_dataset(name)
    MetadataCatalog.get(name).set(
        json_file=dataset.json_file,
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


def _is_ours(name: str) -> bool:
    return (
        getattr(DatasetCatalog[name], "func", None) is _records if name in DatasetCatalog else False
    )


def _paths_in_detectron2(name: str) -> Paths | None:
    """Where a data set lies that Detectron2 or the user has registered there, so that reports can
    read it."""
    if name not in DatasetCatalog or _is_ours(name):
        return None
    metadata = MetadataCatalog.get(name)
    # With a file but no folder it is a function of the user: Detectron2's evaluator has written the
    # file.
    known = metadata.get("json_file") and metadata.get("image_root") is not None
    return (metadata.json_file, metadata.image_root) if known else None


_OF_FUNCTIONS: dict[str, tuple[Any, Dataset]] = {}  # name -> the function and what it gave


def _dataset_of_function(name: str) -> Dataset | None:
    """A data set that the user has registered as a function; None for any other."""
    if name not in DatasetCatalog or _is_ours(name) or _paths_in_detectron2(name):
        return None
    function = DatasetCatalog[name]
    if _OF_FUNCTIONS.get(name, (None,))[0] is not function:
        _OF_FUNCTIONS[name] = function, _call(name)
    return _OF_FUNCTIONS[name][1]


def _call(name: str) -> Dataset:
    """Call the function of a data set and check what it gives.

    Raises:
        DatasetError: it fails, or a record cannot be used; place and file are named.
    """
    with _explained([name]):
        given = DatasetCatalog.get(name)
    names = class_names(name)
    ids = MetadataCatalog.get(name).get("thing_dataset_id_to_contiguous_id") or {
        i: i for i in range(len(names))
    }
    records, repairs = [], Repairs()
    for place, record in enumerate(given):
        try:
            records.append(_record(record, place, len(names), repairs))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"data set {name!r}: record {place} of its function cannot be used "
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
        category_ids=tuple(sorted(ids, key=ids.get)),
        records=records,
        warnings=_warnings(name, repairs, given),
        has_ground_truth=any(record["annotations"] for record in records),
    )


def _warnings(name: str, repairs: Repairs, given: list[dict[str, Any]]) -> tuple[str, ...]:
    total = sum(len(record.get("annotations", [])) for record in given)
    warnings = tuple(f"{name}: {line}" for line in repairs.lines(total))
    for line in warnings:
        logger.warning(line)
    return warnings


def _record(
    record: dict[str, Any], place: int, num_classes: int, repairs: Repairs
) -> dict[str, Any]:
    """One of Detectron2's dicts as a record of :class:`retina_plugin.data.Dataset`; what may be
    left out there is filled in."""
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
        box = clipped({"id": number, "bbox": sides}, size, repairs)
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
    return {**size, "image_id": record.get("image_id", place), "annotations": annotations}


add_catalog(_paths_in_detectron2, _dataset_of_function)


def class_names(name: str) -> list[str]:
    """Names of the classes of a data set, read from its annotations if need be.

    Raises:
        DatasetError: the data set cannot be read, or has no names.
    """
    register_datasets([name])
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_classes") is None:
        with _explained([name]):
            DatasetCatalog.get(name)
    if metadata.get("thing_classes") is None:
        raise DatasetError(
            f"data set {name!r} has no class names. Where it is registered, set "
            f"MetadataCatalog.get({name!r}).thing_classes."
        )
    return list(metadata.thing_classes)


def boxes_of_classes(name: str) -> list[int]:
    """Boxes of each class of a data set; see :func:`retina_plugin.data.class_counts`.

    Raises:
        DatasetError: it cannot be read.
    """
    with _explained([name]):
        return class_counts(records_of(name), len(class_names(name)))


def records_of(name: str) -> Sequence[dict[str, Any]]:
    """The records of a data set; of one that is registered in Detectron2, as its function gives
    them.

    Raises:
        DatasetError: it cannot be read.
    """
    with _explained([name]):
        return load_dataset(name).records if _is_ours(name) else DatasetCatalog.get(name)


def check_datasets(cfg: Any, *, eval_only: bool) -> None:
    """Read what the run will need at its end, and make sure that there is something to learn.

    Training sets that are registered in Detectron2 are left to it: see :func:`training_loader`.

    Raises:
        DatasetError: a test set that cannot be read, or training sets without a box.
    """
    if not eval_only:
        _check_users_files(cfg)
    for name in cfg.DATASETS.TEST:
        load_dataset(name)
    if not eval_only and all(map(_is_ours, cfg.DATASETS.TRAIN)):
        require_boxes(*map(load_dataset, cfg.DATASETS.TRAIN))


def _check_users_files(cfg: Any) -> None:
    """Read training sets that are registered in Detectron2 as COCO files: it will read them itself,
    but checks less.

    Raises:
        DatasetError: one cannot be used, or has boxes that are converted, which Detectron2 does not
            do.
    """
    for name in cfg.DATASETS.TRAIN:
        paths = _paths_in_detectron2(name)
        if not paths or MetadataCatalog.get(name).get("evaluator_type") != "coco":
            continue
        if cfg.MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES:
            raise DatasetError(
                f"{KEY} is {cfg.MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES!r}, but data set "
                f"{name!r} is registered in Detectron2, "
                f"which reads boxes as COCO's. Name it {paths[0]}@{paths[1]} in DATASETS.TRAIN."
            )
        read_coco(*paths, name=name)


def training_loader(cfg: Any) -> Any:
    """The training loader with :class:`Mapper`: ours, or Detectron2's for another
    ``DATALOADER.SAMPLER_TRAIN`` than its default.

    Raises:
        DatasetError: the training sets cannot be used.
    """
    mapper, sampler = Mapper(cfg, is_train=True), cfg.DATALOADER.SAMPLER_TRAIN
    with _explained(cfg.DATASETS.TRAIN):
        if sampler == "TrainingSampler":
            return TrainingLoader(DatasetFromList(_training_records(cfg), copy=False), mapper, cfg)
        if comm.is_main_process():
            print(
                f"DATALOADER.SAMPLER_TRAIN {sampler}: a run that is resumed draws its images anew",
                flush=True,
            )
        return build_detection_train_loader(cfg, mapper=mapper)


def _training_records(cfg: Any) -> list[dict[str, Any]]:
    keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0
    return get_detection_dataset_dicts(
        cfg.DATASETS.TRAIN,
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        min_keypoints=keypoints,
    )


@contextlib.contextmanager
def _explained(names: Sequence[str]) -> Iterator[None]:
    """Turn the assertions, KeyErrors and the like that Detectron2's readers raise into a
    :class:`DatasetError`."""
    try:
        yield
    except DatasetError:
        raise
    except (AssertionError, KeyError, OSError, ValueError) as error:
        for name in names:
            if _paths_in_detectron2(name):
                # names file, annotation and remedy where it meets the same mistake
                load_dataset(name)
        raise DatasetError(
            f"data set {', '.join(names)} cannot be used: {type(error).__name__}: {error}"
        ) from error


def training_samples(cfg: Any) -> Iterator[dict[str, Any]]:
    """What Detectron2's training loader feeds, one sample after the other, "image" in RGB; for
    looking at it. It never ends."""
    register_datasets(cfg.DATASETS.TRAIN)
    for batch in training_loader(cfg):
        for sample in batch:
            image, instances = sample["image"], sample["instances"]
            yield {
                "image": image.flip(0) if cfg.INPUT.FORMAT == "BGR" else image,
                "boxes": instances.gt_boxes.tensor,
                "labels": instances.gt_classes,
                "file_name": sample["file_name"],
            }


class _Resize(ResizeShortestEdge):
    """Detectron2's, with at least one pixel of very long images on each side."""

    def get_transform(self, image: np.ndarray) -> Transform:
        found = super().get_transform(image)
        if isinstance(found, ResizeTransform):
            found.new_h, found.new_w = max(found.new_h, 1), max(found.new_w, 1)
        return found


class _Crop(RandomCrop):
    """Detectron2's, with at least one pixel of very small images on each side."""

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        height, width = super().get_crop_size(image_size)
        return max(height, 1), max(width, 1)


def _keep_a_pixel(augmentation: Augmentation) -> Augmentation:
    if type(augmentation) is ResizeShortestEdge:
        a = augmentation
        return _Resize(a.short_edge_length, a.max_size, a.sample_style, a.interp)
    if type(augmentation) is RandomCrop:
        return _Crop(augmentation.crop_type, augmentation.crop_size)
    return augmentation


class Mapper(DatasetMapper):
    """Detectron2's mapper over this project's reader: pixel values as on the other host, and a file
    that cannot be used is named."""

    def __init__(self, cfg: Any, is_train: bool = True) -> None:
        super().__init__(cfg, is_train)
        self.options = reading(cfg)
        self.augmentations = AugmentationList([_keep_a_pixel(a) for a in self.augmentations.augs])

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        if torch.utils.data.get_worker_info() is not None:
            stopping.shield_worker()
        sample = copy.deepcopy(dataset_dict)
        image = read_record(sample, **self.options)
        sample.setdefault("height", image.shape[0])
        sample.setdefault("width", image.shape[1])
        augmented = AugInput(convert_PIL_to_numpy(Image.fromarray(image), self.image_format))
        transforms = self.augmentations(augmented)
        sample["image"] = torch.as_tensor(augmented.image.transpose(2, 0, 1).copy())
        if not self.is_train:
            sample.pop("annotations", None)
        elif "annotations" in sample:
            self._transform_annotations(sample, transforms, augmented.image.shape[:2])
        return sample
