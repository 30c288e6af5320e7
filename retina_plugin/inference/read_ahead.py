"""Read files in threads while earlier ones are processed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")

THREADS = 4


def read_ahead(
    read: Callable[[Item], Value], items: Sequence[Item], *, ahead: int = 8
) -> Iterator[tuple[Item, Future[Value]]]:
    """Yield each item and the future of ``read(item)``, in order.

    Args:
        read: called in threads.
        items: may be empty.
        ahead: the largest number of results that wait.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[tuple[Item, Future[Value]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(read, item)))
                if len(waiting) > ahead:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for _, future in waiting:
                future.cancel()
