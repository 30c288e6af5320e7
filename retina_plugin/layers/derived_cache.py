"""Values that are computed from parameters, kept for as long as the parameters stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from torch import Tensor

T = TypeVar("T")


class DerivedTensorCache(Generic[T]):
    """One value and what it was computed from. It belongs to no ``state_dict``, and copying or
    pickling its owner leaves it behind.

    Autograd counts the in-place changes of every tensor, for its own safety; a value is used again
    only while the counts of its sources stand still. ``load_state_dict``, ``torch.nn.init`` and
    most optimizers are seen that way. Writing into ``parameter.data`` and fused optimizers are not,
    which is why owners keep nothing while they train and call :meth:`clear` in ``train()``, in
    ``eval()`` and when they learn.
    """

    def __init__(self) -> None:
        self._kept: tuple[list[Tensor], object, T] | None = None

    def get(
        self, sources: Sequence[Tensor], compute: Callable[[], T], *, setting: object = None
    ) -> T:
        """The value, computed anew unless ``setting`` and all ``sources`` are the same as before
        and these hold what they held."""
        kept = self._kept
        if any(x.is_inference() for x in sources):  # these count nothing
            return compute()
        stamps = setting, [(x.data_ptr(), x._version) for x in sources]
        if (
            kept is not None
            and kept[1] == stamps
            and all(a is b for a, b in zip(kept[0], sources, strict=True))
        ):
            return kept[2]
        value = compute()
        self._kept = list(sources), stamps, value
        return value

    def clear(self) -> None:
        """Drop the value and its memory."""
        self._kept = None

    def __reduce__(self) -> tuple[type[DerivedTensorCache], tuple[()]]:
        return DerivedTensorCache, ()
