"""Depthwise separable convolution (Xception, arXiv 1610.02357): each channel by itself over space,
then all channels in each cell."""

from __future__ import annotations

from torch import nn

from retina_plugin.layers.norms import Conv2d


class SeparableConv2d(nn.Sequential):
    """3x3 ``depthwise`` convolution without bias, then 1x1 ``pointwise`` with bias, or with
    ``norm`` in its place.

    C * (9 + F) weights where a full convolution of C to F channels has C * 9 * F.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.depthwise = Conv2d(in_channels, in_channels, 3, groups=in_channels, bias=False)
        self.pointwise = Conv2d(in_channels, out_channels, 1, bias=norm is None, norm=norm)
