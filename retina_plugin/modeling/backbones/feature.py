"""What every backbone says of itself. Detectron2's own interface, so that ours serve its models and
its serve ours."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class ShapeSpec(NamedTuple):
    """A feature map: its number of channels, and pixels of the input per cell."""

    channels: int
    stride: int = 1


class WeightSource(NamedTuple):
    """The model of another library that a backbone is a part of, whose files it can start from."""

    names: frozenset[str]  # of all its parameters and buffers
    pixel_mean: tuple[float, ...] | None  # RGB, 0..255; None: not known
    pixel_std: tuple[float, ...] | None


class Backbone(nn.Module):
    """Base of backbones and of backbone-plus-neck: ``forward`` takes images (N, 3, H, W) and
    returns feature maps by name."""

    def __init__(self) -> None:
        super().__init__()
        self._shapes: dict[str, ShapeSpec] = {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each map that ``forward`` returns, finest first."""
        return self._shapes

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input must be multiples of this; 0 when any size will do."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Further wishes about padding, in Detectron2's terms; none."""
        return {}

    def weight_source(self) -> WeightSource | None:
        """Of which model of another library it is a part; None for a backbone of this project."""
        return None
