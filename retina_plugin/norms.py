"""Normalisation by its name in a config, and a convolution that carries its normalisation as Detectron2 names it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORMS = ("", "FrozenBN", "BN", "SyncBN", "GN")


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and fixed affine parameters, for backbones whose batches are too small to learn them.

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
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        # The backward pass of batch_norm would compute gradients of weight and bias too, and keep more for it.
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


def build_norm(name: str, channels: int, *, groups: int) -> nn.Module | None:
    """The normalisation called ``name`` in a config.

    Args:
        name: "" (none), "FrozenBN", "BN", "SyncBN" or "GN".
        channels: of the map that it normalises.
        groups: of GN (arXiv 1803.08494; 32 in the paper), ignored by the others.

    Raises:
        ValueError: an unknown name, or groups that do not divide the channels.
    """
    if name not in NORMS:
        raise ValueError(f"unknown norm {name!r}; known: {', '.join(repr(n) for n in NORMS)}")
    if name == "GN":
        if channels % groups:
            raise ValueError(
                f"GN with {groups} groups cannot divide {channels} channels; "
                "change MODEL.RETINA_PLUGIN.NORM_GROUPS or the number of channels"
            )
        return nn.GroupNorm(groups, channels)
    kinds = {"FrozenBN": FrozenBatchNorm2d, "BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm}
    return kinds[name](channels) if name else None


class Conv2d(nn.Conv2d):
    """Convolution followed by its ``norm``, which is a child module as in Detectron2: ``conv1.weight``, ``conv1.norm.weight``."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, norm: nn.Module | None = None, **kwargs
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, **kwargs)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        x = self._conv_forward(x, self.kernel(), self.bias)
        return x if self.norm is None else self.norm(x)

    def kernel(self) -> Tensor:
        """(F, C / groups, H, W), what images are convolved with."""
        return self.weight


class StandardizedConv2d(Conv2d):
    """Weight standardisation (arXiv 1903.10520): the kernel of each output has mean 0 and variance 1, whatever ``weight`` is.

    With GN it trains from scratch on few images as batch normalisation does on many.
    """

    def kernel(self) -> Tensor:
        """(F, C / groups, H, W), standardised."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        return (self.weight - mean) * (variance + 1e-6).rsqrt()


def freeze(module: nn.Module) -> nn.Module:
    """Stop a module from learning: parameters without gradient, batch normalisation replaced by :class:`FrozenBatchNorm2d`.

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
