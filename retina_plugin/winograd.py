"""3x3 convolutions on the CPU with a quarter of the multiplications (Winograd; Lavin and Gray, arXiv 1509.09308).

On a CPU the convolutions of RetinaNet take nine tenths of the time and run at the limit of its arithmetic units, so only fewer
operations make them faster. A tile of 4x4 outputs depends on 6x6 inputs and takes 144 multiplications for each pair of channels.
Read as a product of polynomials that are evaluated at six points in each direction, it takes 36:

    Y = A^T [(G w G^T) * (B^T d B)] A      d 6x6 inputs, w 3x3 weights, Y 4x4 outputs, * element by element

Summed over the channels, these products are 36 matrix products over all tiles. The result is that of the direct sum but for the
order of roundings: both differ from float64 in the seventh digit.

Axes: N images, C input channels, F output channels, H and W, T tiles of all images, 36 = 6 * 6 products of a tile.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

OUT, KERNEL, IN = 4, 3, 6  # sides of a tile of outputs, of the kernel, of a tile of inputs

# The sixth point is infinity. The usual 0, 1, -1, 2, -2 double the error.
POINTS = (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2))

# With fewer channels or tiles the transforms cost more than the multiplications that they save. Learning transforms the weights,
# there and back, in every step.
MIN_CHANNELS, MIN_TILES, MIN_TILES_LEARNING = 256, 32, 256

TILES_AT_ONCE = 512  # of all images; more would not be faster and take more memory


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`conv3x3` beats the direct sum: float32 on a CPU with MKL's matrix products, and enough channels and tiles."""
    if x.device.type != "cpu" or not x.dtype == weight.dtype == torch.float32 or not torch.backends.mkl.is_available():
        return False
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    tiles = len(x) * math.prod(_grid(x))
    enough = min(weight.shape[:2]) >= MIN_CHANNELS and tiles >= (MIN_TILES_LEARNING if learns else MIN_TILES)
    return enough and not (_autocast() or torch.jit.is_tracing() or torch.compiler.is_compiling())


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolution of stride 1 and padding 1, differentiable once.

    Args:
        x: (N, C, H, W), none of them 0; fastest in channels-last memory.
        weight: (F, C, 3, 3).
        bias: (F,).

    Returns:
        (N, F, H, W) in channels-last memory.
    """
    return _Conv3x3.apply(x, weight, bias)


def apply_kernel(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """:func:`conv3x3` without gradients, from what :func:`transform_kernel` made of the weights."""
    return _convolve(x, kernel.transpose(1, 2), bias)


def transform_kernel(weight: Tensor, *, mirrored: bool = False) -> Tensor:
    """(F, C, 3, 3) -> G w G^T as (36, F, C), four times as large; ``mirrored`` turns the kernel by 180 degrees first."""
    transform = _transforms(weight.dtype)[1]
    columns = weight.permute(2, 3, 0, 1).reshape(KERNEL**2, -1)
    return ((transform.flip(1) if mirrored else transform) @ columns).view(IN**2, *weight.shape[:2])


class _Conv3x3(torch.autograd.Function):
    """All three convolutions of a training step: the output, the gradient of the input, the gradient of the weights."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return _convolve(x, transform_kernel(weight).transpose(1, 2), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _convolve(gradient, transform_kernel(weight, mirrored=True), None)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(x, gradient)
        if ctx.needs_input_grad[2]:
            grad_bias = gradient.sum(dim=(0, 2, 3))
        return grad_x, grad_weight, grad_bias


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """(N, C, H, W) by a transformed kernel (36, C, F) -> (N, F, H, W)."""
    to_outputs, _, to_inputs = _transforms(x.dtype)
    (n, channels, height, width), (rows, columns), features = x.shape, _grid(x), kernel.shape[2]
    out = torch.empty((n, features, rows * OUT, columns * OUT), dtype=x.dtype, memory_format=torch.channels_last)
    by_tiles = out.permute(0, 2, 3, 1).view(n, rows, OUT, columns, OUT, features)
    for part, tiles in _tiles(x, size=IN):
        products = torch.bmm((to_inputs @ tiles).view(IN**2, -1, channels), kernel)  # (36, T, F)
        tiles = (to_outputs @ products.view(IN**2, -1)).view(OUT, OUT, n, -1, columns, features)
        torch.add(tiles.permute(2, 3, 0, 4, 1, 5), 0 if bias is None else bias, out=by_tiles[:, part])
    if out.shape[2:] == x.shape[2:]:
        return out
    return out[:, :, :height, :width].clone(memory_format=torch.channels_last)


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """(N, C, H, W), (N, F, H, W) -> (F, C, 3, 3): the transpose, as a linear map, of output by kernel."""
    to_outputs, to_kernel, to_inputs = _transforms(x.dtype)
    channels, features = x.shape[1], gradient.shape[1]
    kernel = x.new_zeros(IN**2, features, channels)
    for (_, tiles), (_, gradients) in zip(_tiles(x, size=IN), _tiles(gradient, size=OUT), strict=True):
        products = (to_outputs.t() @ gradients).view(IN**2, -1, features)
        kernel.baddbmm_(products.transpose(1, 2), (to_inputs @ tiles).view(IN**2, -1, channels))
    columns = to_kernel.t() @ kernel.view(IN**2, -1)
    return columns.view(KERNEL, KERNEL, features, channels).permute(2, 3, 0, 1)


