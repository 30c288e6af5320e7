"""Importers of annotation formats: each recognises its format and returns the lists of COCO."""

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
