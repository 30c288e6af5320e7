"""Exporters of annotation formats. Each writes data sets in one format."""

from retina_plugin.data.exporters.coco import write_coco
from retina_plugin.data.exporters.convert import EXPORTERS, convert
from retina_plugin.data.exporters.voc import write_voc
from retina_plugin.data.exporters.yolo import write_yolo

__all__ = ["EXPORTERS", "convert", "write_coco", "write_voc", "write_yolo"]
