"""Read pickled NumPy arrays without running code from the pickle.

A pickle is a program that can import and call any function. Here, the few names that arrays need
are replaced by classes and functions of this module, which turn the bytes of an array into a
tensor. Every other name is an error. Sizes that the file claims are compared with its data before
memory is allocated, so a small malicious file cannot use up memory or time.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterable
from typing import IO, Any, ClassVar

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
SUPPORTED = "only arrays of numbers, text, lists and dicts are read from pickles"


def read_pickle(file: IO[bytes]) -> Any:
    """Return the content of a pickle of Python 2 or 3, with tensors in place of NumPy arrays.

    Raises:
        pickle.UnpicklingError: the pickle is broken or contains anything other than arrays of
            numbers, text, lists and dicts.
    """
    try:
        return _arrays_to_tensors(_Unpickler(file, encoding="latin1").load())
    except pickle.UnpicklingError:
        raise
    # A broken pickle can raise many types: EOFError, IndexError, KeyError, MemoryError, ...
    except Exception as error:
        raise pickle.UnpicklingError(
            f"it is broken or not a pickle ({type(error).__name__}: {error})"
        ) from error


class _Dtype:
    """Replaces ``numpy.dtype``."""

    def __init__(self, name: str, *_: Any) -> None:
        if not isinstance(name, str):
            raise pickle.UnpicklingError(
                f"the name of an array type is a {type(name).__name__}, not text"
            )
        if name not in DTYPES:
            raise pickle.UnpicklingError(
                f"it has an array of type {name!r}; supported are {', '.join(DTYPES)}"
            )
        self.dtype = DTYPES[name]

    def set_state(self, state: tuple[Any, ...]) -> None:
        if state[1] == ">":
            raise pickle.UnpicklingError("its numbers are big-endian")


class _Array:
    """Replaces ``numpy.ndarray``; ``tensor`` is missing until :meth:`set_state`."""

    tensor: Tensor

    def __init__(self, *_: Any) -> None:
        """Ignore the arguments of NumPy's ``_reconstruct``; :meth:`set_state` gets the data."""

    def set_state(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.tensor = _tensor(data, dtype, shape, column_major=bool(fortran))


class _Dict(dict[Any, Any]):
    """Replaces ``dict`` and ``OrderedDict``. Tuples are refused as keys, because hashing nested
    tuples can take exponential time."""

    def __init__(self, items: Iterable[Iterable[Any]] = ()) -> None:
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
        # the product of huge integers could take very long
        raise pickle.UnpicklingError("an array has an invalid shape")
    if len(data) != math.prod(shape) * dtype.dtype.itemsize:
        raise pickle.UnpicklingError(f"an array of shape {shape} has {len(data)} bytes")
    # Python 2 pickles store bytes as text.
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
    """Replace ``_codecs.encode``, which pickle protocols before 3 use for bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding!r:.40}, expected latin1")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


# The names that pickles of arrays may use, and what replaces them.
REPLACEMENTS: dict[str, Any] = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": "numpy.ndarray",  # only an argument of _reconstruct
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _frombuffer,
    "collections.OrderedDict": _Dict,
    "_codecs.encode": _encode,
    "builtins.bytes": _empty_bytes,
}


class _Unpickler(pickle._Unpickler):
    """Unpickler that allows only the names of ``REPLACEMENTS``, of any NumPy version.

    It extends the standard library's unpickler in Python, not the one in C, for two reasons. The C
    unpickler allocates a memo as large as the largest index in the file. The Python unpickler also
    allows overriding single opcodes.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}".replace("numpy._core", "numpy.core").replace(
            "__builtin__", "builtins"
        )
        if full_name not in REPLACEMENTS:
            raise pickle.UnpicklingError(f"it asks for {full_name}, and {SUPPORTED}")
        return REPLACEMENTS[full_name]

    def load_build(self) -> None:
        """Set the state of an array or a dtype. Attributes of dicts, which torch adds to state
        dicts, are ignored."""
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
        """Read a bytearray as bytes. ``read`` allocates no more memory than the file has bytes."""
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    def load_set(self) -> None:
        raise pickle.UnpicklingError(f"it has a set, and {SUPPORTED}")

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.EMPTY_DICT[0]] = load_empty_dictionary
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.EMPTY_SET[0]] = dispatch[pickle.FROZENSET[0]] = load_set


def _arrays_to_tensors(found: Any, depth: int = 2) -> Any:
    """Replace arrays by tensors in nested dicts. Two levels are enough for checkpoints."""
    if isinstance(found, _Array):
        return found.tensor
    if isinstance(found, dict) and depth:
        return {key: _arrays_to_tensors(value, depth - 1) for key, value in found.items()}
    return found
