"""Selects an endpoint of a backend: power of two choices by requests in flight (Mitzenmacher 2001).

Two random candidates; the one with fewer requests in flight wins. This keeps the longest queue short.
Unlike least-connections, it does not send all requests to an endpoint that has just returned with none.
During slow start, an endpoint keeps only its share of the choices that it wins; the other candidate gets
the rest. Weighting the load by the share instead would give it no request while all are idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    in_flight: int
    share: float  # above 0; 1 is a full share


E = TypeVar("E", bound=Loaded)


def pick(endpoints: Sequence[E], draw: float) -> E:
    """`endpoints` is not empty. 0 ≤ draw < 1 selects both candidates and decides on a slow-start share."""
    n = len(endpoints)
    if n == 1:
        return endpoints[0]
    place = draw * n * (n - 1)
    pair = int(place)
    first, second = divmod(pair, n - 1)
    second += second >= first
    a, b = endpoints[first], endpoints[second]
    if b.in_flight < a.in_flight:
        a, b = b, a
    return a if place - pair < a.share else b
