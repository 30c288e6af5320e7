"""The values on the command line, on which other values of a plan depend.

A rule that depends on a key reads it from these values, so no value and no reason of a plan
contradicts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retina_plugin.engine.plan.plan import Entry, Plan

GIVEN = "given on the command line"
Given = Mapping[str, Any]  # key -> value, as the config parses it


def given_entry(key: str, value: Any, facts: str = "") -> Entry:
    """Return the entry of a given value.

    Args:
        key, value: see :class:`retina_plugin.engine.plan.plan.Entry`.
        facts: what follows from the value; "" for nothing.
    """
    return Entry(key, value, f"{GIVEN}: {facts}" if facts else GIVEN, printed=True)


def with_given(plan: Plan, given: Given) -> Plan:
    """Return a plan with all given values. Reasons that say that a value is given stay."""
    known = {e.key for e in plan.entries if e.key in given and e.reason.startswith(GIVEN)}
    return plan.with_entries([given_entry(k, v) for k, v in given.items() if k not in known])


def chosen_or_given(entries: Sequence[Entry], given: Given) -> list[Entry]:
    """Return entries of which the given ones are replaced."""
    return [given_entry(e.key, given[e.key]) if e.key in given else e for e in entries]
