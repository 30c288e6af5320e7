"""Importers of annotation formats. Each recognises its format and returns COCO's lists."""

from retina_plugin.data.importers import (  # noqa: F401  they register themselves
    coco,
    cvat,
    fizyr_csv,
    header_csv,
    label_studio,
    labelme,
    open_images_csv,
    via,
    voc,
    yolo,
)
from retina_plugin.data.importers.imported import Imported, Importer
from retina_plugin.data.importers.registry import IMPORTERS

__all__ = ["IMPORTERS", "Imported", "Importer"]
