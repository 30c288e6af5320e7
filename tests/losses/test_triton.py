"""The Triton kernel compared with the PyTorch implementation: on the CPU in Triton's interpreter,
and on a GPU if there is one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.losses import balanced_cross_entropy, sigmoid_focal_loss, sigmoid_focal_star_loss
from retina_plugin.losses.chunked import chunked_loss, stored_dtype
from retina_plugin.losses.terms import Terms, cross_entropy_terms, focal_star_terms, focal_terms

HAS_TRITON = importlib.util.find_spec("triton") is not None
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
VARIANTS = [
    (cross_entropy_terms, 0.0),
    (focal_terms, 0.0),
    (focal_terms, 0.5),
    (focal_terms, 2.0),
    (focal_star_terms, 2.0),
]


def compare(terms: Terms, gamma: float, dtype: torch.dtype, elementwise: bool, device: str) -> None:
    """Compare both for random and saturated logits, several blocks and a partial block, class
    weights, and rows of every kind."""
    from retina_plugin.losses import triton_focal

    torch.manual_seed(0)
    logits = (torch.randn(301, 7, device=device) * 6).to(dtype)
    logits[:14] = torch.tensor([-200, -30, -1e-3, 0, 1e-3, 30, 200], device=device)
    labels = torch.randint(-1, 8, (301,), device=device)
    labels[:7], labels[7:14] = torch.arange(7), 7
    logits[14], labels[14] = -torch.inf, 7
    positive = torch.linspace(0, 1, 7, device=device)
    arguments = {
        "positive": positive,
        "negative": 1 - positive,
        "gamma": gamma,
        "elementwise": elementwise,
    }
    values, derivatives = triton_focal.triton_loss(terms, logits, labels, **arguments)
    expected_values, expected = chunked_loss(terms, logits, labels, **arguments)
    assert derivatives.dtype == expected.dtype == stored_dtype(logits)
    if elementwise:
        assert_close(values, expected_values, rtol=1e-5, atol=1e-12)
    assert_close(values.sum(), expected_values.sum(), rtol=1e-5, atol=0)
    assert_close(derivatives, expected, rtol=0.01 if dtype == torch.bfloat16 else 1e-5, atol=1e-12)
    assert (derivatives[labels < 0] == 0).all()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRITON, reason="needs Triton")
def test_interpreted(root: Path) -> None:
    """The test uses a new process, because Triton decides on import whether it compiles or
    interprets."""
    code = "from tests.losses.test_triton import compare_all; compare_all('cpu')"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{len(VARIANTS) * len(DTYPES) * 2} compared"


def compare_all(device: str) -> None:
    done = [compare(t, g, d, e, device) for t, g in VARIANTS for d in DTYPES for e in (False, True)]
    print(f"{len(done)} compared")


@pytest.mark.skipif(not (HAS_TRITON and torch.cuda.is_available()), reason="needs a GPU and Triton")
class TestOnGpu:
    @pytest.mark.parametrize(("terms", "gamma"), VARIANTS)
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("elementwise", [False, True])
    def test_compiled(
        self, terms: Terms, gamma: float, dtype: torch.dtype, elementwise: bool
    ) -> None:
        compare(terms, gamma, dtype, elementwise, "cuda")

    @pytest.mark.parametrize(
        "loss", [balanced_cross_entropy, sigmoid_focal_loss, sigmoid_focal_star_loss]
    )
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_losses_and_gradients_are_those_of_the_cpu(self, loss, dtype: torch.dtype) -> None:
        from retina_plugin.losses import triton_focal

        logits, labels = (torch.randn(1000, 80) * 4).to(dtype), torch.randint(-1, 81, (1000,))
        assert triton_focal.can_run(focal_terms, logits.cuda())
        results = []
        for device in ("cuda", "cpu"):
            x = logits.to(device).detach().requires_grad_()
            value = loss(x, labels.to(device), alpha=0.25, gamma=2.0) / 100
            value.backward()
            results.append((value.cpu(), x.grad.cpu()))
        assert_close(*results, rtol=0.01 if dtype != torch.float32 else 1e-5, atol=1e-6)

    def test_nothing_waits_for_the_gpu(self) -> None:
        logits, labels = (
            torch.randn(1000, 80, device="cuda", requires_grad=True),
            torch.randint(-1, 81, (1000,)).cuda(),
        )
        # the first call builds the kernel
        sigmoid_focal_loss(logits, labels, alpha=0.25, gamma=2.0).backward()
        torch.cuda.set_sync_debug_mode("error")
        try:
            sigmoid_focal_loss(logits, labels, alpha=0.25, gamma=2.0).backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not HAS_TRITON, reason="needs Triton")
def test_unsupported_inputs_use_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    from retina_plugin.losses import triton_focal

    monkeypatch.setattr(triton_focal, "_works", lambda device: True)
    assert triton_focal.can_run(focal_terms, torch.zeros(1, 1))
    assert not triton_focal.can_run(focal_terms, torch.zeros(1, 1, dtype=torch.float64))
    assert not triton_focal.can_run(lambda z, gamma: focal_terms(z, gamma), torch.zeros(1, 1))


@pytest.mark.skipif(not HAS_TRITON, reason="needs Triton")
def test_a_triton_that_does_not_work_is_a_warning() -> None:
    """Without the interpreter, Triton has no driver on the CPU."""
    from retina_plugin.losses import triton_focal

    with pytest.warns(
        UserWarning, match="Triton does not work on cpu, losses are computed by PyTorch"
    ):
        assert not triton_focal.can_run(focal_terms, torch.zeros(1, 1))
    triton_focal._works.cache_clear()
