"""Normalisation by its name in a config, and a convolution that carries its normalisation as
Detectron2 names it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retina_plugin.layers import tracing, winograd
from retina_plugin.layers.derived_cache import DerivedTensorCache

NORMS = ("", "FrozenBN", "BN", "SyncBN", "GN")

Derived = tuple[Tensor, Tensor | None]  # a kernel and a bias, from parameters and a norm


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and fixed affine parameters, for backbones whose
    batches are too small to learn them.

    All four are buffers, named as in ``nn.BatchNorm2d``.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) - eps)  # exactly the identity

    def forward(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        # The backward pass of batch_norm would compute gradients of weight and bias too, and keep
        # more for it.
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


def build_norm(name: str, channels: int, *, groups: int, key: str) -> nn.Module | None:
    """The normalisation called ``name`` in a config.

    Args:
        name: "" (none), "FrozenBN", "BN", "SyncBN" or "GN".
        channels: of the map that it normalises.
        groups: of GN (arXiv 1803.08494; 32 in the paper), ignored by the others.
        key: of the config, for messages.

    Raises:
        ValueError: an unknown name, or groups that do not divide the channels.
    """
    if name not in NORMS:
        raise ValueError(
            f"{key}: unknown norm {name!r}; known: {', '.join(repr(n) for n in NORMS)}"
        )
    if name == "GN":
        if channels % groups:
            raise ValueError(
                f"{key}: GN with {groups} groups cannot divide {channels} channels; "
                "change MODEL.RETINA_PLUGIN.NORM_GROUPS or the number of channels"
            )
        return nn.GroupNorm(groups, channels)
    kinds = {"FrozenBN": FrozenBatchNorm2d, "BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm}
    return kinds[name](channels) if name else None


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody listens to the calls of a module, so that it must be called."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def can_fold(norm: nn.Module | None) -> bool:
    """Whether a norm is the same map x * scale + shift of each channel for every input, and nothing
    of it is being learnt."""
    if norm is None or has_hooks(norm):
        return False
    if isinstance(norm, nn.modules.batchnorm._BatchNorm):
        return norm.running_var is not None and not norm.training and not torch.is_grad_enabled()
    return isinstance(norm, FrozenBatchNorm2d)


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """The map of a norm that :func:`can_fold`, (C,) each."""
    scale = (norm.running_var + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def has_broken_gradient(layer: nn.Conv2d) -> bool:
    """Whether torch 2.14 on a CPU writes outside the gradient of a kernel, which ends the process
    for most sizes of maps.

    It does so for 1x1 convolutions with a stride, without groups, of fewer than 16 channels, if the
    map or the kernel is in channels-last memory and not in float64. The same convolution of the map
    under :func:`subsample` has equal values and a gradient that is whole.
    """
    plain = layer.kernel_size == (1, 1) and layer.groups == 1 and layer.padding in ((0, 0), "valid")
    return plain and layer.stride != (1, 1) and layer.in_channels < 16


def subsample(x: Tensor, stride: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> the cells that a 1x1 convolution of ``stride`` reads, (N, C, H / rows, W /
    columns), rounded up."""
    rows, columns = stride
    return x[..., ::rows, ::columns]


