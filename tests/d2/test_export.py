"""What Detectron2's own export tests check, for this project's meta-architecture: tracing with its
``TracingAdapter``, saving and loading a trace, flattening of results; scripting is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.export import TracingAdapter, dump_torchscript_IR, scripting_with_instances
from detectron2.export.flatten import flatten_to_tuple
from detectron2.modeling import build_backbone, build_model
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn
from torch.testing import assert_close

from retina_plugin.d2 import get_cfg
from tests.modeling.test_inference import scattered
from tests.models import COMPACT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::torch.jit.TracerWarning", "ignore::FutureWarning", "ignore::UserWarning"
    ),
]


def tiny_cfg() -> Any:
    cfg = get_cfg()
    for key, value in {**COMPACT, "MODEL.RETINANET.SCORE_THRESH_TEST": 0.02}.items():
        cfg.merge_from_list([key, value])
    return cfg


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return scattered(build_model(tiny_cfg())).eval()


def image(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width)).float()


def require_equal(found: Instances, expected: Instances) -> None:
    assert len(expected) > 10
    assert tuple(found.image_size) == tuple(expected.image_size)
    assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
    assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-4)
    assert_close(found.pred_classes, expected.pred_classes)


def traced(adapter: TracingAdapter, inputs: tuple[Tensor, ...], folder: Path) -> nn.Module:
    """Trace with these inputs, save the trace, and load it."""
    with torch.no_grad():
        trace = torch.jit.trace(adapter, inputs, check_trace=False)
    torch.jit.save(trace, folder / "model.jit")
    return torch.jit.load(folder / "model.jit")


@pytest.mark.parametrize("with_size", [False, True])
def test_a_loaded_trace_of_smaller_images(
    model: nn.Module, with_size: bool, tmp_path: Path
) -> None:
    """With and without Detectron2's rescaling to "height" and "width"."""

    def infer(network: nn.Module, pixels: Tensor) -> Instances:
        size = {"height": pixels.shape[1], "width": pixels.shape[2]} if with_size else {}
        return network([{"image": pixels, **size}])[0]["instances"]

    large = image(130, 200)
    adapter = TracingAdapter(model, (large,), infer).eval()
    trace = traced(adapter, (image(70, 110),), tmp_path)
    with torch.no_grad():
        expected, found = infer(model, large), adapter.outputs_schema(trace(large))
    require_equal(found, expected)


def test_a_batch_of_two(model: nn.Module, tmp_path: Path) -> None:
    """Also if the two images have different sizes, and others than in the trace."""

    def infer(network: nn.Module, one: Tensor, two: Tensor) -> list[Instances]:
        return [x["instances"] for x in network([{"image": one}, {"image": two}])]

    images = image(130, 200), image(96, 64)
    adapter = TracingAdapter(model, images, infer).eval()
    trace = traced(adapter, (image(64, 64), image(70, 110)), tmp_path)
    with torch.no_grad():
        expected, found = infer(model, *images), adapter.outputs_schema(trace(*images))
    for one, other in zip(found, expected, strict=True):
        require_equal(one, other)


def test_a_trace_of_the_backbone_is_dumped(tmp_path: Path) -> None:
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = build_backbone(tiny_cfg())

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.backbone(x).values())

    with torch.no_grad():
        trace = torch.jit.trace(Maps().eval(), (torch.rand(2, 3, 64, 64),), check_trace=False)
    dump_torchscript_IR(trace, str(tmp_path))
    for name in ("model_ts_code", "model_ts_IR", "model_ts_IR_inlined", "model"):
        assert (tmp_path / f"{name}.txt").stat().st_size > 0


def test_results_are_flattened_and_restored(model: nn.Module) -> None:
    with torch.no_grad():
        results = model([{"image": image(64, 96)}])
    flat, schema = flatten_to_tuple(results)
    assert all(isinstance(x, Tensor) for x in flat)
    require_equal(schema(flat)[0]["instances"], results[0]["instances"])
    _, again = flatten_to_tuple(schema(flat))
    assert again == schema


def test_scripting_is_refused(model: nn.Module) -> None:
    """TorchScript's compiler does not support the Python of parts that a config chooses."""
    fields = {"pred_boxes": Boxes, "scores": Tensor, "pred_classes": Tensor}
    with pytest.raises((RuntimeError, ValueError), match=r"annotation|supported|script"):
        scripting_with_instances(model, fields)
