"""The average number of positives: by hand, in two processes, without waiting for a GPU, and in the
checkpoint."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing, nn
from torch.testing import assert_close

from retina_plugin.losses import INITIAL, sigmoid_focal_loss, update_normalizer
from tests.models import compact_model
from tests.parts import box_loss


def test_average_by_hand() -> None:
    average = torch.tensor(INITIAL)
    assert_close(update_normalizer(average, torch.tensor(50.0)), torch.tensor(0.9 * 100 + 0.1 * 50))
    # 0 positives count as 1
    assert_close(update_normalizer(average, torch.tensor(0.0)), torch.tensor(0.9 * 95 + 0.1 * 1))


def test_the_count_is_not_modified() -> None:
    count = torch.tensor(0.0)
    update_normalizer(torch.tensor(INITIAL), count)
    assert_close(count, torch.tensor(0.0))


def test_what_it_returns_does_not_change_with_the_next_step() -> None:
    average = torch.tensor(INITIAL)
    first = update_normalizer(average, torch.tensor(50.0))
    update_normalizer(average, torch.tensor(7.0))
    assert_close(first, torch.tensor(95.0))


def test_no_value_is_copied_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """``.item()`` and similar calls make the CPU wait for the GPU."""

    def refuse(*_: object) -> None:
        raise AssertionError("a number was fetched")

    for name in ("item", "tolist", "__float__", "__int__", "__bool__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    update_normalizer(torch.tensor(INITIAL), torch.tensor(50))


def test_in_the_checkpoint() -> None:
    model = compact_model()
    update_normalizer(model.loss_normalizer, torch.tensor(50.0))
    resumed = compact_model()
    resumed.load_state_dict(model.state_dict())
    assert_close(resumed.loss_normalizer, torch.tensor(95.0))


class Head(nn.Module):
    """A model that computes class logits and deltas from two weights and divides the losses as
    RetinaNet does."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.logit = nn.Parameter(torch.randn(8, 3, generator=generator))
        self.delta = nn.Parameter(torch.randn(8, 4, generator=generator))
        self.register_buffer("average", torch.tensor(INITIAL))

    def forward(
        self, features: torch.Tensor, labels: torch.Tensor, boxes: torch.Tensor
    ) -> torch.Tensor:
        positive = (labels >= 0) & (labels < 3)
        class_loss = sigmoid_focal_loss(features @ self.logit, labels, alpha=0.25, gamma=2.0)
        targets = boxes[positive] + 1
        deltas = (features @ self.delta)[positive]
        loss = box_loss("smooth_l1", deltas, boxes[positive], targets, beta=0.1)
        return (class_loss + loss) / update_normalizer(self.average, positive.sum())


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two images of 20 anchors. The second one has many more positives; in the last step the first
    one has none."""
    generator = torch.Generator().manual_seed(step)
    features = torch.randn(2, 20, 8, generator=generator)
    labels = torch.full((2, 20), 3)
    labels[0, : [2, 1, 0][step]] = 1
    labels[1, : [15, 9, 12][step]] = 0
    labels[:, -1] = -1
    return features, labels, torch.tensor([0.0, 0, 10, 10]).expand(2, 20, 4)


def train(module: nn.Module, images: slice) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    for step in range(3):
        optimizer.zero_grad()
        module(*(x[images].flatten(0, 1) for x in batch(step))).backward()
        optimizer.step()


def rank_of_two(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    head = Head()
    train(nn.parallel.DistributedDataParallel(head, broadcast_buffers=False), slice(rank, rank + 1))
    torch.save(head.state_dict(), Path(folder) / f"{rank}.pth")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_equal_one_rank_with_the_joint_batch(tmp_path: Path) -> None:
    """Weights and average are equal after three steps. If each rank counted alone, the gradients of
    the second image would be divided by too much."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(rank_of_two, (port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in (0, 1))
    alone, untrained = Head(), Head()
    train(alone, slice(0, 2))
    assert_close(first, dict(alone.state_dict()), rtol=1e-5, atol=1e-6)
    assert_close(second, first)
    assert (alone.logit - untrained.logit).abs().max() > 1e-3
