"""A cache for tensors that are computed from parameters, such as folded kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from torch import Tensor

T = TypeVar("T")


class DerivedTensorCache(Generic[T]):
    """Caches one value together with the tensors that it was computed from.

    The value is recomputed if one of these tensors has been replaced or its version counter has
    changed. Autograd raises this counter at every in-place change, so the cache detects
    ``load_state_dict``, ``torch.nn.init`` and most optimizers. It does not detect writes to
    ``parameter.data`` or steps of a fused optimizer. A module must therefore not use its cache in
    training mode, and must call :meth:`clear` in ``train()``, in ``eval()`` and in every forward
    pass with gradients.

    The cached value is not part of a ``state_dict``, and copies and pickles do not contain it.
    """

    def __init__(self) -> None:
        self._entry: tuple[list[Tensor], object, T] | None = None

    def get(
        self, sources: Sequence[Tensor], compute: Callable[[], T], *, setting: object = None
    ) -> T:
        """Return the cached value, or compute it if anything has changed.

        Args:
            sources: the tensors from which ``compute`` calculates the value.
            compute: calculates the value.
            setting: any other input of ``compute``; the value is recomputed when it changes.
        """
        entry = self._entry
        if any(x.is_inference() for x in sources):  # inference tensors have no version counter
            return compute()
        key = setting, [(x.data_ptr(), x._version) for x in sources]
        if (
            entry is not None
            and entry[1] == key
            and all(a is b for a, b in zip(entry[0], sources, strict=True))
        ):
            return entry[2]
        value = compute()
        self._entry = list(sources), key, value
        return value

    def clear(self) -> None:
        """Delete the cached value and free its memory."""
        self._entry = None

    def __reduce__(self) -> tuple[type[DerivedTensorCache[T]], tuple[()]]:
        return DerivedTensorCache, ()
