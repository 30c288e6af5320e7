"""Read the headers of many image files, in threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.headers import Header, read_header

PROGRESS_DELAY = 2  # seconds after which the progress bar appears
THREADS = min(
    16, 4 * (os.cpu_count() or 1)
)  # more than CPUs: they mostly wait for disks and networks

Item = TypeVar("Item")
Found = TypeVar("Found")


def read_headers(paths: Sequence[str]) -> list[Header | DatasetError]:
    """Return the header of each file, or the error of a file that cannot be read."""

    def header_or_error(path: str) -> Header | DatasetError:
        try:
            return read_header(path)
        except DatasetError as error:
            return error

    return in_threads(header_or_error, paths, description="image headers")


def in_threads(
    function: Callable[[Item], Found],
    items: Sequence[Item],
    *,
    description: str,
    threads: int = THREADS,
    show: bool = True,
) -> list[Found]:
    """Call a function that reads an image file on each item.

    Args:
        function: called with each item.
        items: may be empty.
        description: text beside the progress bar.
        threads: number of threads.
        show: whether to show a progress bar on standard error.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        bar = tqdm(
            pool.map(function, items),
            desc=description,
            total=len(items),
            unit="file",
            leave=False,
            delay=PROGRESS_DELAY,
            disable=not show,
        )
        return list(bar)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the remaining files
