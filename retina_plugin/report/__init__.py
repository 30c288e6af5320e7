"""Draw boxes, detections and loss figures, and report the results of a run."""

from retina_plugin.evaluation.coverage import describe_matched, matched_shares
from retina_plugin.evaluation.metric_notes import detection_limit_warnings
from retina_plugin.report.drawing import (
    LABEL_MODES,
    LabelMode,
    draw_boxes,
    draw_with_legend,
    resize_for_display,
)
from retina_plugin.report.ending import report_ending
from retina_plugin.report.grid import prediction_grid, results_by_image, side_by_side, write_image
from retina_plugin.report.overview import overview
from retina_plugin.report.results import report_results
from retina_plugin.report.training import draw_training_image

__all__ = [
    "LABEL_MODES",
    "LabelMode",
    "describe_matched",
    "detection_limit_warnings",
    "draw_boxes",
    "draw_training_image",
    "draw_with_legend",
    "matched_shares",
    "overview",
    "prediction_grid",
    "report_ending",
    "report_results",
    "resize_for_display",
    "results_by_image",
    "side_by_side",
    "write_image",
]
