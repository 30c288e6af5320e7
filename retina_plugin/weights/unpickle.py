"""Pickled NumPy arrays, read without running the pickle.

A pickle is a program: it may name any function of any module and call it. Here it gets stand-ins for the few names that arrays need,
and an error for every other. The stand-ins keep the bytes of an array and make a tensor of them; NumPy itself is not called.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from typing import IO, Any

import torch
from torch import Tensor

DTYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}


def read_pickle(file: IO[bytes]) -> Any:
    """The content of a pickle of Python 2 or 3, with tensors in place of arrays.

    Raises:
        pickle.UnpicklingError: it asks for anything but arrays of numbers, text, lists and dicts, or it is broken.
    """
    try:
        return _plain(_Unpickler(file, encoding="latin1").load())
    except pickle.UnpicklingError:
        raise
    except (
        Exception
    ) as error:  # a broken pickle may do anything that its opcodes can: EOFError, IndexError, TypeError, ...
        raise pickle.UnpicklingError(str(error) or type(error).__name__) from error


class _Dtype:
    """``numpy.dtype("f4")``."""

    def __init__(self, name: str, *_: Any) -> None:
        if name not in DTYPES:
            raise pickle.UnpicklingError(f"it has an array of type {name!r}, known are {', '.join(DTYPES)}")
        self.dtype = DTYPES[name]

    def __setstate__(self, state: tuple) -> None:
        if state[1] == ">":
            raise pickle.UnpicklingError("its numbers are big-endian")


class _Array:
    """``numpy.ndarray``, empty until the pickle sets its state."""

    tensor: Tensor

    def __init__(self, *_: Any) -> None:
        """Arguments of NumPy's ``_reconstruct``, which say nothing of the array that is to come."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.tensor = _tensor(data, dtype, shape, column_major=bool(fortran))


def _tensor(data: bytes | str, dtype: _Dtype, shape: tuple[int, ...], *, column_major: bool) -> Tensor:
    raw = bytearray(data.encode("latin1") if isinstance(data, str) else data)  # text: bytes of Python 2
    if len(raw) != math.prod(shape) * dtype.dtype.itemsize:
        raise pickle.UnpicklingError(f"an array of shape {shape} has {len(raw)} bytes")
    flat = torch.frombuffer(raw, dtype=dtype.dtype) if raw else torch.empty(0, dtype=dtype.dtype)
    return flat.view(shape[::-1]).permute(*range(len(shape))[::-1]).contiguous() if column_major else flat.view(shape)


class _Unpickler(pickle.Unpickler):
    """Knows the names that pickles of arrays use, by every version of NumPy, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in. A pickle may set attributes on what it is given, on functions too; methods and classes with a state refuse that."""
        known = {
            "numpy.dtype": _Dtype,
            "numpy.ndarray": "numpy.ndarray",  # only ever handed to _reconstruct
            "numpy.core.multiarray._reconstruct": _Array,
            "numpy.core.multiarray.scalar": self._scalar,
            "numpy.core.numeric._frombuffer": self._frombuffer,
            "collections.OrderedDict": OrderedDict,
            "_codecs.encode": self._encode,
            "builtins.bytes": self._no_bytes,
        }
        asked = f"{module}.{name}".replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        if asked not in known:
            raise pickle.UnpicklingError(
                f"it asks for {asked}, and only arrays of numbers, text, lists and dicts are read from pickles"
            )
        return known[asked]

    def _scalar(self, dtype: _Dtype, data: bytes | str) -> Any:
        return _tensor(data, dtype, (), column_major=False).item()

    def _frombuffer(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
        array = _Array()
        array.tensor = _tensor(data, dtype, shape, column_major=order == "F")
        return array

    def _encode(self, text: str, encoding: str) -> bytes:
        """How protocols before 3 write bytes."""
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it encodes text as {encoding}")
        return text.encode("latin1")

    def _no_bytes(self) -> bytes:
        return b""


def _plain(found: Any, depth: int = 2) -> Any:
    """Arrays as tensors, in dicts down to ``depth``; a checkpoint has its arrays no deeper."""
    if isinstance(found, _Array):
        return found.tensor
    if isinstance(found, dict) and depth:
        return {key: _plain(value, depth - 1) for key, value in found.items()}
    return found
