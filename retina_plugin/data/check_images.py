"""Check the headers of all images before a run, so that unusable files are found before
training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retina_plugin.data.cut_off import require_complete_file
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.headers import Header, read_header
from retina_plugin.data.images import require_channels_and_size, require_size
from retina_plugin.data.read_headers import in_threads


def check_images(
    records: Sequence[Mapping[str, Any]], *, max_pixels: int, show: bool = True
) -> list[Header]:
    """Read the header of each record's file; check its size, channels and pixel format.

    JPEG and PNG files that were cut off are found by their missing end. The pixels of other files
    are not decoded.

    Args:
        records: records with "file_name", and "height" and "width" if the annotations have them;
            may be empty.
        max_pixels: see :func:`retina_plugin.data.read_image`.
        show: whether to show a progress bar on standard error.

    Returns:
        A header for each record.

    Raises:
        DatasetError: files cannot be used; the message counts them and shows the first three
            reasons.
    """

    def check(record: Mapping[str, Any]) -> Header | DatasetError:
        try:
            header = read_header(record["file_name"])
            require_channels_and_size(
                header.path, header.pixels, header.width, header.height, max_pixels
            )
            require_size(record, width=header.width, height=header.height)
            require_complete_file(header, max_pixels=max_pixels)
        except DatasetError as error:
            return error
        return header

    results = in_threads(check, records, description="image headers", show=show)
    problems = [str(result) for result in results if isinstance(result, DatasetError)]
    if problems:
        more = f" And {len(problems) - 3} more." if len(problems) > 3 else ""
        raise DatasetError(
            f"{len(problems)} of {len(records)} images cannot be used: "
            f"{' '.join(problems[:3])}{more} To write a copy of the data without "
            "them: retina data check DATA --fix DIR"
        )
    return [result for result in results if isinstance(result, Header)]
