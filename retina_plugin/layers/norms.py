"""Normalisation layers by their names in a config, and a convolution that contains its norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retina_plugin.layers import tracing, winograd
from retina_plugin.layers.derived_cache import DerivedTensorCache

NORMS = ("", "FrozenBN", "BN", "SyncBN", "GN")

Derived = tuple[Tensor, Tensor | None]  # a kernel and a bias, computed from parameters and a norm


class FoldableNorm(Protocol):
    """The attributes of a batch normalisation that :func:`scale_and_shift` reads, (C,) each."""

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor
    running_var: Tensor
    eps: float


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and fixed affine parameters.

    It is used in backbones that train on batches too small to estimate the statistics. The
    statistics and parameters are buffers, named as in ``nn.BatchNorm2d``.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) - eps)  # exact identity

    def forward(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        # F.batch_norm would store more tensors for its backward pass, which also computes the
        # gradients of weight and bias.
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


def build_norm(name: str, channels: int, *, groups: int, key: str) -> nn.Module | None:
    """Build the norm called ``name``; return None for "".

    Args:
        name: "" (no norm), "FrozenBN", "BN", "SyncBN" or "GN".
        channels: number of channels of the feature map.
        groups: number of groups of GN (arXiv 1803.08494; 32 in the paper); the other norms ignore
            it.
        key: the config key that holds ``name``, for error messages.

    Raises:
        ValueError: if the name is unknown or ``groups`` does not divide ``channels``.
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
    classes: dict[str, Callable[[int], nn.Module]] = {
        "FrozenBN": FrozenBatchNorm2d,
        "BN": nn.BatchNorm2d,
        "SyncBN": nn.SyncBatchNorm,
    }
    return classes[name](channels) if name else None


def has_hooks(module: nn.Module) -> bool:
    """Return whether a module has hooks, which run only if the module is called."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def can_fold(norm: nn.Module | None) -> TypeGuard[FoldableNorm]:
    """Return whether a norm can be folded into the convolution before it.

    This is possible if the norm computes x * scale + shift with a fixed scale and shift for each
    channel: FrozenBN, and BN in evaluation mode without gradients. A norm with hooks is not folded,
    see :func:`has_hooks`.
    """
    if norm is None or has_hooks(norm):
        return False
    if isinstance(norm, nn.modules.batchnorm._BatchNorm):
        return norm.running_var is not None and not norm.training and not torch.is_grad_enabled()
    return isinstance(norm, FrozenBatchNorm2d)


def scale_and_shift(norm: FoldableNorm) -> tuple[Tensor, Tensor]:
    """Return the scale (C,) and the shift (C,) of a norm for which :func:`can_fold` is true."""
    scale = (norm.running_var + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def has_broken_gradient(layer: nn.Conv2d) -> bool:
    """Return whether the backward pass of a convolution can crash in torch 2.14 on a CPU.

    This happens for 1x1 convolutions with a stride, without groups and with fewer than 16 input
    channels, if the feature map or the kernel is in channels-last memory and not float64: torch
    writes outside the memory of the kernel's gradient. A convolution of stride 1 on the result of
    :func:`subsample` has the same output and a correct gradient.
    """
    plain = layer.kernel_size == (1, 1) and layer.groups == 1 and layer.padding in ((0, 0), "valid")
    return plain and layer.stride != (1, 1) and layer.in_channels < 16


def subsample(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Return the cells that a 1x1 convolution reads.

    Args:
        x: (N, C, H, W).
        stride: (vertical, horizontal) stride of the convolution.

    Returns:
        (N, C, H / vertical, W / horizontal), rounded up; a view of ``x``.
    """
    vertical, horizontal = stride
    return x[..., ::vertical, ::horizontal]


