"""Suppression inside an ONNX file, with ONNX's own NonMaxSuppression.

Axes: N images, C candidates, K classes, G groups within which boxes suppress each other.
"""

from __future__ import annotations

from typing import Any

from retina_plugin.export.errors import ExportError
from retina_plugin.modeling.postprocessing import PostProcessor
from retina_plugin.modeling.suppressors import NMS, ClassAgnosticNMS

# Candidates with the score 0 are places without a candidate. Each candidate has its score in the
# row of its group and 0 in the other rows, so the operator keeps it at most once.
GRAPH = """
<ir_version: 8, opset_import: ["" : {opset}]>
suppress (float[N, {candidates}, 4] boxes, float[N, {candidates}] scores,
          int64[N, {candidates}] labels)
  => (int32[N, 1] num_detections, float[N, {most}, 4] detection_boxes,
      float[N, {most}] detection_scores, int32[N, {most}] detection_classes)
{{
  zero = Constant <value_float = 0.0> ()
  no_class = Constant <value_int = -1> ()
  axis_1 = Constant <value_ints = [1]> ()
  axis_2 = Constant <value_ints = [2]> ()
  image_and_box = Constant <value_ints = [0, 2]> ()
  repeats = Constant <value_ints = [1, 1, 4]> ()
  class_factor = Constant <value_int = {class_factor}> ()
  groups = Constant <value = int64[1, {num_groups}, 1] {{ {groups} }}> ()
  most = Constant <value_ints = [{most}]> ()
  threshold = Constant <value_floats = [{threshold}]> ()
  no_score = Constant <value_floats = [0.0]> ()

  group = Mul (labels, class_factor)
  group_column = Unsqueeze (group, axis_1)
  is_in_group = Equal (group_column, groups)
  score_column = Unsqueeze (scores, axis_1)
  group_scores = Where (is_in_group, score_column, zero)
  kept = NonMaxSuppression (boxes, group_scores, most, threshold, no_score)

  kept_places = Gather <axis = 1> (kept, image_and_box)
  shape = Shape (scores)
  nothing = ConstantOfShape <value = float[1] {{ 0.0 }}> (shape)
  number = Shape <start = 0, end = 1> (kept)
  ones = ConstantOfShape <value = float[1] {{ 1.0 }}> (number)
  mask = ScatterND (nothing, kept_places, ones)
  kept_scores = Mul (scores, mask)

  detection_scores, order = TopK <axis = 1> (kept_scores, most)
  is_found = Greater (detection_scores, zero)
  found = Cast <to = 7> (is_found)
  count = ReduceSum <keepdims = 1> (found, axis_1)
  num_detections = Cast <to = 6> (count)
  order_column = Unsqueeze (order, axis_2)
  order_of_sides = Expand (order_column, repeats)
  best_boxes = GatherElements <axis = 1> (boxes, order_of_sides)
  found_column = Unsqueeze (found, axis_2)
  found_factor = Cast <to = 1> (found_column)
  detection_boxes = Mul (best_boxes, found_factor)
  best_labels = GatherElements <axis = 1> (labels, order)
  classes = Where (is_found, best_labels, no_class)
  detection_classes = Cast <to = 6> (classes)
}}
"""


def require_nms(postprocessor: PostProcessor) -> None:
    """Check that ONNX's operator can replace the suppressor.

    Raises:
        ExportError: it cannot.
    """
    suppressor = postprocessor.suppressor
    if type(suppressor) not in (NMS, ClassAgnosticNMS):
        raise ExportError(
            f"--outputs detections: the suppressor {type(suppressor).__name__} of "
            "MODEL.RETINA_PLUGIN.SUPPRESSOR.NAME cannot be exported. Set it to NMS or "
            "ClassAgnosticNMS, or use --outputs boxes and suppress outside the file"
        )


def suppression_graph(
    postprocessor: PostProcessor, *, num_classes: int, candidates: int, opset: int
) -> Any:
    """Return the ONNX model that selects the detections among C candidates.

    Args:
        postprocessor: its suppressor must pass :func:`require_nms`.
        num_classes: K.
        candidates: C.
        opset: version of ONNX's operators.
    """
    import onnx.parser

    suppressor: Any = postprocessor.suppressor
    by_class = isinstance(suppressor, NMS)
    num_groups = num_classes if by_class else 1
    text = GRAPH.format(
        opset=opset,
        candidates=candidates,
        most=min(postprocessor.max_detections, candidates),
        class_factor=int(by_class),
        num_groups=num_groups,
        groups=", ".join(map(str, range(num_groups))),
        threshold=float(suppressor.threshold),
    )
    return onnx.parser.parse_model(text)
