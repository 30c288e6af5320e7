"""Keep decoded images in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np


class ImageCache:
    """Decoded images by index; the ones used longest ago are dropped first.

    What it returns does not depend on what it holds, so samples are the same with every limit.
    """

    def __init__(self, *, megabytes: float) -> None:
        """
        Args:
            megabytes: the limit of all images together, in 10^6 bytes; 0 keeps none.
        """
        self.limit, self.size = int(megabytes * 1e6), 0
        self._images: OrderedDict[int, np.ndarray] = OrderedDict()

    def get(self, index: int, read: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the image of an index; ``read`` decodes it if it is not held."""
        if index in self._images:
            self._images.move_to_end(index)
            return self._images[index]
        image = read()
        if image.nbytes <= self.limit:
            self._images[index] = image
            self.size += image.nbytes
            while self.size > self.limit:
                self.size -= self._images.popitem(last=False)[1].nbytes
        return image
