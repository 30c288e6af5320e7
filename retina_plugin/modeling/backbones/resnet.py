"""ResNet (He et al., arXiv 1512.03385) and its variants, with Detectron2's parameter names.

A ``stem`` of stride 4 is followed by the stages ``res2`` .. ``res5`` of strides 4, 8, 16 and 32;
each stage has twice as many channels as the one before. The arguments of :func:`build_resnet` also
give smaller networks, ResNeXt (groups; arXiv 1611.05431) and ResNet-D (deep stem and average-pool
shortcut; arXiv 1812.01187).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from retina_plugin.layers.norms import (
    Conv2d,
    FrozenBatchNorm2d,
    StandardizedConv2d,
    build_norm,
    freeze,
)
from retina_plugin.modeling.backbones.feature import Backbone, ShapeSpec

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STAGES = ("res2", "res3", "res4", "res5")
Conv = Callable[..., Conv2d]  # :func:`convolution` with ``norm`` and ``standardized`` filled in


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    norm: Callable[[int], nn.Module | None],
    standardized: bool,
    stride: int = 1,
    groups: int = 1,
) -> Conv2d:
    """Build a convolution without bias and its norm, initialised for ReLU (arXiv 1502.01852)."""
    kind = StandardizedConv2d if standardized else Conv2d
    layer = kind(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        groups=groups,
        bias=False,
        norm=norm(out_channels),
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class ConvSequence(nn.Module):
    """Convolutions ``conv1``, ``conv2``, ... with ReLU between them."""

    conv1: Conv2d

    def __init__(self, convolutions: Sequence[Conv2d]) -> None:
        super().__init__()
        for index, layer in enumerate(convolutions, start=1):
            self.add_module(f"conv{index}", layer)
        self.num_convolutions, self.out_channels = len(convolutions), convolutions[-1].out_channels

    def run_convolutions(self, x: Tensor) -> Tensor:
        """Apply all convolutions to (N, C, H, W); no ReLU follows the last one."""
        x = self.conv1(x)
        for index in range(2, self.num_convolutions + 1):
            x = getattr(self, f"conv{index}")(F.relu_(x))
        return x


class Stem(ConvSequence):
    """Convolutions with a total stride of 2, ReLU, and 3x3 max pooling of stride 2.

    It converts images (N, 3, H, W) to (N, C, H / 4, W / 4), rounded up.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu_(self.run_convolutions(x)), kernel_size=3, stride=2, padding=1)


def build_stem(in_channels: int, out_channels: int, *, deep: bool, conv: Conv) -> Stem:
    """Build a stem with one 7x7 convolution, or with three 3x3 convolutions if ``deep`` is set.

    The first two of the three have half the channels.

    Raises:
        ValueError: if ``deep`` is set and ``out_channels`` is below 2.
    """
    if not deep:
        return Stem([conv(in_channels, out_channels, 7, stride=2)])
    if out_channels < 2:
        raise ValueError(
            "MODEL.RESNETS.STEM_OUT_CHANNELS must be at least 2 with DEEP_STEM, "
            f"found {out_channels}"
        )
    half = out_channels // 2
    return Stem(
        [conv(in_channels, half, 3, stride=2), conv(half, half, 3), conv(half, out_channels, 3)]
    )


