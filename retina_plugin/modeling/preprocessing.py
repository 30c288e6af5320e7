"""From images of any size to the network's input.

Axes: N images, H, W.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Size = tuple[int, int]  # height, width


class Preprocessor(nn.Module):
    """Normalises images and pads them to one size; resizes those that come from a file."""

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
            pixel_mean, pixel_std: for each channel, in 0..255, in the order of ``input_format``.
            input_format: "BGR" or "RGB", the order of channels that the backbone expects.
            size_divisibility: height and width of a batch are multiples of it; 0 for any size.
            min_size, max_size: see :func:`resized_shape`.
        """
        super().__init__()
        self.input_format, self.size_divisibility = input_format, size_divisibility
        self.min_size, self.max_size = min_size, max_size
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            values = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, images: Sequence[Tensor]) -> tuple[Tensor, list[Size]]:
        """Normalise images and pad them, right and below, to one size.

        Args:
            images: N tensors (3, H, W), each of its own size, 0..255, channels in the order of
                ``input_format``.

        Returns:
            The batch (N, 3, H', W') and (H, W) of each image.
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
        """An RGB image (3, H, W) as :meth:`forward` takes it: channels reordered, resized."""
        ordered = image.flip(0) if self.input_format == "BGR" else image
        return resize(ordered, self.min_size, self.max_size)


def sizes_of(images: Sequence[Tensor]) -> list[Size]:
    """(height, width) of each image (3, H, W); numbers, or tensors while a trace is recorded."""
    return [(image.shape[-2], image.shape[-1]) for image in images]


def padded_size(sizes: Sequence[Size], divisor: int) -> Size:
    """The smallest (height, width) that holds images of all ``sizes`` and that ``divisor`` divides;
    0 divides everything."""
    divisor = max(divisor, 1)
    height, width = (-(-max(side) // divisor) * divisor for side in zip(*sizes, strict=True))
    return height, width


def group_by_padded_size(sizes: Sequence[Size], divisor: int) -> list[list[int]]:
    """Indices of images that :func:`padded_size` gives the same size alone, so that no batch pads
    one further.

    While a trace is recorded every image is a group of its own: the images of a later call have
    other sizes.
    """
    groups: dict[Any, list[int]] = {}
    for index, size in enumerate(sizes):
        key = index if torch.jit.is_tracing() else padded_size([size], divisor)
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def resized_shape(height: int, width: int, min_size: int, max_size: int) -> Size:
    """Height and width after resizing as Detectron2 does: shorter side to ``min_size`` unless the
    longer would pass ``max_size``; 0 as ``min_size`` keeps the size."""
    if min_size == 0:
        return height, width
    scale = min_size / min(height, width)
    shorter, longer = float(min_size), max(height, width) * scale
    # scaled a second time, not anew: the two differ by rounding, and by a pixel now and then
    if longer > max_size:
        shorter, longer = shorter * (max_size / longer), longer * (max_size / longer)
    # of 3 x 60000 pixels, nothing would remain
    sides = max(int(shorter + 0.5), 1), max(int(longer + 0.5), 1)
    return sides if height <= width else sides[::-1]


def resize(image: Tensor, min_size: int, max_size: int) -> Tensor:
    """Resize (3, H, W) bilinearly, smoothing when it shrinks, to :func:`resized_shape`.

    Raises:
        RuntimeError: a trace is recorded, which would keep the size of its example for all images.
    """
    if min_size and torch.jit.is_tracing():
        raise RuntimeError(
            "torch.jit.trace records the size to which its example is resized, so that boxes of "
            "images of other sizes would be wrong: trace no predict. Resize before the traced "
            "module with model.preprocessor.from_file(image), and trace batch, sizes = "
            "model.preprocess([image]) and model(batch, sizes)."
        )
    height, width = image.shape[-2:]
    shape = resized_shape(height, width, min_size, max_size)
    if shape == (height, width):
        return image
    return F.interpolate(
        image[None].float(), size=shape, mode="bilinear", antialias=True, align_corners=False
    )[0]
