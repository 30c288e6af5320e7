"""The description of the machine for which a run is planned."""

from __future__ import annotations

import pytest
import torch

from retina_plugin.engine.plan.machine import this_machine


@pytest.mark.parametrize(
    ("device", "gpu"), [("cuda", "GPU cuda"), ("cuda:1", "GPU cuda:1"), ("cpu", "")]
)
def test_a_gpu_counts_only_if_the_run_uses_it(
    monkeypatch: pytest.MonkeyPatch, device: str, gpu: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * 2**30, 4 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: f"GPU {name}")
    machine = this_machine(device)
    assert machine.gpu == gpu
    assert (machine.memory == 3 * 2**30) == bool(gpu)
    assert machine.cores >= 1