class ResidualBlock(ConvSequence):
    """Convolutions plus a shortcut: the identity, or a 1x1 convolution if the shape changes."""

    def __init__(
        self,
        convolutions: Sequence[Conv2d],
        *,
        in_channels: int,
        stride: int,
        average: bool,
        conv: Conv,
    ) -> None:
        """
        Args:
            convolutions: convolutions with a total stride of ``stride``.
            in_channels: input channels of the first convolution.
            stride: 1 or 2.
            average: whether a shortcut of stride 2 averages four cells instead of using one of
                them.
            conv: builds the convolution of the shortcut.
        """
        super().__init__(convolutions)
        pooled = average and stride > 1
        self.pool = (
            nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
            if pooled
            else nn.Identity()
        )
        reshaped = in_channels != self.out_channels or stride != 1
        self.shortcut = (
            conv(in_channels, self.out_channels, 1, stride=1 if pooled else stride)
            if reshaped
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.run_convolutions(x)
        return F.relu_(out.add_(x if self.shortcut is None else self.shortcut(self.pool(x))))

    def zero_init_residual(self) -> None:
        """Set the last norm to zero, so that the block starts as its shortcut (arXiv 1706.02677).

        Without a norm, the last convolution is set to zero.

        Raises:
            ValueError: if training could not change the zeros.
        """
        last = getattr(self, f"conv{self.num_convolutions}")
        if isinstance(last.norm, FrozenBatchNorm2d):
            raise ValueError(
                "MODEL.RETINA_PLUGIN.RESNETS.ZERO_INIT: FrozenBN would stay 0 forever; set "
                "MODEL.RESNETS.NORM to BN or GN"
            )
        if last.norm is None and isinstance(last, StandardizedConv2d):
            raise ValueError(
                "MODEL.RETINA_PLUGIN.RESNETS.ZERO_INIT with WEIGHT_STANDARDIZATION needs a "
                "norm: set MODEL.RESNETS.NORM"
            )
        nn.init.zeros_((last if last.norm is None else last.norm).weight)


def basic_block(
    in_channels: int, out_channels: int, *, stride: int, average: bool, conv: Conv
) -> ResidualBlock:
    """Build a block of two 3x3 convolutions, for depths 18 and 34."""
    convolutions = [
        conv(in_channels, out_channels, 3, stride=stride),
        conv(out_channels, out_channels, 3),
    ]
    return ResidualBlock(
        convolutions, in_channels=in_channels, stride=stride, average=average, conv=conv
    )


def bottleneck_block(
    in_channels: int,
    out_channels: int,
    *,
    width: int,
    groups: int,
    stride: int,
    stride_in_1x1: bool,
    average: bool,
    conv: Conv,
) -> ResidualBlock:
    """Build a block of 1x1, 3x3 and 1x1 convolutions, for depths from 50 on.

    The first two convolutions have ``width`` channels. The stride is in the 3x3 convolution, as in
    torchvision, or in the first 1x1 convolution, as in the original models.
    """
    first, second = (stride, 1) if stride_in_1x1 else (1, stride)
    convolutions = [
        conv(in_channels, width, 1, stride=first),
        conv(width, width, 3, stride=second, groups=groups),
        conv(width, out_channels, 1),
    ]
    return ResidualBlock(
        convolutions, in_channels=in_channels, stride=stride, average=average, conv=conv
    )


class ResNet(Backbone):
    """A stem and up to four stages."""

    def __init__(
        self,
        *,
        stem: Stem,
        stages: dict[str, nn.Sequential],
        out_features: Sequence[str],
        freeze_at: int,
    ) -> None:
        """
        Args:
            stem: the stem, of stride 4.
            stages: {name: residual blocks}, finest first.
            out_features: names of the stages to return, at least one; stages after the last of them
                are left out.
            freeze_at: number of parts to freeze: 1 is the stem, 2 also res2, and so on; 0 freezes
                nothing.

        Raises:
            ValueError: if ``out_features`` is empty or contains an unknown name.
        """
        super().__init__()
        unknown = [name for name in out_features if name not in stages]
        if unknown or not out_features:
            raise ValueError(
                f"MODEL.RESNETS.OUT_FEATURES must be among {list(stages)}, found "
                f"{list(out_features)}"
            )
        self.stem = stem
        self.stage_names = list(stages)[: max(map(list(stages).index, out_features)) + 1]
        for index, name in enumerate(self.stage_names):
            self.add_module(name, stages[name])
            if name in out_features:
                last = stages[name][-1]
                assert isinstance(last, ResidualBlock)
                self._shapes[name] = ShapeSpec(last.out_channels, 4 * 2**index)
        for part in ("stem", *self.stage_names)[:freeze_at]:
            freeze(getattr(self, part))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return {name: (N, C, H / stride, W / stride)}, rounded up, for images (N, 3, H, W)."""
        x, outputs = self.stem(images), {}
        for name in self.stage_names:
            x = getattr(self, name)(x)
            if name in self._shapes:
                outputs[name] = x
        return outputs


def build_resnet(
    *,
    in_channels: int,
    depth: int,
    stem_channels: int,
    res2_channels: int,
    width_per_group: int,
    num_groups: int,
    stride_in_1x1: bool,
    deep_stem: bool,
    average_shortcut: bool,
    norm: str,
    norm_groups: int,
    standardized: bool,
    zero_init: bool,
    out_features: Sequence[str],
    freeze_at: int,
) -> ResNet:
    """Build a ResNet.

    Args:
        in_channels: number of channels of the image.
        depth: 18, 34, 50, 101 or 152.
        stem_channels: output channels of the stem; 64 in the paper.
        res2_channels: output channels of res2, doubled by each later stage; 64 (basic blocks) or
            256 (bottlenecks) in the paper.
        width_per_group, num_groups: their product is the number of inner channels of a bottleneck
            in res2. Basic blocks have no groups.
        stride_in_1x1: see :func:`bottleneck_block`.
        deep_stem: see :func:`build_stem`.
        average_shortcut: see :class:`ResidualBlock`.
        norm, norm_groups: see :func:`retina_plugin.layers.norms.build_norm`.
        standardized: see :class:`retina_plugin.layers.norms.StandardizedConv2d`.
        zero_init: see :meth:`ResidualBlock.zero_init_residual`.
        out_features, freeze_at: see :class:`ResNet`.

    Raises:
        ValueError: if the depth is unknown, basic blocks get groups or the channels of
            bottlenecks, or ``zero_init`` is used with parts that cannot be trained.
    """
    _check_numbers(depth, num_groups, res2_channels, zero_init, freeze_at)
    conv = partial(
        convolution,
        norm=partial(build_norm, norm, groups=norm_groups, key="MODEL.RESNETS.NORM"),
        standardized=standardized,
    )
    stages: dict[str, nn.Sequential] = {}
    blocks: list[ResidualBlock] = []
    channels = stem_channels
    for index, (name, num_blocks) in enumerate(zip(STAGES, BLOCKS_PER_STAGE[depth], strict=True)):
        block = partial(basic_block, average=average_shortcut, conv=conv)
        if depth >= 50:
            width = num_groups * width_per_group * 2**index
            bottleneck = partial(
                bottleneck_block, width=width, groups=num_groups, stride_in_1x1=stride_in_1x1
            )
            block = partial(bottleneck, average=average_shortcut, conv=conv)
        out_channels = res2_channels * 2**index
        strides = [1 if index == 0 else 2] + [1] * (num_blocks - 1)
        inputs = [channels] + [out_channels] * (num_blocks - 1)
        stage = [block(i, out_channels, stride=s) for i, s in zip(inputs, strides, strict=True)]
        stages[name] = nn.Sequential(*stage)
        blocks += stage
        channels = out_channels
    if zero_init:
        for residual_block in blocks:
            residual_block.zero_init_residual()
    stem = build_stem(in_channels, stem_channels, deep=deep_stem, conv=conv)
    return ResNet(stem=stem, stages=stages, out_features=out_features, freeze_at=freeze_at)


def _check_numbers(
    depth: int, num_groups: int, res2_channels: int, zero_init: bool, freeze_at: int
) -> None:
    """Raise a ValueError for arguments that are probably a mistake."""
    if depth not in BLOCKS_PER_STAGE:
        raise ValueError(
            f"MODEL.RESNETS.DEPTH must be one of {list(BLOCKS_PER_STAGE)}, found {depth}"
        )
    if depth < 50 and num_groups != 1:
        raise ValueError(
            f"MODEL.RESNETS.NUM_GROUPS must be 1 at DEPTH {depth}, because its blocks have no "
            f"groups, found {num_groups}"
        )
    if depth < 50 and res2_channels >= 256:
        raise ValueError(
            f"MODEL.RESNETS.RES2_OUT_CHANNELS is {res2_channels}, a value for bottleneck blocks; "
            f"at DEPTH {depth} use 64 or less"
        )
    if freeze_at < 0:
        raise ValueError(f"MODEL.BACKBONE.FREEZE_AT must be at least 0, found {freeze_at}")
    if zero_init and freeze_at > 1:
        raise ValueError(
            f"MODEL.RETINA_PLUGIN.RESNETS.ZERO_INIT: MODEL.BACKBONE.FREEZE_AT {freeze_at} freezes "
            "stages, which would stay 0 forever; set FREEZE_AT to 0, or ZERO_INIT to False if "
            "weights are loaded from a file"
        )
