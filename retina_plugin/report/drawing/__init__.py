"""Draw boxes, labels and legends on images."""

from retina_plugin.report.drawing.boxes import Corners
from retina_plugin.report.drawing.draw import draw_boxes, draw_with_legend
from retina_plugin.report.drawing.labels import LABEL_MODES, LabelMode
from retina_plugin.report.drawing.legend import legend
from retina_plugin.report.drawing.palette import PALETTE, class_colour, class_style
from retina_plugin.report.drawing.resize import resize_for_display

__all__ = [
    "LABEL_MODES",
    "PALETTE",
    "Corners",
    "LabelMode",
    "class_colour",
    "class_style",
    "draw_boxes",
    "draw_with_legend",
    "legend",
    "resize_for_display",
]
