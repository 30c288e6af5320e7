"""Cut views out of an image for evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from retina_plugin.data.transforms.resize import resize_image
from retina_plugin.modeling.views import View


class ViewCutter:
    """Cuts views out of an image and resizes them with Pillow, like training images.

    Each view is cut when it is needed, because all views of a large image together need much more
    memory than the image.
    """

    def __init__(self, image: np.ndarray, *, to_tensor: Callable[[np.ndarray], Tensor]) -> None:
        """
        Args:
            image: (H, W, 3) uint8 RGB.
            to_tensor: converts such an array to a tensor (3, H, W).
        """
        # a tensor, because worker processes pass it through shared memory
        self._image = torch.from_numpy(np.require(image, requirements=["C", "W"]))
        self._to_tensor = to_tensor

    def __call__(self, view: View) -> Tensor:
        """Return a view (3, height, width) uint8."""
        top, left, height, width = view.window
        pixels = self._image.numpy()[top : top + height, left : left + width]
        return view.flip(self._to_tensor(resize_image(pixels, view.size)))
