"""When a file counts as equal to the model."""

from __future__ import annotations

import torch

from retina_plugin.export.compare import detection_difference, output_difference
from retina_plugin.modeling.structures import Detections
from tests.export.models import tiny_model


def detections(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    """Detections of rows (x0, y0, x1, y1, score, label)."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return {"boxes": table[:, :4], "scores": table[:, 4], "labels": table[:, 5].long()}


A, B = (0.0, 0.0, 10.0, 10.0, 0.9, 0), (50.0, 50.0, 60.0, 60.0, 0.5, 1)


def difference(found: Detections, expected: Detections) -> str:
    model, _ = tiny_model()  # the score threshold is 0.02, that of NMS 0.5
    return detection_difference(found, expected, model.postprocessor)


def test_equal_detections() -> None:
    assert difference(detections(A, B), detections(B, A)) == ""  # in any order
    assert difference(detections(), detections()) == ""
    moved = (0.05, 0.0, 10.0, 10.0, 0.90005, 0)
    assert difference(detections(moved), detections(A)) == ""


def test_different_detections() -> None:
    assert "the model has one of class 1 with score 0.5000 at (50.0" in difference(
        detections(A), detections(A, B)
    )
    assert "the file has one of class 1" in difference(detections(A, B), detections(A))
    for moved in ((0.2, *A[1:]), (*A[:4], 0.8998, 0), (*A[:5], 2)):
        assert difference(detections(moved), detections(A))


def test_rounding_decides_at_the_thresholds() -> None:
    weak = (50.0, 50.0, 60.0, 60.0, 0.02005, 1)
    assert difference(detections(A), detections(A, weak)) == ""
    half = (0.0, 0.0, 10.0, 20.0, 0.8, 0)  # IoU 0.5 with A
    assert difference(detections(A), detections(A, half)) == ""


def test_outputs_of_networks() -> None:
    model, _ = tiny_model()
    _, anchors = model.predict_dense(torch.zeros(1, 3, 64, 64))
    count = len(anchors.boxes)
    expected = {"boxes": torch.zeros(2, count, 4), "scores": torch.zeros(2, count, 3)}
    scores = expected["scores"].clone()
    scores[1, 5, 2] = 0.5
    boxes = expected["boxes"].clone()
    boxes[0, 0, 0] = 0.3

    def compare(**changes: torch.Tensor) -> str:
        return output_difference(model, "boxes", {**expected, **changes}, expected, anchors)

    assert compare() == ""
    assert compare(scores=scores) == (
        "scores: the largest difference is 0.5, in image 2 of the batch; at most 0.0001 is allowed"
    )
    assert "boxes: the largest difference is 0.3 pixels, in image 1" in compare(boxes=boxes)
    assert "NaN" in compare(scores=scores * torch.nan)
    assert "shape (2, 3, 3) instead of" in compare(scores=scores[:, :3])
