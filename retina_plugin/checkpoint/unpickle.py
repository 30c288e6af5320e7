"""Pickled NumPy arrays, read without running the pickle.

A pickle is a program: it may name any function of any module and call it. Here it gets stand-ins
for the few names that arrays need, and an error for every other. The stand-ins keep the bytes of an
array and make a tensor of them; NumPy itself is not called. Nothing is allocated or computed on the
word of the file alone, so that a few bytes cannot take gigabytes or hours.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable
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
READ = "only arrays of numbers, text, lists and dicts are read from pickles"


def read_pickle(file: IO[bytes]) -> Any:
    """The content of a pickle of Python 2 or 3, with tensors in place of arrays.

    Raises:
        pickle.UnpicklingError: it asks for anything but arrays of numbers, text, lists and dicts,
        or it is broken.
    """
    try:
        return _plain(_Unpickler(file, encoding="latin1").load())
    except pickle.UnpicklingError:
        raise
    # whatever its opcodes can come to: EOFError, IndexError, KeyError, MemoryError, ...
    except Exception as error:
        raise pickle.UnpicklingError(
            f"it is broken or no pickle ({type(error).__name__}: {error})"
        ) from error


class _Dtype:
    """``numpy.dtype("f4")``."""

    def __init__(self, name: str, *_: Any) -> None:
        if not isinstance(name, str):
            raise pickle.UnpicklingError(
                f"the type of an array is named by a {type(name).__name__}"
            )
        if name not in DTYPES:
            raise pickle.UnpicklingError(
                f"it has an array of type {name!r}, known are {', '.join(DTYPES)}"
            )
        self.dtype = DTYPES[name]

    def set_state(self, state: tuple) -> None:
        if state[1] == ">":
            raise pickle.UnpicklingError("its numbers are big-endian")


class _Array:
    """``numpy.ndarray``, empty until the pickle sets its state."""

    tensor: Tensor

    def __init__(self, *_: Any) -> None:
        """Arguments of NumPy's ``_reconstruct``, which say nothing of the array that is to come."""

    def set_state(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.tensor = _tensor(data, dtype, shape, column_major=bool(fortran))


class _Dict(dict):
    """``dict`` and ``OrderedDict``. A tuple of tuples of the same tuples can take for ever to hash,
    so none is a key."""

    def __init__(self, items: Iterable[Iterable] = ()) -> None:
        super().__init__()
        for key, value in items:
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, (str, bytes, int, float)):
            raise pickle.UnpicklingError(f"a dict has a {type(key).__name__} as a key")
        super().__setitem__(key, value)


def _tensor(
    data: bytes | str, dtype: _Dtype, shape: tuple[int, ...], *, column_major: bool
) -> Tensor:
    if not isinstance(data, (bytes, str)):
        raise pickle.UnpicklingError(f"an array is made of a {type(data).__name__}")
    if len(shape) > 64 or not all(
        isinstance(length, int) and length.bit_length() < 64 for length in shape
    ):
        # its product could take for ever
        raise pickle.UnpicklingError("the shape of an array is none")
    if len(data) != math.prod(shape) * dtype.dtype.itemsize:
        raise pickle.UnpicklingError(f"an array of shape {shape} has {len(data)} bytes")
    # text: bytes of Python 2
    raw = bytearray(data.encode("latin1") if isinstance(data, str) else data)
    flat = torch.frombuffer(raw, dtype=dtype.dtype) if raw else torch.empty(0, dtype=dtype.dtype)
    return (
        flat.view(shape[::-1]).permute(*range(len(shape))[::-1]).contiguous()
        if column_major
        else flat.view(shape)
    )


def _scalar(dtype: _Dtype, data: bytes | str) -> Any:
    return _tensor(data, dtype, (), column_major=False).item()


def _frombuffer(data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.tensor = _tensor(data, dtype, shape, column_major=order == "F")
    return array


def _encode(text: str, encoding: str) -> bytes:
    """How protocols before 3 write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError("it encodes text, and not as latin1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


STAND_INS = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": "numpy.ndarray",  # only ever handed to _reconstruct
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _frombuffer,
    "collections.OrderedDict": _Dict,
    "_codecs.encode": _encode,
    "builtins.bytes": _no_bytes,
}


class _Unpickler(pickle._Unpickler):
    """Knows the names that pickles of arrays use, by every version of NumPy, and no others.

    It is Python's own unpickler in Python, because that one remembers objects in a dict: the one in
    C has an array, as long as the largest number that the file gives an object. It also lets single
    opcodes be defined anew.
    """

    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}".replace("numpy._core", "numpy.core").replace(
            "__builtin__", "builtins"
        )
        if asked not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {asked}, and {READ}")
        return STAND_INS[asked]

    def load_build(self) -> None:
        """Only arrays and their types have a state. Attributes of dicts, such as torch gives its
        state dicts, are dropped."""
        state, owner = self.stack.pop(), self.stack[-1]
        if isinstance(owner, (_Array, _Dtype)):
            owner.set_state(state)
        elif not isinstance(owner, _Dict):
            raise pickle.UnpicklingError(f"it sets attributes of a {type(owner).__name__}")

    def load_empty_dictionary(self) -> None:
        self.append(_Dict())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(_Dict(zip(items[::2], items[1::2], strict=True)))

    def load_bytearray8(self) -> None:
        """As bytes, so that no more are made than the file has."""
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    def load_set(self) -> None:
        raise pickle.UnpicklingError(f"it has a set, and {READ}")

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.EMPTY_DICT[0]] = load_empty_dictionary
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.EMPTY_SET[0]] = dispatch[pickle.FROZENSET[0]] = load_set


def _plain(found: Any, depth: int = 2) -> Any:
    """Arrays as tensors, in dicts down to ``depth``; a checkpoint has its arrays no deeper."""
    if isinstance(found, _Array):
        return found.tensor
    if isinstance(found, dict) and depth:
        return {key: _plain(value, depth - 1) for key, value in found.items()}
    return found
