"""Path aggregation (PANet; Liu et al., arXiv 1803.01534, section 3.1)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from retina_plugin.modeling.necks.fpn import FPN
from retina_plugin.modeling.necks.pyramid import NECK_REGISTRY


@NECK_REGISTRY.register("pafpn")
class PAFPN(FPN):
    """Computes levels N from the levels P of an FPN, from fine to coarse.

    N3 is P3. N(l + 1) is a 3x3 convolution of the sum of P(l + 1) and a 3x3 convolution of N(l)
    with stride 2. In this way, details of the fine levels reach the coarse levels through a few
    layers instead of the whole backbone. Extra levels are computed as in FPN, from C5 or N5.
    """

    ACTIVATION = "relu"

    def __init__(self, **arguments: Any) -> None:
        """See :class:`retina_plugin.modeling.necks.pyramid.Pyramid`."""
        super().__init__(**arguments)
        # in the paper, only the bottom-up path has a ReLU
        self.activate_up, self.activate = self.activate, nn.Identity()
        for level in self.in_levels[1:]:
            self.add_module(f"pafpn_down{level}", self.convolution(self.out_channels, 3, stride=2))
            self.add_module(f"pafpn_output{level}", self.convolution(self.out_channels, 3))

    def merge(self, maps: list[Tensor]) -> list[Tensor]:
        """Compute a level of the same size from each map of the backbone, finest first."""
        pyramid = super().merge(maps)
        levels = pyramid[:1]
        for level, x in zip(self.in_levels[1:], pyramid[1:], strict=True):
            down = self.activate_up(getattr(self, f"pafpn_down{level}")(levels[-1]))
            levels.append(self.activate_up(getattr(self, f"pafpn_output{level}")(down + x)))
        return levels
