"""``torch.jit.trace``: traces work for images of every size, or tracing is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from retina_plugin.modeling.retinanet import RetinaNet
from tests.modeling.test_inference import scattered
from tests.models import compact_model

pytestmark = pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
Detect = Callable[[RetinaNet, Tensor], dict[str, Tensor]]


class Traced(nn.Module):
    """One image -> its detections."""

    def __init__(self, model: RetinaNet, detect: Detect) -> None:
        super().__init__()
        self.model, self.detect = model, detect

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.detect(self.model, image)
        return found["boxes"], found["scores"], found["labels"]


def predict(model: RetinaNet, image: Tensor) -> dict[str, Tensor]:
    return model.predict([image])[0]


def in_parts(model: RetinaNet, image: Tensor) -> dict[str, Tensor]:
    return model(*model.preprocess([image]))[0]


def image(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width)).float()


def trace(module: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    with torch.no_grad():
        return torch.jit.trace(module, example, check_trace=False)


def test_predict_that_resizes_is_refused() -> None:
    model = compact_model(INPUT__MIN_SIZE_TEST=64).eval()
    with pytest.raises(RuntimeError, match=r"cannot record predict.*Resize before .*from_file"):
        trace(Traced(model, predict), image(64, 96))


@pytest.mark.slow
@pytest.mark.parametrize("detect", [in_parts, predict])
def test_other_sizes(detect: Detect) -> None:
    """Without resizing, ``predict`` can be traced too."""
    changes = {"INPUT__MIN_SIZE_TEST": 0, "MODEL__RETINANET__SCORE_THRESH_TEST": 0.02}
    module = Traced(scattered(compact_model(**changes)).eval(), detect)
    traced = trace(module, image(64, 96))
    other = image(130, 200)
    with torch.no_grad():
        found, expected = traced(other), module(other)
    assert len(expected[0]) > 10
    assert_close(found, expected, rtol=1e-4, atol=1e-3)
