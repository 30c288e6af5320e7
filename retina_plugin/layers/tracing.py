"""Detect traced or compiled code, in which no shape may depend on the values of a tensor."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def is_jit_tracing() -> bool:
    """Return whether ``torch.jit.trace`` is running."""
    # torch neither exports nor annotates this function
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing


def is_traced(tensor: Tensor) -> bool:
    """Return whether operations on the tensor are recorded instead of executed.

    This is the case in ``torch.compile``, ``torch.export`` and ``torch.jit.trace``, and for fake
    and meta tensors, which have a shape but no values.
    """
    if torch.compiler.is_compiling() or is_jit_tracing() or tensor.is_meta:
        return True
    # torch has no public test for fake tensors; they are subclasses, like the tensors of compilers
    return type(tensor) not in (Tensor, nn.Parameter)


def needs_fixed_shapes(tensor: Tensor) -> bool:
    """Return whether to use masks and gathers, not ``nonzero``, boolean indexing and ``item``.

    The latter make the CPU wait for an accelerator, and they do not work on traced tensors, see
    :func:`is_traced`.
    """
    return tensor.device.type != "cpu" or is_traced(tensor)
