"""Feature pyramid network (Lin et al., arXiv 1612.03144)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from retina_plugin.modeling.necks.pyramid import NECK_REGISTRY, Pyramid, upsample


@NECK_REGISTRY.register("fpn")
class FPN(Pyramid):
    """Adds a 1x1 convolution of each map to the upsampled coarser level.

    A 3x3 convolution of the sum gives the level.
    """

    def __init__(self, **arguments: Any) -> None:
        """See :class:`retina_plugin.modeling.necks.pyramid.Pyramid`."""
        super().__init__(**arguments)
        shapes = self.bottom_up.output_shape()
        for name, level in zip(self.in_features, self.in_levels, strict=True):
            self.add_module(f"fpn_lateral{level}", self.convolution(shapes[name].channels, 1))
            self.add_module(f"fpn_output{level}", self.convolution(self.out_channels, 3))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute {"p3": (N, C, H / 8, W / 8), ..., "p7": ...} from images (N, 3, H, W).

        H and W must be multiples of ``size_divisibility``.
        """
        features = self.bottom_up(images)
        levels = self.merge([features[name] for name in self.in_features])
        return dict(zip(self._shapes, self.add_extra_levels(levels, features), strict=True))

    def merge(self, maps: list[Tensor]) -> list[Tensor]:
        """Compute a level of the same size from each map of the backbone, finest first."""
        merged: Tensor | None = None
        levels: list[Tensor] = []
        for level, x in zip(reversed(self.in_levels), reversed(maps), strict=True):
            lateral = self.activate(getattr(self, f"fpn_lateral{level}")(x))
            merged = lateral if merged is None else upsample(merged).add_(lateral)
            levels.append(self.activate(getattr(self, f"fpn_output{level}")(merged)))
        return levels[::-1]
