"""ResNet (He et al., arXiv 1512.03385), named parameter for parameter as in Detectron2.

``stem`` (stride 4), then stages ``res2`` .. ``res5`` (strides 4, 8, 16, 32), each twice as wide as the one before. Widths are
free, so a compact network for small data is the same code with smaller numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from retina_plugin.backbones.feature import Backbone, ShapeSpec
from retina_plugin.norms import Conv2d, build_norm, freeze

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
STAGES = ("res2", "res3", "res4", "res5")
Norm = Callable[[int], nn.Module | None]


def conv(
    in_channels: int, out_channels: int, kernel_size: int, *, norm: Norm, stride: int = 1, groups: int = 1
) -> Conv2d:
    """Convolution without bias and its norm, initialised for the ReLU that follows (arXiv 1502.01852)."""
    layer = Conv2d(
        in_channels, out_channels, kernel_size, stride=stride, groups=groups, bias=False, norm=norm(out_channels)
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class Stem(nn.Module):
    """7x7 convolution of stride 2, ReLU, 3x3 max pooling of stride 2: (N, 3, H, W) -> (N, C, H / 4, W / 4)."""

    def __init__(self, *, in_channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, 7, stride=2, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class ResidualBlock(nn.Module):
    """Convolutions ``conv1`` .. with ReLU between them, plus a shortcut: identity, or a 1x1 convolution where the shape changes."""

    def __init__(self, convolutions: Sequence[Conv2d], *, in_channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        out_channels = convolutions[-1].out_channels
        reshaped = in_channels != out_channels or stride != 1
        self.shortcut = conv(in_channels, out_channels, 1, stride=stride, norm=norm) if reshaped else None
        for index, convolution in enumerate(convolutions, start=1):
            self.add_module(f"conv{index}", convolution)
        self.num_convolutions = len(convolutions)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        for index in range(2, self.num_convolutions + 1):
            out = getattr(self, f"conv{index}")(F.relu_(out))
        return F.relu_(out.add_(x if self.shortcut is None else self.shortcut(x)))


def basic_block(in_channels: int, out_channels: int, *, stride: int, norm: Norm) -> ResidualBlock:
    """Two 3x3 convolutions, for depths 18 and 34."""
    convolutions = [
        conv(in_channels, out_channels, 3, stride=stride, norm=norm),
        conv(out_channels, out_channels, 3, norm=norm),
    ]
    return ResidualBlock(convolutions, in_channels=in_channels, stride=stride, norm=norm)


def bottleneck_block(
    in_channels: int, out_channels: int, *, width: int, groups: int, stride: int, stride_in_1x1: bool, norm: Norm
) -> ResidualBlock:
    """1x1, 3x3 of ``width`` channels, 1x1, for depths 50 and 101. The original has its stride in the first 1x1, torchvision in the 3x3."""
    first, second = (stride, 1) if stride_in_1x1 else (1, stride)
    convolutions = [
        conv(in_channels, width, 1, stride=first, norm=norm),
        conv(width, width, 3, stride=second, groups=groups, norm=norm),
        conv(width, out_channels, 1, norm=norm),
    ]
    return ResidualBlock(convolutions, in_channels=in_channels, stride=stride, norm=norm)


class ResNet(Backbone):
    """A stem and up to four stages."""

    def __init__(
        self, *, stem: Stem, stages: dict[str, nn.Sequential], out_features: Sequence[str], freeze_at: int
    ) -> None:
        """
        Args:
            stem: stride 4.
            stages: name -> blocks, finest first.
            out_features: stages to return, among ``res2`` .. ``res5``; stages after the last of them are left out.
            freeze_at: how many parts stop learning, counted from the stem: 0 none, 1 the stem, 2 also res2, ...

        Raises:
            ValueError: ``out_features`` is empty or names no stage.
        """
        super().__init__()
        unknown = [name for name in out_features if name not in stages]
        if unknown or not out_features:
            raise ValueError(f"MODEL.RESNETS.OUT_FEATURES must be among {list(stages)}, found {list(out_features)}")
        self.stem = stem
        self.stage_names = list(stages)[: max(map(list(stages).index, out_features)) + 1]
        for index, name in enumerate(self.stage_names):
            self.add_module(name, stages[name])
            if name in out_features:
                channels = stages[name][-1].get_submodule(f"conv{stages[name][-1].num_convolutions}").out_channels
                self._shapes[name] = ShapeSpec(channels, 4 * 2**index)
        for part in ("stem", *self.stage_names)[:freeze_at]:
            freeze(getattr(self, part))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> stage name -> (N, C, H / stride, W / stride), rounded up."""
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
    norm: str,
    norm_groups: int,
    out_features: Sequence[str],
    freeze_at: int,
) -> ResNet:
    """ResNet from numbers.

    Args:
        in_channels: of the image.
        depth: 18, 34, 50 or 101.
        stem_channels: width of the stem; 64 in the paper.
        res2_channels: output width of res2, doubled by each later stage; 64 (basic blocks) or 256 (bottlenecks) in the paper.
        width_per_group, num_groups: their product is the inner width of a bottleneck in res2; unused by basic blocks.
        stride_in_1x1: see :func:`bottleneck_block`.
        norm, norm_groups: see :func:`retina_plugin.norms.build_norm`.
        out_features, freeze_at: see :class:`ResNet`.

    Raises:
        ValueError: a depth that does not exist.
    """
    if depth not in BLOCKS_PER_STAGE:
        raise ValueError(f"MODEL.RESNETS.DEPTH must be one of {list(BLOCKS_PER_STAGE)}, found {depth}")
    make_norm = partial(build_norm, norm, groups=norm_groups)
    stages: dict[str, nn.Sequential] = {}
    channels = stem_channels
    for index, (name, num_blocks) in enumerate(zip(STAGES, BLOCKS_PER_STAGE[depth], strict=True)):
        block = basic_block
        if depth >= 50:
            block = partial(
                bottleneck_block,
                width=num_groups * width_per_group * 2**index,
                groups=num_groups,
                stride_in_1x1=stride_in_1x1,
            )
        out_channels = res2_channels * 2**index
        strides = [1 if index == 0 else 2] + [1] * (num_blocks - 1)
        inputs = [channels] + [out_channels] * (num_blocks - 1)
        stages[name] = nn.Sequential(
            *(block(i, out_channels, stride=s, norm=make_norm) for i, s in zip(inputs, strides, strict=True))
        )
        channels = out_channels
    stem = Stem(in_channels=in_channels, out_channels=stem_channels, norm=make_norm)
    return ResNet(stem=stem, stages=stages, out_features=out_features, freeze_at=freeze_at)
