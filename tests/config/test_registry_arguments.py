"""Runtime arguments reach only the classes that take them."""

from __future__ import annotations

from typing import Any

from retina_plugin.config import get_cfg
from retina_plugin.config.registry import Registry


class Fixed:
    def __init__(self, *, size: int = 1) -> None:
        self.arguments = {"size": size}


class Named:
    def __init__(self, *, coder: str) -> None:
        self.arguments = {"coder": coder}


class Open:
    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments


class BelowFixed(Fixed):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)


class BelowNamed(Named):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)


def test_an_argument_reaches_the_class_that_takes_it() -> None:
    registry = Registry("part", node="MODEL.RETINA_PLUGIN.PART", runtime_arguments=("coder",))
    for part in (Fixed, Named, Open, BelowFixed, BelowNamed):
        registry.register(part.__name__)(part)
    found = {
        part: registry.construct(part, get_cfg(), coder="c").arguments
        for part in ("Fixed", "Named", "Open", "BelowFixed", "BelowNamed")
    }
    assert found == {
        "Fixed": {"size": 1},
        "Named": {"coder": "c"},
        "Open": {"coder": "c"},
        "BelowFixed": {"size": 1},
        "BelowNamed": {"coder": "c"},
    }
