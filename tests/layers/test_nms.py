"""Who is blamed when non-maximum suppression fails: torchvision only where it is at fault."""

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
        pytest.param(OTHER_TORCH, "import", "nms does not exist", id="of another torch"),
        pytest.param(
            NO_KERNEL,
            "call",
            r"has no NMS for cpu: Could not "
            r"run",
            id="built without this device",
        ),
    ],
)
def test_torchvision_is_blamed(
    monkeypatch: pytest.MonkeyPatch, error: Exception, when: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.ops", Failing(error, when=when))
    with pytest.raises(
        ImportError, match=f"torchvision's NMS cannot be used .*{words}.* of one release"
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
def test_other_errors_keep_their_words(
    monkeypatch: pytest.MonkeyPatch, error: Exception, when: str
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.ops", Failing(error, when=when))
    with pytest.raises(type(error)) as raised:
        batched_nms(*BOXES, 0.5)
    assert raised.value is error
