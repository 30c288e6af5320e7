"""Rules for config values: a check and a text that describes the allowed values. Rules combine with
``&`` and ``|``."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple

NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four"}


class Rule(NamedTuple):
    """A check of a config value.

    Attributes:
        accepts: returns whether a value is allowed.
        expected: describes the allowed values, for the message "expected ..., found ...".

    Example:
        >>> fraction = at_least(0) & below(1)
        >>> fraction.accepts(0.5), fraction.accepts(1.0), fraction.expected
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
    """Accept finite numbers of at least ``low``."""
    return Rule(lambda v: _is_number(v) and v >= low, f"at least {low}")


def at_most(high: float) -> Rule:
    """Accept finite numbers of at most ``high``."""
    return Rule(lambda v: _is_number(v) and v <= high, f"at most {high}")


def above(low: float) -> Rule:
    """Accept finite numbers above ``low``."""
    return Rule(lambda v: _is_number(v) and v > low, f"above {low}")


def below(high: float) -> Rule:
    """Accept finite numbers below ``high``."""
    return Rule(lambda v: _is_number(v) and v < high, f"below {high}")


def between(low: float, high: float) -> Rule:
    """Accept finite numbers from ``low`` to ``high``, both included."""
    return Rule((at_least(low) & at_most(high)).accepts, f"from {low} to {high}")


def whole(rule: Rule) -> Rule:
    """Accept integers that follow ``rule``. It is for entries of lists; a single number must have
    the type of its default anyway."""
    return Rule(
        lambda v: isinstance(v, Integral) and rule.accepts(v), f"{rule.expected} without a fraction"
    )


def one_of(*values: Any) -> Rule:
    """Accept the given values. The type must match too: 1 is not 1.0."""
    names = [str(value) for value in values]
    expected = f"{', '.join(names[:-1])} or {names[-1]}" if names[1:] else names[0]
    return Rule(lambda v: any(type(v) is type(value) and v == value for value in values), expected)


def text(expected: str, *, empty: bool = False) -> Rule:
    """Accept text.

    Args:
        expected: describes the text, for messages.
        empty: whether empty text is allowed.
    """
    return Rule(lambda v: isinstance(v, str) and (empty or v != ""), expected)


def list_of(
    rule: Rule,
    *,
    what: str = "numbers",
    counts: tuple[int, ...] = (),
    rising: bool = False,
    empty: bool = False,
) -> Rule:
    """Accept lists and tuples whose entries follow a rule.

    Args:
        rule: for each entry.
        what: a noun for the entries, for messages.
        counts: the allowed numbers of entries; () allows any number.
        rising: whether entries must not decrease.
        empty: whether an empty list is allowed.
    """

    def accepts(value: Any) -> bool:
        return (
            _is_list(value)
            and (len(value) > 0 or empty)
            and (not counts or len(value) in counts)
            and all(map(rule.accepts, value))
            and (not rising or list(value) == sorted(value))
        )

    count = " or ".join(NUMBER_WORDS[n] for n in counts)
    return Rule(
        accepts, " ".join(filter(None, (count, "rising" if rising else "", what, rule.expected)))
    )


def different() -> Rule:
    """Accept lists without duplicates."""
    return Rule(lambda v: len(set(v)) == len(v), "all different")


def by_level(rule: Rule) -> Rule:
    """Accept a list of numbers for all pyramid levels, or a list of such lists, one per level."""
    numbers = list_of(rule)

    def accepts(value: Any) -> bool:
        rows = value if _is_list(value) and value and _is_list(value[0]) else [value]
        return all(map(numbers.accepts, rows))

    return Rule(accepts, f"{numbers.expected}, in a list for each level or for all")