class Conv2d(nn.Conv2d):
    """Convolution followed by its ``norm``, which is a child module as in Detectron2:
    ``conv1.weight``, ``conv1.norm.weight``.

    A batch normalisation that is frozen, or evaluated without gradients, is folded: (w x) scale +
    shift = (w scale) x + shift, so that no pass over the maps is spent on it; its own ``forward``
    is not called then, unless it has hooks. 3x3 convolutions go by
    :mod:`retina_plugin.layers.winograd` where that is faster. In evaluation without gradients, what
    is derived from the parameters is kept while they stay as they are (see
    :class:`DerivedTensorCache`); ``state_dict`` does not contain it. Compilers and exporters see a
    plain convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        norm: nn.Module | None = None,
        **kwargs,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, **kwargs)
        self.norm = norm
        self._folded: DerivedTensorCache[Derived] = DerivedTensorCache()
        self._transformed: DerivedTensorCache[Derived] = DerivedTensorCache()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, F, H', W')."""
        return self.forward_levels([x])[0]

    def forward_levels(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """:meth:`forward` of several maps of one type, together where that is faster."""
        fold = can_fold(self.norm)
        if tracing.is_traced(maps[0]):
            maps = self._convolve(maps, *self._fold(fold))
        elif torch.is_grad_enabled():
            maps = self._forward_training(maps, fold)
        else:
            maps = self._forward_inference(maps, fold)
        return maps if fold or self.norm is None else [self.norm(x) for x in maps]

    def _convolve(
        self, maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None
    ) -> list[Tensor]:
        learns = torch.is_grad_enabled() and weight.requires_grad and maps[0].device.type == "cpu"
        if learns and has_broken_gradient(self):
            return [F.conv2d(subsample(x, self.stride), weight, bias) for x in maps]
        return [self._conv_forward(x, weight, bias) for x in maps]

    def _forward_training(self, maps: Sequence[Tensor], fold: bool) -> list[Tensor]:
        # what follows may be a step of an optimizer whose changes nobody counts: torch's fused ones
        # are such
        self.clear_cache()
        weight, bias = self._fold(fold)
        return (
            winograd.conv3x3(maps, weight, bias)
            if self._use_winograd(maps)
            else self._convolve(maps, weight, bias)
        )

    def _forward_inference(self, maps: Sequence[Tensor], fold: bool) -> list[Tensor]:
        if self._use_winograd(maps):
            return winograd.apply_kernel(
                maps, *self._cached(self._transformed, self._transform, fold)
            )
        return self._convolve(maps, *self._cached(self._folded, self._fold, fold))

    def _cached(
        self, cache: DerivedTensorCache[Derived], derive: Callable[[bool], Derived], fold: bool
    ) -> Derived:
        # between backward and a step that nobody counts somebody may look at a loss
        if self.training:
            return derive(fold)
        norm = (
            (self.norm.weight, self.norm.bias, self.norm.running_mean, self.norm.running_var)
            if fold
            else ()
        )
        sources = [tensor for tensor in (self.weight, self.bias, *norm) if tensor is not None]
        return cache.get(sources, lambda: derive(fold), setting=self.norm.eps if fold else None)

    def _use_winograd(self, maps: Sequence[Tensor]) -> bool:
        plain = (self.kernel_size, self.stride, self.dilation, self.groups) == (
            (3, 3),
            (1, 1),
            (1, 1),
            1,
        )
        return plain and self.padding_mode == "zeros" and winograd.is_faster(maps, self.weight)

    def kernel(self) -> Tensor:
        """(F, C / groups, H, W), what images are convolved with before any norm is folded into
        it."""
        return self.weight

    def _fold(self, fold: bool) -> tuple[Tensor, Tensor | None]:
        if not fold:
            return self.kernel(), self.bias
        scale, shift = scale_and_shift(self.norm)
        bias = shift if self.bias is None else self.bias * scale + shift
        return self.kernel() * scale[:, None, None, None], bias

    def _transform(self, fold: bool) -> tuple[Tensor, Tensor | None]:
        weight, bias = self._fold(fold)
        return winograd.transform_kernel(weight), bias

    def clear_cache(self) -> None:
        """Drop what was derived from the parameters."""
        self._folded.clear()
        self._transformed.clear()

    def train(self, mode: bool = True) -> Conv2d:
        self.clear_cache()
        return super().train(mode)

    # to(), cuda(), half(): they write through parameter.data
    def _apply(self, *args: Any, **kwargs: Any) -> Conv2d:
        self.clear_cache()
        return super()._apply(*args, **kwargs)


class StandardizedConv2d(Conv2d):
    """Weight standardisation (arXiv 1903.10520): the kernel of each output has mean 0 and variance
    1, whatever ``weight`` is.

    With GN it trains from scratch on few images as batch normalisation does on many.
    """

    def kernel(self) -> Tensor:
        """(F, C / groups, H, W), standardised."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        return (self.weight - mean) * (variance + 1e-6).rsqrt()


def apply_to_levels(layer: nn.Module, maps: Sequence[Tensor]) -> list[Tensor]:
    """A layer on each map; a :class:`Conv2d` that nobody listens to takes them together, which is
    faster."""
    if isinstance(layer, Conv2d) and not has_hooks(layer):
        return layer.forward_levels(maps)
    return [layer(x) for x in maps]


def freeze(module: nn.Module) -> nn.Module:
    """Stop a module from learning: parameters without gradient, batch normalisation replaced by
    :class:`FrozenBatchNorm2d`.

    Returns:
        The module, or its replacement when it is itself a batch normalisation.
    """
    for parameter in module.parameters():
        parameter.requires_grad = False
    if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)):
        frozen = FrozenBatchNorm2d(module.num_features, module.eps)
        frozen.load_state_dict(module.state_dict(), strict=False)  # all but the count of batches
        return frozen
    for name, child in module.named_children():
        setattr(module, name, freeze(child))
    return module
