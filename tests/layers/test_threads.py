"""Work on threads: every piece runs once, on the requested threads, and torch's settings are
restored."""

from __future__ import annotations

import threading

import pytest
import torch

from retina_plugin.layers.threads import run_in_threads


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_piece_once(threads: int, count: int) -> None:
    done = []
    run_in_threads(done.append, list(range(count)), threads=threads)
    assert sorted(done) == list(range(count))


def test_pieces_run_in_parallel_without_torchs_threads_and_gradients() -> None:
    meeting, seen = threading.Barrier(2, timeout=60), []

    def work(_: int) -> None:
        meeting.wait()  # both pieces must run at the same time
        seen.append((threading.get_ident(), torch.get_num_threads(), torch.is_grad_enabled()))

    run_in_threads(work, [0, 1], threads=2)
    (first, *settings), (second, *others) = seen
    assert first != second
    assert settings == others == [1, False]


def test_torch_keeps_its_number_of_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run_in_threads(lambda piece: None, [0, 1])
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert torch.get_num_threads() == 3
        assert later == [3]
    finally:
        torch.set_num_threads(before)


def test_an_error_reaches_the_caller() -> None:
    def work(piece: int) -> None:
        raise ValueError(f"piece {piece}")

    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="piece"):
        run_in_threads(work, [0, 1, 2], threads=2)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_results_of_inference_mode_can_be_written(threads: int) -> None:
    with torch.inference_mode():
        result = torch.zeros(4)
        run_in_threads(lambda i: result[i].fill_(i), [0, 1, 2, 3], threads=threads)
        assert result.tolist() == [0, 1, 2, 3]
