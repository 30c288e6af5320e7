"""What every backbone says of itself. Detectron2's own interface, so that ours serve its models and
its serve ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import nn


class ShapeSpec(NamedTuple):
    """A feature map: its number of channels, and pixels of the input per cell."""

    channels: int
    stride: int = 1


class WeightSource(NamedTuple):
    """The model of another library that a backbone is a part of, whose files it can start from."""

    shapes: Mapping[str, tuple[int, ...]]  # of all its parameters and buffers, in their order
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

    def stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by stage, from the image on.

        Stages have their own learning rates with ``MODEL.RETINA_PLUGIN.SOLVER.LAYER_DECAY``. By
        default each child module with parameters is a stage; in a ResNet these are ``stem`` and
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
