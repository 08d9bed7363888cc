"""Rules of a policy as they are asked for: `churn-v3=50%`, `country=DE: churn-v3=100%`.

Rule: a rule names shares of some backends; the others get what is left, in proportion to their present weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from crossfade.config.problem import BadValue
from crossfade.config.split import Term, term
from crossfade.rollout.policy import PolicyRule
from crossfade.scale import WHOLE


class PolicyText(NamedTuple):
    """A rule as it was written: `country=DE: churn-v3=50%`, where `segment` is None without one."""

    segment: str | None
    value: str
    terms: Mapping[str, Term]


def parse_rule(text: str) -> PolicyText:
    """From `churn-v3=50% churn-v2=50%`, `country=DE: churn-v3=100%` (commas are spaces). Raises BadValue."""
    condition, colon, weights = text.rpartition(":")
    segment, value = None, ""
    if colon:
        segment, equals, value = (part.strip() for part in condition.partition("="))
        if not equals or not segment:
            raise BadValue(f"must begin with a segment, as in country=DE: churn-v3=50%, not {condition!r}")
    terms: dict[str, Term] = {}
    for pair in weights.replace(",", " ").split():
        name, equals, share = pair.rpartition("=")
        if not equals or not name or name in terms:
            raise BadValue(f"must name each backend once, as in churn-v3=50%, not {pair!r}")
        terms[name] = term(share)
    if not terms:
        raise BadValue("must name at least one backend, as in churn-v3=50%")
    return PolicyText(segment, value, terms)


def rule_of(written: PolicyText, segments: Sequence[str], present: Mapping[str, int]) -> PolicyRule:
    """`segments`: names, in the order of the route's `prediction.segment`; `present`: weights of its split. Raises BadValue."""
    place = None
    if written.segment is not None:
        place = _place_of(written.segment, segments)
    return PolicyRule(place, written.value, shares_of(written.terms, present))


def _place_of(segment: str, segments: Sequence[str]) -> int:
    """Names of header fields have no case, so one that differs in that alone is found too."""
    if segment in segments:
        return list(segments).index(segment)
    lowered = [name.lower() for name in segments]
    if segment.lower() in lowered:
        return lowered.index(segment.lower())
    listed = ", ".join(segments) or "none"
    raise BadValue(f"names the segment {segment!r}; the route has {listed}")


def shares_of(terms: Mapping[str, Term], present: Mapping[str, int]) -> dict[str, float]:
    """Percentages, whose rest the other backends get; or plain weights, which are the whole split. Raises BadValue."""
    kinds = {each.is_percentage for each in terms.values()}
    if len(kinds) > 1:
        raise BadValue("must be all percentages or all plain weights, not both")
    total = sum((Fraction(each.amount) for each in terms.values()), Fraction(0))
    if kinds == {False}:
        if not total:
            raise BadValue("must have at least one weight above 0")
        return {name: float(Fraction(each.amount) / total) for name, each in terms.items()}
    if total > WHOLE:
        raise BadValue("must add up to at most 100%")
    shares = {name: float(each.amount) / WHOLE for name, each in terms.items()}
    rest = {name: weight for name, weight in present.items() if name not in terms and weight}
    left = float(WHOLE - total) / WHOLE
    if left and not rest:
        raise BadValue("must add up to 100%, for no other backend has a share of the split")
    return shares | {name: left * weight / sum(rest.values()) for name, weight in rest.items() if left}
