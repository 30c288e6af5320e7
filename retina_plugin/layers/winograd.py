"""3x3 convolutions on the CPU with a quarter of the multiplications (Winograd; Lavin and Gray,
arXiv 1509.09308).

On a CPU the convolutions of RetinaNet take nine tenths of the time and run at the limit of its
arithmetic units, so only fewer operations make them faster. A tile of 4x4 outputs depends on 6x6
inputs and takes 144 multiplications for each pair of channels. Read as a product of polynomials
that are evaluated at six points in each direction, it takes 36:

    Y = A^T [(G w G^T) * (B^T d B)] A      d 6x6 inputs, w 3x3 weights, Y 4x4 outputs, * element by
    element

Summed over the channels, these products are 36 matrix products over all tiles. The result is that
of the direct sum but for the order of roundings: both differ from float64 in the seventh digit.

Axes: N images, C input channels, F output channels, H and W, T tiles, 36 = 6 * 6 products of a
tile.
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

# With fewer channels or tiles the transforms cost more than the multiplications that they save.
# Learning transforms the weights, there and back, in every step.
MIN_CHANNELS, MIN_TILES, MIN_TILES_LEARNING = 256, 32, 256

TILES_AT_ONCE = 320  # more would only take more memory

Piece = tuple[int, slice]  # which map, which rows of its tiles


def is_faster(maps: Sequence[Tensor], weight: Tensor) -> bool:
    """Whether :func:`conv3x3` beats the direct sum: float32 on a CPU with MKL's matrix products,
    and enough channels and tiles."""
    on_cpu = all(
        x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.dim() == 4
        for x in maps
    )
    if not on_cpu or min(weight.shape[:2]) < MIN_CHANNELS or not torch.backends.mkl.is_available():
        return False
    learns = torch.is_grad_enabled() and (
        weight.requires_grad or any(x.requires_grad for x in maps)
    )
    enough = sum(len(x) * math.prod(_grid(x)) for x in maps) >= (
        MIN_TILES_LEARNING if learns else MIN_TILES
    )
    return enough and not _autocast()


def conv3x3(maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Convolution of stride 1 and padding 1 of several maps, differentiable once.

    Args:
        maps: each (N, C, H, W), of any sizes but 0; fastest in channels-last memory.
        weight: (F, C, 3, 3).
        bias: (F,).

    Returns:
        For each map (N, F, H, W) in channels-last memory.
    """
    return list(_Conv3x3.apply(weight, bias, *maps))


def transform_kernel(weight: Tensor) -> Tensor:
    """(F, C, 3, 3) -> (36, C, F), four times as large: what :func:`apply_kernel` needs of the
    weights."""
    return _transform_kernel(weight).transpose(1, 2).contiguous()


def apply_kernel(maps: Sequence[Tensor], kernel: Tensor, bias: Tensor | None) -> list[Tensor]:
    """:func:`conv3x3` without gradients."""
    return _convolve(maps, kernel, bias)


class _Conv3x3(torch.autograd.Function):
    """All three convolutions of a training step: the outputs, the gradients of the inputs, the
    gradient of the weights."""

    @staticmethod
    def forward(ctx, weight, bias, *maps):
        ctx.save_for_backward(weight, *maps)
        return tuple(_convolve(maps, _transform_kernel(weight).transpose(1, 2), bias))

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        weight, *maps = ctx.saved_tensors
        grad_weight = grad_bias = None
        grad_maps: Sequence[Tensor | None] = [None] * len(maps)
        if ctx.needs_input_grad[0]:
            grad_weight = _weight_gradient(maps, gradients)
        if ctx.needs_input_grad[1]:
            grad_bias = sum(gradient.sum(dim=(0, 2, 3)) for gradient in gradients)
        if any(ctx.needs_input_grad[2:]):
            grad_maps = _convolve(gradients, _transform_kernel(weight, mirrored=True), None)
        return grad_weight, grad_bias, *grad_maps


