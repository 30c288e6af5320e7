"""Suppressors: chosen by key, compared with torchvision, and refused where they cannot work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close
from torchvision import ops

from retina_plugin.config import ConfigError, check_rules
from retina_plugin.modeling.structures import Detections
from retina_plugin.modeling.suppressors import NMS, SUPPRESSORS, ClassAgnosticNMS, SoftNMS
from tests.models import compact_cfg, compact_model

NODE = "MODEL.RETINA_PLUGIN.SUPPRESSOR"


def candidates(number: int) -> Detections:
    corners = torch.rand(number, 2) * 60 - 20
    return {
        "boxes": torch.cat([corners, corners + 10 + torch.rand(number, 2) * 20], dim=1),
        "scores": torch.rand(number).sort(descending=True).values,
        "labels": torch.randint(0, 3, (number,)),
    }


@pytest.mark.parametrize("max_detections", [1, 12, 1000])
def test_nms_is_torchvisions(max_detections: int) -> None:
    images = [candidates(number) for number in (150, 0, 9)]
    found = NMS(threshold=0.4)(images, max_detections=max_detections)
    agnostic = ClassAgnosticNMS(threshold=0.4)(images, max_detections=max_detections)
    for image, by_class, together in zip(images, found, agnostic, strict=True):
        kept = ops.batched_nms(image["boxes"], image["scores"], image["labels"], 0.4)
        kept_together = ops.nms(image["boxes"], image["scores"], 0.4)
        for rows, result in ((kept, by_class), (kept_together, together)):
            expected = {name: x[rows[:max_detections]] for name, x in image.items()}
            assert_close(result, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "labels", "scores"),
    [
        pytest.param("NMS", [0, 1], [0.9, 0.8], id="NMS keeps the other class"),
        pytest.param("ClassAgnosticNMS", [0], [0.9], id="ClassAgnosticNMS removes it"),
        pytest.param(
            "SoftNMS", [0, 1, 0], [0.9, 0.8, 0.7 * 0.4], id="SoftNMS lowers the same class"
        ),
    ],
)
def test_three_boxes(name: str, labels: list[int], scores: list[float]) -> None:
    """IoU 0.6 with the first box: 60 of 100 square pixels. The second box has another class."""
    cfg = compact_cfg(
        MODEL__RETINA_PLUGIN__SUPPRESSOR__NAME=name,
        MODEL__RETINA_PLUGIN__SUPPRESSOR__SoftNMS__METHOD="linear",
    )
    found = SUPPRESSORS.build(cfg)(
        [
            {
                "boxes": torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 6]]),
                "scores": torch.tensor([0.9, 0.8, 0.7]),
                "labels": torch.tensor([0, 1, 0]),
            }
        ],
        max_detections=10,
    )[0]
    assert found["labels"].tolist() == labels
    assert_close(found["scores"], torch.tensor(scores))
    assert set(found) == {"boxes", "scores", "labels"}


@pytest.mark.parametrize("name", ["NMS", "ClassAgnosticNMS", "SoftNMS"])
def test_a_model_detects_with_each(name: str) -> None:
    model = compact_model(
        MODEL__RETINA_PLUGIN__SUPPRESSOR__NAME=name,
        MODEL__RETINANET__SCORE_THRESH_TEST=0.001,
        TEST__DETECTIONS_PER_IMAGE=20,
    )
    for found in model.predict([torch.rand(3, 64, 96) * 255, torch.zeros(3, 40, 40)]):
        assert 0 < len(found["scores"]) <= 20
        assert (found["scores"].diff() <= 0).all()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("METHOD", "cubic", "expected gaussian or linear, found 'cubic'"),
        ("SIGMA", 0.0, "expected above 0 and at most 100, found 0.0"),
        ("MIN_SCORE", 1.0, "expected at least 0 and below 1, found 1.0"),
    ],
)
def test_values_out_of_range(key: str, value: Any, message: str) -> None:
    cfg = compact_cfg()
    cfg.merge_from_list([f"{NODE}.SoftNMS.{key}", value])
    with pytest.raises(ConfigError, match=rf"SUPPRESSOR.SoftNMS.{key}: {message}"):
        check_rules(cfg)


def test_tracing_soft_nms_is_refused() -> None:
    suppressor = SoftNMS(threshold=0.5, method="gaussian", sigma=0.5, min_score=0.0)

    def suppress(boxes: torch.Tensor) -> torch.Tensor:
        image = {"boxes": boxes, "scores": boxes[:, 0], "labels": boxes[:, 0].long()}
        return suppressor([image], max_detections=2)[0]["boxes"]

    with pytest.raises(RuntimeError, match=r"SUPPRESSOR.NAME: .* Trace with NMS"):
        torch.jit.trace(suppress, torch.rand(3, 4))
