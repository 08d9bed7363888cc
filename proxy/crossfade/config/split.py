"""The weights of a route's split.

Rule: weights are integers out of 10 000 that add up to exactly 10 000. Percentages must add up to 100 % as
written. Plain weights are apportioned by the largest remainder (Hamilton); ties are decided by name, so
that the order in the file does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from crossfade.config.problem import BadValue, shown
from crossfade.config.units import SHARE, number, weight
from crossfade.scale import WHOLE

_MAX_BACKENDS = 256  # a ledger holds one byte for each bucket


class Term(NamedTuple):
    """The entry of one backend as written: hundredths of a percent, or a plain weight."""

    amount: Decimal
    is_percentage: bool


def term(value: object) -> Term:
    if isinstance(value, str) and SHARE.fullmatch(value):
        return Term(Decimal(weight(value)), True)
    try:
        amount = number(value)
    except BadValue:
        raise BadValue(f"must be a percentage such as 5% or a plain weight, not {shown(value)}") from None
    if amount < 0:
        raise BadValue("must not be negative")
    return Term(amount, False)


def weights(terms: Mapping[str, Term]) -> dict[str, int]:
    """Weights out of 10 000 by backend, in the order written."""
    if not terms:
        raise BadValue("must name at least one backend")
    if len(terms) > _MAX_BACKENDS:
        raise BadValue(f"must name at most {_MAX_BACKENDS} backends, not {len(terms)}")
    kinds = {t.is_percentage for t in terms.values()}
    if len(kinds) > 1:
        raise BadValue("must be all percentages or all plain weights, not both")
    return _of_percentages(terms) if kinds == {True} else _of_plain_weights(terms)


def _of_percentages(terms: Mapping[str, Term]) -> dict[str, int]:
    total = sum(t.amount for t in terms.values())
    if total != WHOLE:
        raise BadValue(f"must add up to 100%, not {(Decimal(total) / 100).normalize():f}%")
    return {name: int(t.amount) for name, t in terms.items()}


def _of_plain_weights(terms: Mapping[str, Term]) -> dict[str, int]:
    total = sum((Fraction(t.amount) for t in terms.values()), Fraction(0))
    if total == 0:
        raise BadValue("must have at least one weight above 0")
    quotas = {name: Fraction(t.amount) * WHOLE / total for name, t in terms.items()}
    shares = {name: int(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: (shares[name] - quotas[name], name))
    for name in by_remainder[: WHOLE - sum(shares.values())]:
        shares[name] += 1
    too_small = next((name for name in terms if terms[name].amount and not shares[name]), None)
    if too_small is not None:
        raise BadValue(f'must give each backend 0 or at least 0.01%, "{too_small}" would get less')
    return shares
