"""Which endpoint of a backend: power of two choices by requests in flight (Mitzenmacher 2001).

Two random candidates, the less loaded one wins; that is enough to keep the worst queue short, and
unlike least-connections it does not send everyone to the endpoint that just came back empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    in_flight: int


E = TypeVar("E", bound=Loaded)


def pick(endpoints: Sequence[E], draw: float) -> E:
    """One of at least one endpoint; 0 ≤ draw < 1 decides both candidates."""
    n = len(endpoints)
    if n == 1:
        return endpoints[0]
    pair = int(draw * n * (n - 1))
    first, second = divmod(pair, n - 1)
    second += second >= first
    a, b = endpoints[first], endpoints[second]
    return b if b.in_flight < a.in_flight else a
