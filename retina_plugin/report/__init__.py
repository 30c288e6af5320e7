"""What people look at: boxes on images, ground truth beside detections, the table at the end."""

from retina_plugin.evaluation.coverage import how_matched, matched_shares
from retina_plugin.evaluation.reasons import beyond_limit
from retina_plugin.report.draw import draw_boxes, fit
from retina_plugin.report.grid import prediction_grid, results_by_image, side_by_side, write_picture
from retina_plugin.report.overview import overview
from retina_plugin.report.results import report_results
from retina_plugin.report.training import training_picture

__all__ = [
    "beyond_limit",
    "draw_boxes",
    "fit",
    "how_matched",
    "matched_shares",
    "overview",
    "prediction_grid",
    "report_results",
    "results_by_image",
    "side_by_side",
    "training_picture",
    "write_picture",
]
