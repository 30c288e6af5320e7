"""Preprocessing: convert images of any size to the network's input.

Axes: N images, H, W.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retina_plugin.layers.tracing import is_jit_tracing

Size = tuple[int, int]  # height, width


class Preprocessor(nn.Module):
    """Normalises images and pads them to a batch. It can also resize images from files."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str,
        size_divisibility: int,
        min_size: int,
        max_size: int,
    ) -> None:
        """
        Args:
            pixel_mean, pixel_std: mean and standard deviation of each channel, for pixel values in
                0..255, in the order of ``input_format``.
            input_format: "BGR" or "RGB", the channel order that the backbone expects.
            size_divisibility: divisor of the height and width of a batch; 0 allows any size.
            min_size, max_size: see :func:`resized_shape`.
        """
        super().__init__()
        self.input_format, self.size_divisibility = input_format, size_divisibility
        self.min_size, self.max_size = min_size, max_size
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            constants = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, constants, persistent=False)

    def forward(self, images: Sequence[Tensor]) -> tuple[Tensor, list[Size]]:
        """Normalise images and pad them to a batch, on the right and at the bottom.

        Args:
            images: N tensors (3, H, W), 0..255, with channels in the order of ``input_format``; the
                sizes may differ.

        Returns:
            The batch (N, 3, H', W'), and (H, W) of each image.
        """
        sizes = sizes_of(images)
        shape = (len(images), len(self.pixel_mean), *padded_size(sizes, self.size_divisibility))
        batch = torch.zeros(shape, dtype=self.pixel_mean.dtype, device=self.pixel_mean.device)
        batch = batch.to(memory_format=torch.channels_last)
        for index, (image, (height, width)) in enumerate(zip(images, sizes, strict=True)):
            pixels = image.to(batch.device)
            batch[index, :, :height, :width] = (pixels - self.pixel_mean) / self.pixel_std
        return batch, sizes

    def from_file(self, image: Tensor) -> Tensor:
        """Reorder the channels of an RGB image (3, H, W) and resize it, for :meth:`forward`."""
        return resize(self._ordered(image), self.min_size, self.max_size)

    def resize_to(self, image: Tensor, size: Size) -> Tensor:
        """Reorder the channels of an RGB image (3, H, W) and resize it to ``size``, for
        :meth:`forward`."""
        return resize_to(self._ordered(image), size)

    def _ordered(self, image: Tensor) -> Tensor:
        return image.flip(0) if self.input_format == "BGR" else image


def sizes_of(images: Sequence[Tensor]) -> list[Size]:
    """Return (height, width) of each image (3, H, W): ints, or tensors in ``torch.jit.trace``."""
    return [(image.shape[-2], image.shape[-1]) for image in images]


def padded_size(sizes: Sequence[Size], divisor: int) -> Size:
    """Return the smallest (height, width) that contains all ``sizes`` and is a multiple of
    ``divisor``; a divisor of 0 counts as 1."""
    divisor = max(divisor, 1)
    height, width = (-(-max(side) // divisor) * divisor for side in zip(*sizes, strict=True))
    return height, width


def group_by_padded_size(sizes: Sequence[Size], divisor: int) -> list[list[int]]:
    """Group the indices of the images that have the same padded size.

    If a group is a batch, no image is padded further than in a batch of one image. In
    ``torch.jit.trace``, each image is a separate group, because later calls have other sizes.
    """
    groups: dict[Any, list[int]] = {}
    for index, size in enumerate(sizes):
        key = index if is_jit_tracing() else padded_size([size], divisor)
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def resized_shape(height: int, width: int, min_size: int, max_size: int) -> Size:
    """Return (height, width) after resizing, as in Detectron2.

    The shorter side becomes ``min_size``. If the longer side would then be above ``max_size``, it
    becomes ``max_size`` instead. A ``min_size`` of 0 keeps the size.
    """
    if min_size == 0:
        return height, width
    scale = min_size / min(height, width)
    shorter, longer = float(min_size), max(height, width) * scale
    # Two multiplications, as in Detectron2: a single one can round to another pixel.
    if longer > max_size:
        shorter, longer = shorter * (max_size / longer), longer * (max_size / longer)
    # at least 1 pixel, for images such as 3 x 60000
    sides = max(int(shorter + 0.5), 1), max(int(longer + 0.5), 1)
    return sides if height <= width else sides[::-1]


def resize(image: Tensor, min_size: int, max_size: int) -> Tensor:
    """Resize (3, H, W) to :func:`resized_shape`, bilinearly and with antialiasing.

    The result is a float tensor, or ``image`` itself if the size does not change.

    Raises:
        RuntimeError: in ``torch.jit.trace``, which would record the size of the example image for
            all images.
    """
    if min_size and is_jit_tracing():
        raise RuntimeError(
            "torch.jit.trace cannot record predict() of a model that resizes images: it would use "
            "the size of the example for all images. Resize before the traced module with "
            "model.preprocessor.from_file(image), and trace batch, sizes = "
            "model.preprocess([image]) and model(batch, sizes)."
        )
    height, width = image.shape[-2:]
    return resize_to(image, resized_shape(height, width, min_size, max_size))


def resize_to(image: Tensor, shape: Size) -> Tensor:
    """Resize (3, H, W) to (height, width); see :func:`resize`."""
    if shape == tuple(image.shape[-2:]):
        return image
    return F.interpolate(
        image[None].float(), size=shape, mode="bilinear", antialias=True, align_corners=False
    )[0]
