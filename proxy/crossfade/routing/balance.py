"""Selects an endpoint of a backend: power of two choices by requests in flight (Mitzenmacher 2001).

Two random candidates; the one with fewer requests in flight wins. This keeps the longest queue short.
Unlike least-connections, it does not send all requests to an endpoint that has just returned with none.
During slow start, an endpoint keeps only its share of the choices that it wins; the other candidate gets
the rest. Weighting the load by the share instead would give it no request while all are idle.

Where endpoints have weights, candidates are drawn by weight, and loads are compared by weight. The second candidate wins
if its load is lower with half a request more: where few requests are in flight, a plain comparison would count the
requests of a light endpoint as those of a heavy one. So the shares are about those of the weights at any load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    in_flight: int
    share: float  # above 0; 1 is a full share


class Weighted(Loaded, Protocol):
    weight: int  # above 0


E = TypeVar("E", bound=Loaded)
W = TypeVar("W", bound=Weighted)


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


def pick_by_weight(endpoints: Sequence[W], draw: float) -> W:
    """As `pick`, where the weights differ."""
    total = sum(e.weight for e in endpoints)
    a, left = _drawn(endpoints, draw * total, None)
    if len(endpoints) == 1:
        return a
    b, left = _drawn(endpoints, left * (total - a.weight), a)
    if (2 * b.in_flight + 1) * a.weight < 2 * a.in_flight * b.weight:
        a, b = b, a
    return a if left < a.share else b


def _drawn(endpoints: Sequence[W], at: float, without: W | None) -> tuple[W, float]:
    """The endpoint at this place of all weights in a row, and a number from 0 to 1 that is left of the draw."""
    last = endpoints[0]
    for endpoint in endpoints:
        if endpoint is without:
            continue
        last = endpoint
        if at < endpoint.weight:
            return endpoint, at / endpoint.weight
        at -= endpoint.weight
    return last, 0.0  # by a rounding error
