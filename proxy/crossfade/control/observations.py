"""The latest observations of each route, as workers report them.

Rule: so many of each route are kept and older ones are forgotten; nothing that is decided depends on them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from crossfade.stats.observation import Observation

KEPT = 1000  # of each route


class LatestObservations:
    def __init__(self) -> None:
        self.by_route: dict[str, deque[Observation]] = {}
        self.received: Counter[str] = Counter()  # ever, by route

    def add(self, observations: Iterable[Observation]) -> None:
        for observation in observations:
            route = observation.route
            self.by_route.setdefault(route, deque(maxlen=KEPT)).append(observation)
            self.received[route] += 1