def _tiles(x: Tensor, *, size: int) -> Iterator[tuple[slice, Tensor]]:
    """Windows of ``size`` pixels every 4 pixels of (N, C, H, W), overlapping by ``size - 4``, with zeros beyond the borders.

    Yields:
        Some rows of tiles of all images, and what they hold as (size^2, T * C): all tiles at once would not stay in the cache.
    """
    n, channels, height, width = x.shape
    rows, columns = _grid(x)
    border = (size - OUT) // 2
    padded = x.new_zeros(n, rows * OUT + 2 * border, columns * OUT + 2 * border, channels)
    padded[:, border : border + height, border : border + width] = x.permute(0, 2, 3, 1)
    image, row, column, channel = padded.stride()
    shape, strides = (size, size, n, rows, columns, channels), (row, column, image, OUT * row, OUT * column, channel)
    windows, step = padded.as_strided(shape, strides), max(1, TILES_AT_ONCE // (n * columns))
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        yield part, windows[:, :, :, part].reshape(size**2, -1)


def _grid(x: Tensor) -> tuple[int, int]:
    """Rows and columns of tiles that cover a map."""
    return -(-x.shape[2] // OUT), -(-x.shape[3] // OUT)


def matrices() -> tuple[list[list[Fraction]], ...]:
    """A^T (4, 6), G (6, 3) and B^T (6, 6) for :data:`POINTS`: the Toom-Cook product of polynomials, transposed."""
    others = [[q for q in POINTS if q != p] for p in POINTS]
    infinity = [Fraction(int(i == OUT - 1)) for i in range(OUT)]
    outputs = [[*(p**i for p in POINTS), infinity[i]] for i in range(OUT)]
    kernel = [
        [p**i / math.prod(p - q for q in rest) for i in range(KERNEL)] for p, rest in zip(POINTS, others, strict=True)
    ]
    kernel.append([Fraction(0)] * (KERNEL - 1) + [Fraction(1)])
    inputs = [[*_polynomial(roots), Fraction(0)] for roots in others] + [_polynomial(POINTS)]
    return outputs, kernel, inputs


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of (x - root), the constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*(root * c for c in coefficients), Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


@functools.cache
def _transforms(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The matrices for rows and columns at once: (16, 36), (36, 9), (36, 36)."""
    with torch.inference_mode(False):
        exact = [torch.tensor([[float(x) for x in row] for row in m], dtype=torch.float64) for m in matrices()]
        return tuple(torch.kron(m, m).to(dtype) for m in exact)


def _autocast() -> bool:
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:  # torch before 2.4
        return torch.is_autocast_cpu_enabled()
