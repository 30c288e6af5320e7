"""A data set that has been read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retina_plugin.data.annotation_names import AnnotationNames

Record = dict[str, Any]


@dataclass(frozen=True)
class Dataset:
    """Images and their boxes.

    Attributes:
        name: the name for :func:`retina_plugin.data.load_dataset`.
        json_file, image_root: annotation file and image folder. For formats other than COCO,
            json_file is the file or folder of the annotations.
        class_names: K names; the position is the contiguous class index.
        category_ids: K ids in the JSON file, ascending, in the order of class_names; 1..K for other
            formats.
        records: {"file_name", "image_id", "height", "width", "annotations": [{"id", "bbox" XYXY,
            "category_id" contiguous, "iscrowd", "area" in pixels}]}. If "iscrowd" is 1 because of
            "difficult": 1 or "group_of": 1, the annotation has that key too.
        warnings: warnings about repaired or dropped entries, with counts.
        has_ground_truth: False for files such as COCO's test-dev, which have no "annotations"; they
            can be used for detection but not for evaluation.
        without_area: number of annotations whose "area" is missing or 0 in the JSON file; the area
            of their box is used instead.
        format: format of the annotations, such as "YOLO, split val of data.yaml".
        places: file and line of the annotations with ids 1, 2, ...; empty for COCO's files.
    """

    name: str
    json_file: str
    image_root: str
    class_names: tuple[str, ...]
    category_ids: tuple[Any, ...]
    records: list[Record] = field(repr=False)
    warnings: tuple[str, ...] = ()
    has_ground_truth: bool = True
    without_area: int = 0
    format: str = "COCO"
    places: Sequence[str] = field(default=(), repr=False)

    @property
    def num_classes(self) -> int:
        """K, the number of classes without background."""
        return len(self.class_names)

    @property
    def is_coco(self) -> bool:
        """Whether ``json_file`` is a file in COCO format."""
        return self.format.split(",")[0] == "COCO"

    def name_of(self, annotation: Mapping[str, Any], record: Record) -> str:
        """Return the name of an annotation for messages: "annotation 7 of a.jpg", or for formats
        other than COCO "labels/a.txt, line 3"."""
        return AnnotationNames(self.places).of(annotation, record)
