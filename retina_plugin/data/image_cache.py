"""Keep decoded images in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np


class ImageCache:
    """A least-recently-used cache of decoded images by index.

    It only saves time: samples do not depend on the limit. Cached images are read-only, so a
    transform that writes into its input is an error, and does not change later samples.
    """

    def __init__(self, *, megabytes: float) -> None:
        """
        Args:
            megabytes: the largest size of all images together, in 10^6 bytes; 0 for no cache.
        """
        self.limit, self.size = int(megabytes * 1e6), 0
        self._images: OrderedDict[int, np.ndarray] = OrderedDict()

    def get(self, index: int, read: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the image of an index; ``read`` decodes it if it is not in the cache."""
        if index in self._images:
            self._images.move_to_end(index)
            return self._images[index]
        image = read()
        if image.nbytes <= self.limit:
            image.flags.writeable = False
            self._images[index] = image
            self.size += image.nbytes
            while self.size > self.limit:
                self.size -= self._images.popitem(last=False)[1].nbytes
        return image
