"""Depthwise separable convolution (Xception, arXiv 1610.02357)."""

from __future__ import annotations

from torch import nn

from retina_plugin.layers.norms import Conv2d


class SeparableConv2d(nn.Sequential):
    """A 3x3 ``depthwise`` convolution without bias, then a 1x1 ``pointwise`` convolution.

    The pointwise convolution has a bias unless ``norm`` is given. For C input and F output channels
    it has C * (9 + F) weights; a full 3x3 convolution has C * 9 * F.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.depthwise = Conv2d(in_channels, in_channels, 3, groups=in_channels, bias=False)
        self.pointwise = Conv2d(in_channels, out_channels, 1, bias=norm is None, norm=norm)
