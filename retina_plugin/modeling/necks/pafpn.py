"""Path aggregation (PANet; Liu et al., arXiv 1803.01534, section 3.1): an FPN and a second path,
from fine to coarse."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from retina_plugin.modeling.necks.fpn import FPN
from retina_plugin.modeling.necks.pyramid import NECK_REGISTRY


@NECK_REGISTRY.register("pafpn")
class PAFPN(FPN):
    """Levels P of an FPN -> N: N3 = P3, and N(l + 1) is a 3x3 convolution of P(l + 1) plus N(l)
    under a 3x3 convolution of stride 2.

    What an edge in a fine level knows reaches the coarse levels in a few layers and not through the
    whole backbone. Levels beyond those of the backbone are made as in FPN, from C5 or from N5.
    """

    ACTIVATION = "relu"

    def __init__(self, **arguments: Any) -> None:
        """See :class:`retina_plugin.modeling.necks.pyramid.Pyramid`."""
        super().__init__(**arguments)
        # the paper's ReLU is that of the new path alone
        self.activate_up, self.activate = self.activate, nn.Identity()
        for level in self.in_levels[1:]:
            self.add_module(f"pafpn_down{level}", self.convolution(self.out_channels, 3, stride=2))
            self.add_module(f"pafpn_output{level}", self.convolution(self.out_channels, 3))

    def merge(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of the backbone -> levels of the same sizes, finest first."""
        pyramid = super().merge(maps)
        levels = pyramid[:1]
        for level, x in zip(self.in_levels[1:], pyramid[1:], strict=True):
            down = self.activate_up(getattr(self, f"pafpn_down{level}")(levels[-1]))
            levels.append(self.activate_up(getattr(self, f"pafpn_output{level}")(down + x)))
        return levels
