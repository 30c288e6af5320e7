"""Feature pyramid network (Lin et al., arXiv 1612.03144)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from retina_plugin.modeling.necks.pyramid import NECK_REGISTRY, Pyramid, upsample


@NECK_REGISTRY.register("fpn")
class FPN(Pyramid):
    """Each level is a lateral 1x1 convolution plus the coarser level, upsampled, then a 3x3
    convolution."""

    def __init__(self, **arguments: Any) -> None:
        """See :class:`retina_plugin.modeling.necks.pyramid.Pyramid`."""
        super().__init__(**arguments)
        shapes = self.bottom_up.output_shape()
        for name, level in zip(self.in_features, self.in_levels, strict=True):
            self.add_module(f"fpn_lateral{level}", self.convolution(shapes[name].channels, 1))
            self.add_module(f"fpn_output{level}", self.convolution(self.out_channels, 3))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W), H and W multiples of ``size_divisibility`` -> {"p3": (N, C, H / 8, W / 8),
        ..., "p7": ...}."""
        features = self.bottom_up(images)
        levels = self.merge([features[name] for name in self.in_features])
        return dict(zip(self._shapes, self.add_extra_levels(levels, features), strict=True))

    def merge(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of the backbone -> levels of the same sizes, finest first."""
        merged, levels = None, []
        for level, x in zip(reversed(self.in_levels), reversed(maps), strict=True):
            lateral = self.activate(getattr(self, f"fpn_lateral{level}")(x))
            merged = lateral if merged is None else upsample(merged).add_(lateral)
            levels.append(self.activate(getattr(self, f"fpn_output{level}")(merged)))
        return levels[::-1]
