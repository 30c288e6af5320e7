"""The interface of exporters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from retina_plugin.data.dataset import Dataset
from retina_plugin.data.exporters.image_copies import ImageCopies


class Exporter(Protocol):
    """Writes data sets in one format. To add a format, write such a function and add it to
    :data:`retina_plugin.data.exporters.EXPORTERS`."""

    def __call__(self, datasets: Mapping[str, Dataset], copies: ImageCopies) -> list[str]:
        """Write data sets into a new folder.

        Args:
            datasets: by split, with the same classes; "" for a data set without splits.
            copies: adds images to the folder, ``copies.folder``.

        Returns:
            Notes, with counts, about information that the format cannot store.

        Raises:
            DiskError: a file cannot be written.
        """
        ...