class Conv2d(nn.Conv2d):
    """A convolution with padding ``kernel_size // 2``, followed by its ``norm``.

    The norm is a child module, as in Detectron2: ``conv1.weight``, ``conv1.norm.weight``. If
    :func:`can_fold` is true for the norm, it is folded into the kernel, (w x) scale + shift =
    (w scale) x + shift, and the norm's ``forward`` is not called.

    3x3 convolutions use :mod:`retina_plugin.layers.winograd` where that is faster, but not in
    traced or compiled code. In evaluation mode without gradients, the folded and the transformed
    kernels are cached, see :class:`DerivedTensorCache`.
    """

    norm: nn.Module | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        norm: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            in_channels, out_channels, kernel_size: see ``nn.Conv2d``.
            norm: the norm that follows, or None.
            kwargs: further arguments of ``nn.Conv2d``, except ``padding``.
        """
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, **kwargs)
        self.norm = norm
        self._folded: DerivedTensorCache[Derived] = DerivedTensorCache()
        self._transformed: DerivedTensorCache[Derived] = DerivedTensorCache()

    def forward(self, x: Tensor) -> Tensor:
        """Compute (N, F, H', W') from (N, C, H, W)."""
        return self.forward_levels([x])[0]

    def forward_levels(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Apply :meth:`forward` to several feature maps of the same dtype and device.

        With Winograd convolutions this is faster than one call for each map.
        """
        norm = self.norm
        folded = norm if can_fold(norm) else None
        if tracing.is_traced(maps[0]):
            outputs = self._convolve(maps, *self._fold(folded))
        elif torch.is_grad_enabled():
            outputs = self._forward_with_gradients(maps, folded)
        else:
            outputs = self._forward_without_gradients(maps, folded)
        return outputs if folded is not None or norm is None else [norm(x) for x in outputs]

    def _convolve(
        self, maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None
    ) -> list[Tensor]:
        with_gradient = torch.is_grad_enabled() and weight.requires_grad
        if with_gradient and maps[0].device.type == "cpu" and has_broken_gradient(self):
            return [F.conv2d(subsample(x, self.stride), weight, bias) for x in maps]
        return [self._conv_forward(x, weight, bias) for x in maps]

    def _forward_with_gradients(
        self, maps: Sequence[Tensor], folded: FoldableNorm | None
    ) -> list[Tensor]:
        # The cache would not detect a later step of a fused optimizer.
        self.clear_cache()
        weight, bias = self._fold(folded)
        return (
            winograd.conv3x3(maps, weight, bias)
            if self._use_winograd(maps)
            else self._convolve(maps, weight, bias)
        )

    def _forward_without_gradients(
        self, maps: Sequence[Tensor], folded: FoldableNorm | None
    ) -> list[Tensor]:
        if self._use_winograd(maps):
            return winograd.apply_kernel(
                maps, *self._cached(self._transformed, self._transform, folded)
            )
        return self._convolve(maps, *self._cached(self._folded, self._fold, folded))

    def _cached(
        self,
        cache: DerivedTensorCache[Derived],
        compute: Callable[[FoldableNorm | None], Derived],
        folded: FoldableNorm | None,
    ) -> Derived:
        # In training mode, the next step of a fused optimizer would not be detected.
        if self.training:
            return compute(folded)
        tensors = [self.weight, self.bias]
        if folded is not None:
            tensors += [folded.weight, folded.bias, folded.running_mean, folded.running_var]
        sources = [tensor for tensor in tensors if tensor is not None]
        eps = None if folded is None else folded.eps
        return cache.get(sources, lambda: compute(folded), setting=eps)

    def _use_winograd(self, maps: Sequence[Tensor]) -> bool:
        plain = (self.kernel_size, self.stride, self.dilation, self.groups) == (
            (3, 3),
            (1, 1),
            (1, 1),
            1,
        )
        return plain and self.padding_mode == "zeros" and winograd.is_faster(maps, self.weight)

    def kernel(self) -> Tensor:
        """Return the kernel (F, C / groups, H, W), before a norm is folded into it."""
        return self.weight

    def _fold(self, folded: FoldableNorm | None) -> Derived:
        """Return the kernel and the bias with the norm folded in."""
        if folded is None:
            return self.kernel(), self.bias
        scale, shift = scale_and_shift(folded)
        bias = shift if self.bias is None else self.bias * scale + shift
        return self.kernel() * scale[:, None, None, None], bias

    def _transform(self, folded: FoldableNorm | None) -> Derived:
        """Return the Winograd kernel and the bias with the norm folded in."""
        weight, bias = self._fold(folded)
        return winograd.transform_kernel(weight), bias

    def clear_cache(self) -> None:
        """Delete the cached kernels."""
        self._folded.clear()
        self._transformed.clear()

    def train(self, mode: bool = True) -> Conv2d:
        self.clear_cache()
        return super().train(mode)

    # Called by to(), cuda() and half(), which write to parameter.data.
    def _apply(self, *args: Any, **kwargs: Any) -> Conv2d:
        self.clear_cache()
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]  # in torch
        return self


class StandardizedConv2d(Conv2d):
    """A convolution with weight standardisation (arXiv 1903.10520).

    The kernel of each output channel is ``weight``, shifted and scaled to mean 0 and variance 1.
    With GN and this layer, training on small batches is as accurate as training with BN on large
    batches.
    """

    def kernel(self) -> Tensor:
        """Return the standardised kernel (F, C / groups, H, W)."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        return (self.weight - mean) * (variance + 1e-6).rsqrt()


def apply_to_levels(layer: nn.Module, maps: Sequence[Tensor]) -> list[Tensor]:
    """Apply a layer to each feature map.

    A :class:`Conv2d` without hooks processes all maps in one call, which is faster.
    """
    if isinstance(layer, Conv2d) and not has_hooks(layer):
        return layer.forward_levels(maps)
    return [layer(x) for x in maps]


def freeze(module: nn.Module) -> nn.Module:
    """Freeze a module: its parameters get no gradient, and each BN is replaced by
    :class:`FrozenBatchNorm2d`.

    Returns:
        The module, or its replacement if the module itself is a BN.
    """
    for parameter in module.parameters():
        parameter.requires_grad = False
    if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)):
        frozen = FrozenBatchNorm2d(module.num_features, module.eps)
        frozen.load_state_dict(module.state_dict(), strict=False)  # skips num_batches_tracked
        return frozen
    for name, child in module.named_children():
        setattr(module, name, freeze(child))
    return module