def _convolve(maps: Sequence[Tensor], kernel: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Maps (N, C, H, W) by a transformed kernel (36, C, F) -> (N, F, H, W) each."""
    (to_outputs, _, to_inputs), features = _transforms(kernel.dtype), kernel.shape[2]
    windows = [_windows(x, size=IN) for x in maps]
    outputs = [_empty_output(x, features) for x in maps]
    for pieces in _plan(maps):
        tiles = _gather(windows, pieces)
        halfway = tiles.new_empty(IN, OUT, tiles.shape[2], features)
        for row, row_kernel, out in zip(
            _rows(to_inputs, tiles), kernel.split(IN), halfway, strict=True
        ):
            torch.mm(to_outputs, torch.bmm(row, row_kernel).view(IN, -1), out=out.view(OUT, -1))
        tiles = _on_first(to_outputs, halfway)  # (4, 4, T, F)
        for (index, rows), part in zip(pieces, _split(tiles, maps, pieces), strict=True):
            torch.add(
                part.permute(2, 3, 0, 4, 1, 5),
                0 if bias is None else bias,
                out=_by_tiles(outputs[index])[:, rows],
            )
    return [_crop(y, x) for y, x in zip(outputs, maps, strict=True)]


def _weight_gradient(maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Maps (N, C, H, W) and gradients (N, F, H, W) -> (F, C, 3, 3): the transpose, as a linear map,
    of output by kernel."""
    to_outputs, to_kernel, to_inputs = _transforms(maps[0].dtype)
    windows, grad_windows = (
        [_windows(x, size=IN) for x in maps],
        [_windows(x, size=OUT) for x in gradients],
    )
    kernel = maps[0].new_zeros(IN, IN, gradients[0].shape[1], maps[0].shape[1])
    for pieces in _plan(maps):
        rows = _rows(to_inputs, _gather(windows, pieces))
        grad_rows = _rows(to_outputs.t(), _gather(grad_windows, pieces))
        for out, row, grad_row in zip(kernel, rows, grad_rows, strict=True):
            out.baddbmm_(grad_row.transpose(1, 2), row)
    return torch.stack(list(_rows(to_kernel.t(), kernel))).permute(2, 3, 0, 1)


def _transform_kernel(weight: Tensor, *, mirrored: bool = False) -> Tensor:
    """(F, C, 3, 3) -> G w G^T as (36, F, C); ``mirrored`` turns the kernel by 180 degrees first."""
    matrix = _transforms(weight.dtype)[1]
    return torch.cat(
        list(_rows(matrix.flip(1) if mirrored else matrix, weight.permute(2, 3, 0, 1)))
    )


def _rows(matrix: Tensor, x: Tensor) -> Iterator[Tensor]:
    """The rows, (a, ...) each, of a matrix (a, b) applied to the first and to the second axis of x
    (b, b, ...).

    One after the other: six of the 36 products, their kernels and their inputs fit into the cache
    together.
    """
    for row in _on_first(matrix, x):
        yield _on_first(matrix, row)


def _on_first(matrix: Tensor, x: Tensor) -> Tensor:
    """(a, b) by (b, ...) -> (a, ...)."""
    return (matrix @ x.reshape(len(x), -1)).view(len(matrix), *x.shape[1:])


def _windows(x: Tensor, *, size: int) -> Tensor:
    """Windows every 4 pixels, overlapping by ``size - 4``, as a view of a copy with zeros beyond
    the borders.

    (N, C, H, W) -> (size, size, N, rows, columns, C)
    """
    n, channels, height, width = x.shape
    rows, columns = _grid(x)
    border = (size - OUT) // 2
    padded = x.new_zeros(n, rows * OUT + 2 * border, columns * OUT + 2 * border, channels)
    padded[:, border : border + height, border : border + width] = x.permute(0, 2, 3, 1)
    image, row, column, channel = padded.stride()
    return padded.as_strided(
        (size, size, n, rows, columns, channels),
        (row, column, image, OUT * row, OUT * column, channel),
    )


def _plan(maps: Sequence[Tensor]) -> Iterator[list[Piece]]:
    """Rows of tiles, of one map or of several small ones, in groups of about
    :data:`TILES_AT_ONCE`."""
    pieces: list[Piece] = []
    room = TILES_AT_ONCE
    for index, x in enumerate(maps):
        rows, columns = _grid(x)
        start, in_a_row = 0, len(x) * columns
        while start < rows:
            count = min(rows - start, max(room // in_a_row, 0 if pieces else 1))
            if count:
                pieces.append((index, slice(start, start + count)))
                start, room = start + count, room - count * in_a_row
            if start < rows:
                yield pieces
                pieces, room = [], TILES_AT_ONCE
    yield pieces


def _gather(windows: Sequence[Tensor], pieces: Sequence[Piece]) -> Tensor:
    """The windows of some pieces, one after the other: (size, size, T, C)."""
    parts = [windows[index][:, :, :, rows] for index, rows in pieces]
    counts = [math.prod(part.shape[2:5]) for part in parts]
    tiles = parts[0].new_empty(*parts[0].shape[:2], sum(counts), parts[0].shape[-1])
    for place, part in zip(tiles.split(counts, dim=2), parts, strict=True):
        place.unflatten(2, part.shape[2:5]).copy_(
            part
        )  # at once: overlapping windows cannot be flattened without a copy of their own
    return tiles


def _split(tiles: Tensor, maps: Sequence[Tensor], pieces: Sequence[Piece]) -> list[Tensor]:
    """The inverse of :func:`_gather`: (4, 4, T, F) -> (4, 4, N, rows, columns, F) for each
    piece."""
    shapes = [
        (len(maps[index]), rows.stop - rows.start, _grid(maps[index])[1]) for index, rows in pieces
    ]
    parts = tiles.split([math.prod(shape) for shape in shapes], dim=2)
    return [part.unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)]


def _grid(x: Tensor) -> tuple[int, int]:
    """Rows and columns of tiles that cover a map."""
    return -(-x.shape[2] // OUT), -(-x.shape[3] // OUT)


def _empty_output(x: Tensor, features: int) -> Tensor:
    rows, columns = _grid(x)
    shape = len(x), features, rows * OUT, columns * OUT
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _by_tiles(output: Tensor) -> Tensor:
    """A view (N, rows, 4, columns, 4, F) of (N, F, H, W)."""
    return output.permute(0, 2, 3, 1).unflatten(2, (-1, OUT)).unflatten(1, (-1, OUT))


def _crop(output: Tensor, x: Tensor) -> Tensor:
    """Without what the last tiles have beyond the borders; never a view, because autograd lets
    nobody write to a Function's views."""
    if output.shape[2:] == x.shape[2:]:
        return output
    return output[:, :, : x.shape[2], : x.shape[3]].clone(memory_format=torch.channels_last)


def matrices() -> tuple[list[list[Fraction]], ...]:
    """A^T (4, 6), G (6, 3) and B^T (6, 6) for :data:`POINTS`: the Toom-Cook product of polynomials,
    transposed."""
    others = [[q for q in POINTS if q != p] for p in POINTS]
    infinity = [Fraction(int(i == OUT - 1)) for i in range(OUT)]
    outputs = [[*(p**i for p in POINTS), infinity[i]] for i in range(OUT)]
    kernel = [
        [p**i / math.prod(p - q for q in rest) for i in range(KERNEL)]
        for p, rest in zip(POINTS, others, strict=True)
    ]
    kernel.append([Fraction(0)] * (KERNEL - 1) + [Fraction(1)])
    inputs = [[*_polynomial(roots), Fraction(0)] for roots in others] + [_polynomial(POINTS)]
    return outputs, kernel, inputs


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of (x - root), the constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = (
            [Fraction(0), *coefficients],
            [*(root * c for c in coefficients), Fraction(0)],
        )
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


@functools.cache
def _numbers() -> tuple[list[list[float]], ...]:
    return tuple([[float(x) for x in row] for row in matrix] for matrix in matrices())


def _transforms(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A^T, G and B^T. Kept as numbers: a tensor would belong to the mode, of inference or of fake
    tensors, that was on when it was made."""
    return tuple(torch.tensor(matrix, dtype=dtype, device="cpu") for matrix in _numbers())


def _autocast() -> bool:
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:  # torch before 2.4
        return torch.is_autocast_cpu_enabled()
