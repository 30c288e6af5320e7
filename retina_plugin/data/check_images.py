"""Read the headers of all images before a run, so that a file that cannot be used is found before
training and not after it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.headers import Header, read_header
from retina_plugin.data.images import require_channels_and_size, require_size

PROGRESS_DELAY = 2  # progress is shown if it takes longer
THREADS = min(16, 4 * (os.cpu_count() or 1))  # they wait for disks and networks


def check_images(
    records: Sequence[Mapping[str, Any]], *, max_pixels: int, show: bool = True
) -> list[Header]:
    """Read the header of each record's file, and compare it with the annotations and with what can
    be read.

    Pixels are not decoded: a file that is cut off after its header is found when it is used.

    Args:
        records: "file_name", and "height" and "width" if the annotations have them; may be empty.
        max_pixels: see :func:`retina_plugin.data.read_image`.
        show: progress on standard error.

    Returns:
        A header for each record.

    Raises:
        DatasetError: how many files cannot be used, and the reasons of the first three.
    """

    def check(record: Mapping[str, Any]) -> Header | DatasetError:
        try:
            header = read_header(record["file_name"])
            require_channels_and_size(
                header.path, header.pixels, header.width, header.height, max_pixels
            )
            require_size(record, width=header.width, height=header.height)
        except DatasetError as error:
            return error
        return header

    bar = {"total": len(records), "desc": "image headers", "unit": "file", "leave": False}
    pool = ThreadPoolExecutor(THREADS)
    try:
        found = list(tqdm(pool.map(check, records), delay=PROGRESS_DELAY, disable=not show, **bar))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, too
    problems = [str(entry) for entry in found if isinstance(entry, DatasetError)]
    if problems:
        more = f" And {len(problems) - 3} more." if len(problems) > 3 else ""
        raise DatasetError(
            f"{len(problems)} of {len(records)} images cannot be used: "
            f"{' '.join(problems[:3])}{more}"
        )
    return found
