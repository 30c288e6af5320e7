"""The interface of backbones.

It is Detectron2's interface, so that Detectron2's models can use these backbones and vice versa.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import nn


class ShapeSpec(NamedTuple):
    """The number of channels of a feature map and its stride, in pixels of the input."""

    channels: int
    stride: int = 1


class WeightSource(NamedTuple):
    """A model of another library whose weight files a backbone can load.

    Attributes:
        shapes: the shapes of its parameters and buffers by name, in the order of its state_dict.
        pixel_mean, pixel_std: RGB, for pixel values in 0..255; None if unknown.
    """

    shapes: Mapping[str, tuple[int, ...]]
    pixel_mean: tuple[float, ...] | None
    pixel_std: tuple[float, ...] | None


class Backbone(nn.Module):
    """Base class of backbones, with or without a neck.

    ``forward`` takes images (N, 3, H, W) and returns feature maps by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shapes: dict[str, ShapeSpec] = {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return the channels and stride of each map that ``forward`` returns, finest first."""
        return self._shapes

    @property
    def size_divisibility(self) -> int:
        """The number that must divide height and width of the input; 0 allows any size."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Further constraints on padding, which Detectron2 reads; always empty."""
        return {}

    def weight_source(self) -> WeightSource | None:
        """Return the model of another library whose weights this backbone can load, or None."""
        return None

    def stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by stage, beginning with the first layers.

        With ``MODEL.RETINA_PLUGIN.SOLVER.LAYER_DECAY``, each stage has a different learning rate.
        By default, each child module with parameters is a stage; in a ResNet these are ``stem`` and
        ``res2`` .. ``res5``.
        """
        return child_stages(self)


def child_stages(module: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of each child module that has any, in the order of the children.

    Parameters of ``module`` itself belong to the first stage.
    """
    stages = [list(child.parameters()) for child in module.children()]
    own = list(module.parameters(recurse=False))
    stages = [stage for stage in stages if stage]
    return [[*own, *stages[0]], *stages[1:]] if stages else [own]
