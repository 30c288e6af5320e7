"""Groups of non-maximum suppression, and error messages: torchvision is named only if it is the
cause."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from retina_plugin.layers.nms import batched_nms

BOXES = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.ones(1), torch.zeros(1, dtype=torch.int64)
OTHER_TORCH = RuntimeError("operator torchvision::nms does not exist")
NO_KERNEL = NotImplementedError(
    "Could not run 'torchvision::nms' with arguments from the 'CUDA' backend."
)
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


@pytest.mark.parametrize(
    ("boxes", "in_one_group"),
    [
        pytest.param([(0, 0, 10, 10), (1, 0, 11, 10)], [0], id="nearly equal"),
        # an offset of 11, the largest coordinate, would put one box onto the other
        pytest.param([(0, 0, 10, 10), (-11, -11, -1, -1)], [0, 1], id="left of and above 0"),
        pytest.param([(-30, -30, -20, -20), (-41, -41, -31, -31)], [0, 1], id="all beyond 0"),
    ],
)
def test_boxes_of_other_groups_do_not_suppress(boxes: list, in_one_group: list[int]) -> None:
    boxes, scores = torch.tensor(boxes, dtype=torch.float32), torch.tensor([0.9, 0.8])
    assert batched_nms(boxes, scores, torch.tensor([2, 2]), 0.5).tolist() == in_one_group
    for groups in ([0, 1], [1, 0], [7, 3]):
        assert batched_nms(boxes, scores, torch.tensor(groups), 0.5).tolist() == [0, 1]


class Failing(ModuleType):
    """A ``torchvision.ops`` whose import, or whose NMS, raises ``error``."""

    def __init__(self, error: Exception, *, when: str) -> None:
        super().__init__("torchvision.ops")
        self.error, self.when = error, when

    def __getattr__(self, name: str) -> object:
        if name != "nms":
            raise AttributeError(name)
        if self.when == "import":
            raise self.error
        return self.call

    def call(self, *args: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "when", "words"),
    [
        pytest.param(
            ImportError("No module named 'torchvision'"), "import", "No module named", id="missing"
        ),
        pytest.param(OTHER_TORCH, "import", "nms does not exist", id="built for another torch"),
        pytest.param(
            NO_KERNEL,
            "call",
            r"has no NMS for cpu: Could not "
            r"run",
            id="built without this device",
        ),
    ],
)
def test_torchvision_is_named_as_the_cause(
    monkeypatch: pytest.MonkeyPatch, error: Exception, when: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.ops", Failing(error, when=when))
    with pytest.raises(
        ImportError, match=f"torchvision's NMS cannot be used .*{words}.* of the same release"
    ):
        batched_nms(*BOXES, 0.5)


@pytest.mark.parametrize(
    ("error", "when"),
    [
        pytest.param(
            RuntimeError("can't start new thread"),
            "import",
            id="another error while it is imported",
        ),
        pytest.param(NO_MEMORY, "call", id="no memory"),
        pytest.param(
            NotImplementedError("Could not run 'aten::sort' with arguments"),
            "call",
            id="another operator",
        ),
    ],
)
def test_other_errors_keep_their_message(
    monkeypatch: pytest.MonkeyPatch, error: Exception, when: str
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.ops", Failing(error, when=when))
    with pytest.raises(type(error)) as raised:
        batched_nms(*BOXES, 0.5)
    assert raised.value is error
