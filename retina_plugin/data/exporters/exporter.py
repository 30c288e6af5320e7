"""The interface of exporters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from retina_plugin.data.dataset import Dataset
from retina_plugin.data.exporters.image_copies import ImageCopies


class Exporter(Protocol):
    """Writes data sets in one format. A new one is a file with a function, and an entry in
    :data:`retina_plugin.data.exporters.EXPORTERS`."""

    def __call__(self, datasets: Mapping[str, Dataset], copies: ImageCopies) -> list[str]:
        """Write data sets into a new folder.

        Args:
            datasets: by split, with the same classes; "" for a data set without splits.
            copies: adds images to the folder, ``copies.folder``.

        Returns:
            Notes on what the format cannot hold, with counts.

        Raises:
            DiskError: a file cannot be written.
        """
        ...
