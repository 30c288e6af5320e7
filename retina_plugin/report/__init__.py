"""What people look at: boxes on images, truth beside detections, the table at the end."""

from retina_plugin.report.draw import draw_boxes, enlarge
from retina_plugin.report.finish import finish, training_picture
from retina_plugin.report.grid import prediction_grid, results_by_image, side_by_side, write_picture

__all__ = [
    "draw_boxes",
    "enlarge",
    "finish",
    "prediction_grid",
    "results_by_image",
    "side_by_side",
    "training_picture",
    "write_picture",
]
