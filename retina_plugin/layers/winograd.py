"""Winograd convolution: 3x3 convolutions on the CPU with a quarter of the multiplications (Lavin
and Gray, arXiv 1509.09308).

On a CPU, convolutions take about 90% of RetinaNet's time and are limited by the arithmetic units,
so they become faster only with fewer operations. A tile of 4x4 outputs depends on 6x6 inputs. The
direct sum needs 144 multiplications per tile and pair of channels, and this algorithm needs 36:

    Y = A^T [(G w G^T) * (B^T d B)] A

Here d are the 6x6 inputs, w is the 3x3 kernel, Y are the 4x4 outputs and * is the elementwise
product. Summed over the input channels, the elementwise products of all tiles become 36 matrix
products. The result differs from the direct sum by rounding only; in float32, both differ from a
float64 convolution in the seventh digit.

Axes: N images, C input channels, F output channels, H and W, T tiles, and 36 = 6 * 6 elements of a
transformed tile.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

OUT, KERNEL, IN = 4, 3, 6  # side lengths of an output tile, the kernel and an input tile

# The interpolation points; the sixth one is infinity. The usual 0, 1, -1, 2, -2 double the error.
POINTS = (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2))

# With fewer channels or tiles, the transforms take more time than they save. Training needs more
# tiles, because every step transforms the kernel and its gradient.
MIN_CHANNELS, MIN_TILES, MIN_TILES_TRAINING = 256, 32, 256

TILES_AT_ONCE = 320  # a larger number needs more memory and is not faster

TileRows = tuple[int, slice]  # index of a feature map, and a range of its rows of tiles


def is_faster(maps: Sequence[Tensor], weight: Tensor) -> bool:
    """Return whether :func:`conv3x3` is expected to be faster than PyTorch's convolution.

    This is expected for float32 on a CPU without autocast, if torch has MKL and there are enough
    channels and tiles.
    """
    on_cpu = all(
        x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.dim() == 4
        for x in maps
    )
    if not on_cpu or min(weight.shape[:2]) < MIN_CHANNELS or not _has_mkl():
        return False
    training = torch.is_grad_enabled() and (
        weight.requires_grad or any(x.requires_grad for x in maps)
    )
    enough = sum(len(x) * math.prod(_grid(x)) for x in maps) >= (
        MIN_TILES_TRAINING if training else MIN_TILES
    )
    return enough and not _autocast()


def conv3x3(maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Convolve several feature maps with stride 1 and padding 1. Differentiable once.

    Args:
        maps: each (N, C, H, W), with any N, H and W above 0; fastest in channels-last memory.
        weight: (F, C, 3, 3).
        bias: (F,) or None.

    Returns:
        (N, F, H, W) for each map, in channels-last memory.
    """
    return list(_Conv3x3.apply(weight, bias, *maps))


def transform_kernel(weight: Tensor) -> Tensor:
    """Return the kernel for :func:`apply_kernel`: (F, C, 3, 3) -> (36, C, F), four times as
    large."""
    return _transform_kernel(weight).transpose(1, 2).contiguous()


