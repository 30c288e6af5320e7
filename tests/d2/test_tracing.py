"""Traces made with Detectron2's ``TracingAdapter`` work for images of every size, as for its own
RetinaNet."""

from __future__ import annotations

import pytest
import torch
from detectron2.export import TracingAdapter
from detectron2.modeling import build_model
from torch.testing import assert_close

from retina_plugin.d2 import get_cfg
from tests.modeling.test_inference import scattered
from tests.models import COMPACT


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
def test_a_trace_works_for_other_sizes() -> None:
    cfg = get_cfg()
    for key, value in {**COMPACT, "MODEL.RETINANET.SCORE_THRESH_TEST": 0.02}.items():
        cfg.merge_from_list([key, value])
    model = scattered(build_model(cfg)).eval()
    small, large = (torch.randint(0, 256, (3, *shape)).float() for shape in ((64, 96), (130, 200)))
    adapter = TracingAdapter(model, [{"image": small}])
    traced = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)
    for image in (small, large):
        with torch.no_grad():
            expected = model([{"image": image}])[0]["instances"]
        found = adapter.outputs_schema(traced(image))[0]["instances"]
        assert len(expected) > 10
        assert expected.pred_boxes.tensor.max() > image.shape[-1] - 1  # some are clipped
        assert tuple(found.image_size) == expected.image_size
        assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
        assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-4)
        assert_close(found.pred_classes, expected.pred_classes)
