"""Which tensors need code with fixed shapes: no shape, branch or check may depend on a value."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def is_traced(tensor: Tensor) -> bool:
    """Whether operations on the tensor are recorded and run later, if at all: while
    ``torch.compile``, ``torch.export`` or ``torch.jit.trace`` follow the code, and for fake
    tensors and those of the meta device, which have a shape and no values."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or tensor.is_meta:
        return True
    # torch has no public test for fake tensors; like the wrappers of compilers they are subclasses
    return type(tensor) not in (Tensor, nn.Parameter)


def needs_fixed_shapes(tensor: Tensor) -> bool:
    """Whether code on the tensor takes masks and gathers instead of ``nonzero``, boolean indices
    and ``item``: on an accelerator, which all of these would have to wait for, and where there are
    no values yet, see :func:`is_traced`."""
    return tensor.device.type != "cpu" or is_traced(tensor)
