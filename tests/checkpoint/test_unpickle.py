"""Pickles of arrays are read without executing code."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from retina_plugin.checkpoint.unpickle import DTYPES, read_pickle


def read(content: Any, protocol: int = 4) -> Any:
    return read_pickle(io.BytesIO(pickle.dumps(content, protocol=protocol)))


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_become_tensors(protocol: int) -> None:
    grid = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {
        "grid": grid,
        "columns first": np.asfortranarray(grid),
        "transposed": grid.T,
        "every other": grid[:, ::2],
        "empty": np.zeros((0, 3), dtype=np.float32),
        "one number": np.array(7, dtype=np.int64),
    }
    found = read(
        {"model": OrderedDict(arrays), "__author__": "x", "rate": np.float32(0.5), "steps": [1, 2]},
        protocol,
    )
    for name, array in arrays.items():
        assert_close(
            found["model"][name], torch.tensor(np.ascontiguousarray(array).reshape(array.shape))
        )
    assert (found["__author__"], found["rate"], found["steps"]) == ("x", 0.5, [1, 2])


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_of_numbers(name: str) -> None:
    array = np.array([0, 1, 1], dtype=name)
    assert_close(read({"a": array})["a"], torch.from_numpy(array))


def test_a_pickle_of_python_2() -> None:
    """A pickle of Python 2 has byte strings. It is written by hand, because Python 3 cannot write
    it."""
    text = (
        b"(dp0\nS'conv1_w'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\n"
        b"p3\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"S'\\x00\\x00\\x80?\\x00\\x00\\xc0\\xbf'\ntbs."
    )
    assert_close(read_pickle(io.BytesIO(text))["conv1_w"], torch.tensor([1.0, -1.5]))


class Call:
    """Unpickling this would call ``function``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("true",)),
        (eval, ("1",)),
        (getattr, ("x", "upper")),
        (bytes, (10**12,)),
        (np.load, ("x.npy", None, True)),
        (np.zeros, (3,)),
        (torch.load, ("x.pth",)),
        (torch.storage._load_from_bytes, (b"",)),
        (pickle.loads, (b"",)),
        (__import__, ("os",)),
    ],
)
def test_calls_are_refused(function: Any, arguments: tuple) -> None:
    for content in (
        {"model": Call(function, *arguments)},
        {"model": {"w": Call(function, *arguments)}},
    ):
        for protocol in (0, 2, 4):
            with pytest.raises(pickle.UnpicklingError):
                read(content, protocol)


def test_no_file_is_created(tmp_path: Path) -> None:
    with pytest.raises(pickle.UnpicklingError, match="asks for pathlib"):
        read({"model": Call(Path.touch, tmp_path / "made")})
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.array([object()], dtype=object), "an array of type 'O8'|asks for"),
        (np.array(["a"]), "an array of type 'U1'"),
        (np.zeros(2, dtype=[("a", "f4")]), "an array of type"),
        (np.zeros(2, dtype=">f4"), "big-endian"),
        ({1, 2}, "asks for builtins.set"),
        ({(1, 2): 0}, "a dict has a tuple as a key"),
        (OrderedDict({(1, 2): 0}), "a dict has a tuple as a key"),
        (1j, "asks for builtins.complex"),
        (torch.zeros(1), "asks for torch"),
    ],
)
def test_everything_but_arrays_of_numbers_is_refused(content: Any, words: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match=words):
        read({"a": content}, 2)


@pytest.mark.parametrize(
    "opcodes",
    [
        pytest.param(b"cnumpy\ndtype\n(N}S'__setstate__'\nS'x'\nstb.", id="attributes of a class"),
        pytest.param(
            b"ccollections\nOrderedDict\n(N}S'update'\nS'x'\nstb.", id="attributes of OrderedDict"
        ),
        pytest.param(
            b"c_codecs\nencode\n(N}S'__defaults__'\nS'x'\nstb.", id="attributes of a function"
        ),
        pytest.param(b"cnumpy.core\nmultiarray.scalar.__globals__\n.", id="dotted names"),
        pytest.param(b"\x82\x01.", id="registered extensions"),
        pytest.param(b"Pabc\n.", id="persistent objects"),
    ],
)
def test_hand_made_pickles_change_nothing(opcodes: bytes) -> None:
    """A malicious file does not affect the next file that is read."""
    with contextlib.suppress(pickle.UnpicklingError):
        read_pickle(io.BytesIO(opcodes))
    assert_close(read({"a": np.arange(3)}, 2)["a"], torch.arange(3))
    assert OrderedDict(a=1) == {"a": 1}


@pytest.mark.parametrize(
    "name", ["_codecs\nencode", "numpy.core.multiarray\nscalar", "numpy\ndtype", "builtins\nbytes"]
)
def test_no_object_gets_attributes(name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match="it sets attributes of a"):
        read_pickle(io.BytesIO(f"\x80\x04c{name}\n}}(Vfoo\nVbar\nub.".encode("latin1")))


def test_attributes_of_a_state_dict_are_dropped() -> None:
    state = nn.Linear(1, 1, bias=False).state_dict()
    state["weight"] = state["weight"].numpy()
    assert state._metadata
    for protocol in (0, 2, 4):
        assert list(read({"model": state}, protocol)["model"]) == ["weight"]


def test_a_set_is_refused() -> None:
    for content in ({1, 2}, frozenset([1])):
        with pytest.raises(pickle.UnpicklingError, match="it has a set"):
            read({"a": content}, 4)


@pytest.mark.parametrize(
    "opcodes",
    [
        pytest.param(b"\x80\x04]r" + struct.pack("<I", 2**22) + b".", id="number of an object"),
        pytest.param(b"\x80\x05\x96" + struct.pack("<Q", 2**24) + b".", id="length of a bytearray"),
        pytest.param(
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f4'\ntRI16777216\ntR.",
            id="bytes of a number",
        ),
        pytest.param(
            b"cnumpy.core.numeric\n_frombuffer\n(S''\ncnumpy\ndtype\n(S'f4'\ntR"
            b"(I2097152\n(I0\nttS'C'\ntR.",
            id="shape",
        ),
    ],
)
def test_a_few_bytes_take_no_memory(opcodes: bytes) -> None:
    """Each pickle would allocate 16 MB or more, and gigabytes with larger numbers."""
    tracemalloc.start()
    with contextlib.suppress(pickle.UnpicklingError):
        read_pickle(io.BytesIO(opcodes))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("size", [0, 1, 10, 40, 90, 150])
def test_a_part_of_a_file(size: int) -> None:
    content = pickle.dumps({"a": np.arange(10, dtype=np.float32)}, protocol=4)
    assert size < len(content)
    with pytest.raises(pickle.UnpicklingError):
        read_pickle(io.BytesIO(content[:size]))


def test_an_array_with_too_few_bytes() -> None:
    content = pickle.dumps({"a": np.zeros((2, 3), dtype=np.float32)}, protocol=2)
    with pytest.raises(pickle.UnpicklingError, match=r"an array of shape \(2, 4\) has 24 bytes"):
        read_pickle(io.BytesIO(content.replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86")))
