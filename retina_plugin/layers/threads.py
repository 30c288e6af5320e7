"""Run a function on many items in parallel threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def run_in_threads(
    function: Callable[[T], None], items: Sequence[T], *, threads: int | None = None
) -> None:
    """Call ``function(item)`` for every item, without gradients, in parallel threads.

    Torch's own threads synchronise after every operation. With small tensors on a busy machine,
    for example beside data loader workers, this takes longer than the operations. These threads
    process whole items, in any order, and synchronise once at the end.

    Args:
        function: must write its results to memory that it uses for this item only.
        items: the slowest should come first, so that all threads finish at about the same time.
        threads: number of threads; None for the number that torch uses.
    """
    queue = iter(items)  # shared by the threads; each takes the next item when it is free
    inference = torch.is_inference_mode_enabled()

    def worker() -> None:
        with torch.inference_mode(inference), torch.no_grad():  # both are set per thread
            for item in queue:
                function(item)

    torch_threads = torch.get_num_threads()
    threads = min(torch_threads if threads is None else threads, len(items))
    if threads <= 1:
        return worker()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for finished in [pool.submit(worker) for _ in range(threads)]:
                finished.result()
    finally:
        # The initializer changes the number for all threads that are started later.
        torch.set_num_threads(torch_threads)
