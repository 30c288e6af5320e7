"""Choose the sparse or the fixed-shape implementation of assigners and losses on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from retina_plugin.layers import tracing

FORMS = ["sparse", "fixed shapes"]


@contextlib.contextmanager
def in_form(form: str) -> Iterator[None]:
    """Use one of :data:`FORMS` inside the ``with`` block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "is_traced", lambda tensor: form == "fixed shapes")
        yield
