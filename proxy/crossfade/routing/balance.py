"""Which endpoint of a backend: power of two choices by requests in flight (Mitzenmacher 2001).

Two random candidates, the less loaded one wins; that is enough to keep the worst queue short, and
unlike least-connections it does not send everyone to the endpoint that just came back empty. One that
is still to get only a share of its traffic (slow start) keeps so much of what it wins, else the other
candidate has it: a load that is weighted instead would give it nothing while all are idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    in_flight: int
    share: float  # above 0; 1 is a full share


E = TypeVar("E", bound=Loaded)


def pick(endpoints: Sequence[E], draw: float) -> E:
    """One of at least one endpoint; 0 ≤ draw < 1 decides both candidates, and what a share is worth."""
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
