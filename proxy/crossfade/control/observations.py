"""The latest observations of each route, as workers report them.

Rule: so many of each route are kept and older ones are forgotten; nothing that is decided depends on them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterable

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

    def keep(self, routes: Container[str]) -> None:
        """Forget those of all other routes."""
        self.by_route = {route: kept for route, kept in self.by_route.items() if route in routes}
        self.received = Counter({route: n for route, n in self.received.items() if route in routes})
