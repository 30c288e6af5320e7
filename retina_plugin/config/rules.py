"""Rules for config values: small tests that say in words what they expect. Rules combine with ``&``
and ``|``."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple

COUNTS = {1: "one", 2: "two", 3: "three", 4: "four"}


class Rule(NamedTuple):
    """Whether a value will do, and what is expected: ``f"expected {rule.expected}, found ..."`` is
    a sentence.

    Example:
        >>> share = at_least(0) & below(1)
        >>> share.accepts(0.5), share.accepts(1.0), share.expected
        (True, False, 'at least 0 and below 1')
    """

    accepts: Callable[[Any], bool]
    expected: str

    def __and__(self, other: Rule) -> Rule:
        return Rule(
            lambda v: self.accepts(v) and other.accepts(v), f"{self.expected} and {other.expected}"
        )

    def __or__(self, other: Rule) -> Rule:
        return Rule(
            lambda v: self.accepts(v) or other.accepts(v), f"{self.expected}, or {other.expected}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def at_least(low: float) -> Rule:
    """A finite number of ``low`` or more."""
    return Rule(lambda v: _is_number(v) and v >= low, f"at least {low}")


def at_most(high: float) -> Rule:
    """A finite number of ``high`` or less."""
    return Rule(lambda v: _is_number(v) and v <= high, f"at most {high}")


def above(low: float) -> Rule:
    """A finite number of more than ``low``."""
    return Rule(lambda v: _is_number(v) and v > low, f"above {low}")


def below(high: float) -> Rule:
    """A finite number of less than ``high``."""
    return Rule(lambda v: _is_number(v) and v < high, f"below {high}")


def between(low: float, high: float) -> Rule:
    """A finite number from ``low`` to ``high``, both included."""
    return Rule((at_least(low) & at_most(high)).accepts, f"from {low} to {high}")


def whole(rule: Rule) -> Rule:
    """A number without a fraction, for lists; a single number has the type of its default."""
    return Rule(
        lambda v: isinstance(v, Integral) and rule.accepts(v), f"{rule.expected} without a fraction"
    )


def one_of(*values: Any) -> Rule:
    """One of some texts, numbers or lists."""
    names = [str(value) for value in values]
    expected = f"{', '.join(names[:-1])} or {names[-1]}" if names[1:] else names[0]
    return Rule(lambda v: any(type(v) is type(value) and v == value for value in values), expected)


def text(expected: str, *, empty: bool = False) -> Rule:
    """Any text, or only text that is not empty."""
    return Rule(lambda v: isinstance(v, str) and (empty or v != ""), expected)


def list_of(
    rule: Rule,
    *,
    what: str = "numbers",
    counts: tuple[int, ...] = (),
    rising: bool = False,
    empty: bool = False,
) -> Rule:
    """A list whose entries follow a rule.

    Args:
        rule: for each entry.
        what: the entries are called so in messages.
        counts: how many entries there may be; any number if it is empty.
        rising: no entry is less than the one before.
        empty: whether a list without entries will do.
    """

    def accepts(value: Any) -> bool:
        return (
            _is_list(value)
            and (len(value) > 0 or empty)
            and (not counts or len(value) in counts)
            and all(map(rule.accepts, value))
            and (not rising or list(value) == sorted(value))
        )

    count = " or ".join(COUNTS[n] for n in counts)
    return Rule(
        accepts, " ".join(filter(None, (count, "rising" if rising else "", what, rule.expected)))
    )


def different() -> Rule:
    """A list in which no value comes twice."""
    return Rule(lambda v: len(set(v)) == len(v), "all different")


def by_level(rule: Rule) -> Rule:
    """A list of numbers for all levels, or a list of such lists."""
    numbers = list_of(rule)

    def accepts(value: Any) -> bool:
        rows = value if _is_list(value) and value and _is_list(value[0]) else [value]
        return all(map(numbers.accepts, rows))

    return Rule(accepts, f"{numbers.expected}, in a list for each level or for all")
