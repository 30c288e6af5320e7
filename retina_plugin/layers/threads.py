"""Work in pieces on threads that meet once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def run_in_threads(
    work: Callable[[T], None], pieces: Sequence[T], *, threads: int | None = None
) -> None:
    """Do ``work(piece)`` for every piece, without gradients.

    Torch's own threads wait for each other after every operation, which on a busy machine, beside
    the workers of a data loader, takes longer than operations on small tensors. These take whole
    pieces, in any order, and wait once.

    Args:
        work: writes its results where no other piece does.
        pieces: in order of size, largest first, if they differ.
        threads: how many; None for as many as torch uses.
    """
    queue = iter(pieces)  # shared: whoever is free takes the next
    inference = torch.is_inference_mode_enabled()

    def worker() -> None:
        with torch.inference_mode(inference), torch.no_grad():  # settings of each thread
            for piece in queue:
                work(piece)

    own = torch.get_num_threads()
    threads = min(own if threads is None else threads, len(pieces))
    if threads <= 1:
        return worker()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for finished in [pool.submit(worker) for _ in range(threads)]:
                finished.result()
    finally:
        # this thread has kept it, but torch gives threads to come what was asked for last
        torch.set_num_threads(own)