def apply_kernel(maps: Sequence[Tensor], kernel: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Compute :func:`conv3x3` without gradients, with a kernel from :func:`transform_kernel`."""
    return _convolve(maps, kernel, bias)


class _Conv3x3(torch.autograd.Function):
    """The convolution and its backward pass, both computed with Winograd's algorithm."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, *maps: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(weight, *maps)
        return tuple(_convolve(maps, _transform_kernel(weight).transpose(1, 2), bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, *maps = ctx.saved_tensors
        grad_weight = grad_bias = None
        grad_maps: Sequence[Tensor | None] = [None] * len(maps)
        if ctx.needs_input_grad[0]:
            grad_weight = _weight_gradient(maps, gradients)
        if ctx.needs_input_grad[1]:
            zero = weight.new_zeros(())
            grad_bias = sum((gradient.sum(dim=(0, 2, 3)) for gradient in gradients), start=zero)
        if any(ctx.needs_input_grad[2:]):
            grad_maps = _convolve(gradients, _transform_kernel(weight, mirrored=True), None)
        return grad_weight, grad_bias, *grad_maps


def _convolve(maps: Sequence[Tensor], kernel: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Convolve maps (N, C, H, W) with a transformed kernel (36, C, F) -> (N, F, H, W) each."""
    (to_outputs, _, to_inputs), features = _transforms(kernel.dtype), kernel.shape[2]
    windows = [_windows(x, size=IN) for x in maps]
    outputs = [_empty_output(x, features) for x in maps]
    for batch in _tile_batches(maps):
        tiles = _gather(windows, batch)
        halfway = tiles.new_empty(IN, OUT, tiles.shape[2], features)
        for row, row_kernel, out in zip(
            _rows(to_inputs, tiles), kernel.chunk(IN), halfway, strict=True
        ):
            torch.mm(to_outputs, torch.bmm(row, row_kernel).view(IN, -1), out=out.view(OUT, -1))
        tiles = _multiply_first_axis(to_outputs, halfway)  # (4, 4, T, F)
        for (index, rows), part in zip(batch, _split(tiles, maps, batch), strict=True):
            torch.add(
                part.permute(2, 3, 0, 4, 1, 5),
                0 if bias is None else bias,
                out=_by_tiles(outputs[index])[:, rows],
            )
    return [_crop(y, x) for y, x in zip(outputs, maps, strict=True)]


def _weight_gradient(maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Return the gradient (F, C, 3, 3) of the kernel, from the inputs (N, C, H, W) and the
    gradients (N, F, H, W) of the outputs."""
    to_outputs, to_kernel, to_inputs = _transforms(maps[0].dtype)
    windows, grad_windows = (
        [_windows(x, size=IN) for x in maps],
        [_windows(x, size=OUT) for x in gradients],
    )
    kernel = maps[0].new_zeros(IN, IN, gradients[0].shape[1], maps[0].shape[1])
    for batch in _tile_batches(maps):
        rows = _rows(to_inputs, _gather(windows, batch))
        grad_rows = _rows(to_outputs.t(), _gather(grad_windows, batch))
        for out, row, grad_row in zip(kernel, rows, grad_rows, strict=True):
            out.baddbmm_(grad_row.transpose(1, 2), row)
    return torch.stack(list(_rows(to_kernel.t(), kernel))).permute(2, 3, 0, 1)


def _transform_kernel(weight: Tensor, *, mirrored: bool = False) -> Tensor:
    """Return G w G^T: (F, C, 3, 3) -> (36, F, C). ``mirrored`` rotates the kernel by 180 degrees
    first."""
    matrix = _transforms(weight.dtype)[1]
    return torch.cat(
        list(_rows(matrix.flip(1) if mirrored else matrix, weight.permute(2, 3, 0, 1)))
    )


def _rows(matrix: Tensor, x: Tensor) -> Iterator[Tensor]:
    """Multiply the first two axes of x (b, b, ...) by a matrix (a, b); yield the a rows of the
    result, (a, ...) each.

    The tiles, the kernel and their products of one row fit into the CPU's cache.
    """
    for row in _multiply_first_axis(matrix, x):
        yield _multiply_first_axis(matrix, row)


def _multiply_first_axis(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply the first axis of x (b, ...) by a matrix (a, b) -> (a, ...)."""
    return (matrix @ x.reshape(len(x), -1)).view(len(matrix), *x.shape[1:])


def _windows(x: Tensor, *, size: int) -> Tensor:
    """Return the window of the zero-padded map for each tile.

    The windows lie 4 pixels apart and overlap by ``size - 4``. They are a view of a padded copy:
    (N, C, H, W) -> (size, size, N, rows, columns, C).
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


def _tile_batches(maps: Sequence[Tensor]) -> Iterator[list[TileRows]]:
    """Divide the rows of tiles of all maps into batches of about :data:`TILES_AT_ONCE` tiles."""
    batch: list[TileRows] = []
    remaining = TILES_AT_ONCE
    for index, x in enumerate(maps):
        rows, columns = _grid(x)
        start, in_a_row = 0, len(x) * columns
        while start < rows:
            count = min(rows - start, max(remaining // in_a_row, 0 if batch else 1))
            if count:
                batch.append((index, slice(start, start + count)))
                start, remaining = start + count, remaining - count * in_a_row
            if start < rows:
                yield batch
                batch, remaining = [], TILES_AT_ONCE
    yield batch


def _gather(windows: Sequence[Tensor], batch: Sequence[TileRows]) -> Tensor:
    """Copy the windows of a batch into one tensor (size, size, T, C)."""
    parts = [windows[index][:, :, :, rows] for index, rows in batch]
    counts = [math.prod(part.shape[2:5]) for part in parts]
    tiles = parts[0].new_empty(*parts[0].shape[:2], sum(counts), parts[0].shape[-1])
    # flatten() would copy the overlapping windows a second time
    for target, part in zip(tiles.split_with_sizes(counts, dim=2), parts, strict=True):
        target.view(part.shape).copy_(part)
    return tiles


def _split(tiles: Tensor, maps: Sequence[Tensor], batch: Sequence[TileRows]) -> list[Tensor]:
    """Undo :func:`_gather`: (4, 4, T, F) -> (4, 4, N, rows, columns, F) for each entry of the
    batch."""
    shapes = [
        (len(maps[index]), rows.stop - rows.start, _grid(maps[index])[1]) for index, rows in batch
    ]
    parts = tiles.split_with_sizes([math.prod(shape) for shape in shapes], dim=2)
    return [
        part.view(OUT, OUT, *shape, part.shape[-1])
        for part, shape in zip(parts, shapes, strict=True)
    ]


def _grid(x: Tensor) -> tuple[int, int]:
    """Return the number of rows and columns of tiles that cover a map."""
    return -(-x.shape[2] // OUT), -(-x.shape[3] // OUT)


def _empty_output(x: Tensor, features: int) -> Tensor:
    """Return uninitialised outputs (N, F, H', W'); H' and W' are H and W rounded up to tiles."""
    rows, columns = _grid(x)
    shape = len(x), features, rows * OUT, columns * OUT
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _by_tiles(output: Tensor) -> Tensor:
    """Return a view (N, rows, 4, columns, 4, F) of (N, F, H', W')."""
    n, features, height, width = output.shape
    shape = n, height // OUT, OUT, width // OUT, OUT, features
    return output.permute(0, 2, 3, 1).view(shape)


def _crop(output: Tensor, x: Tensor) -> Tensor:
    """Crop an output to the size of its input.

    The result is a copy if anything is cut off: autograd forbids in-place changes of a view that a
    Function returns.
    """
    if output.shape[2:] == x.shape[2:]:
        return output
    return output[:, :, : x.shape[2], : x.shape[3]].clone(memory_format=torch.channels_last)


def matrices() -> tuple[list[list[Fraction]], ...]:
    """Return A^T (4, 6), G (6, 3) and B^T (6, 6) for :data:`POINTS`, by the transposed Toom-Cook
    algorithm."""
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
    """Return the coefficients of the product of all (x - root), the constant term first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = (
            [Fraction(0), *coefficients],
            [*(root * c for c in coefficients), Fraction(0)],
        )
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


@functools.cache
def _float_matrices() -> tuple[list[list[float]], ...]:
    return tuple([[float(x) for x in row] for row in matrix] for matrix in matrices())


def _transforms(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return A^T, G and B^T as new tensors.

    Cached tensors could not be used in training if they were created in inference mode.
    """
    outputs, kernel, inputs = (
        torch.tensor(matrix, dtype=dtype, device="cpu") for matrix in _float_matrices()
    )
    return outputs, kernel, inputs


def _has_mkl() -> bool:
    available: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]  # in torch
    return available


def _autocast() -> bool:
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:  # torch before 2.4
        return torch.is_autocast_cpu_enabled()
