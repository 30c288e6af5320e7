"""Assigners and losses in both of their implementations, on the CPU, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from retina_plugin.layers import tracing

FORMS = ["sparse", "fixed shapes"]


@contextlib.contextmanager
def in_form(form: str) -> Iterator[None]:
    """Choose one of :data:`FORMS`, as accelerators and compilers do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "is_traced", lambda tensor: form == "fixed shapes")
        yield
