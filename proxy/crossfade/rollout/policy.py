"""A policy: which backend would get which share of a route's requests, by segment if it says so.

Rule: the first rule that a request's segment matches counts; a request that none matches keeps the split that it had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class PolicyRule(NamedTuple):
    """`place`: of the segment in `prediction.segment`, None for all requests; `value`: which one. `shares`: by backend, they add up to 1."""

    place: int | None
    value: str
    shares: Mapping[str, float]


def matching(rules: Sequence[PolicyRule], segment: Sequence[str] | None) -> PolicyRule | None:
    """The rule for a request of this segment, whose values are in the order of `prediction.segment`; None for none of them."""
    for rule in rules:
        if rule.place is None:
            return rule
        if segment is not None and rule.place < len(segment) and segment[rule.place] == rule.value:
            return rule
    return None
