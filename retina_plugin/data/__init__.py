"""Data sets: COCO annotations, the generated digits, image files, transforms and samplers."""

from retina_plugin.data.catalog import (
    dataset_names,
    load_dataset,
    register_dataset,
    resolve,
    splits_of,
    use_box_coordinates,
)
from retina_plugin.data.coco import read_coco
from retina_plugin.data.dataset import Dataset
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.evaluation_sets import evaluated_sets, final_sets, validation_sets
from retina_plugin.data.frequencies import class_counts
from retina_plugin.data.headers import Header
from retina_plugin.data.images import image_options, read_header, read_image, read_record
from retina_plugin.data.importers.voc_offset import use_voc_offset
from retina_plugin.data.training import require_boxes, training_records
from retina_plugin.data.transforms import TRANSFORMS, Sample

__all__ = [
    "TRANSFORMS",
    "Dataset",
    "DatasetError",
    "Header",
    "Sample",
    "class_counts",
    "dataset_names",
    "evaluated_sets",
    "final_sets",
    "image_options",
    "load_dataset",
    "read_coco",
    "read_header",
    "read_image",
    "read_record",
    "register_dataset",
    "require_boxes",
    "resolve",
    "splits_of",
    "training_records",
    "use_box_coordinates",
    "use_voc_offset",
    "validation_sets",
]
