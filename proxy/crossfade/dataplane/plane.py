"""The state of a worker that all its exchanges share: snapshot, backends, budgets, mirrors.

Rule: exchanges read it, the listener changes it. It depends neither on how connections are read nor on
the steps of an exchange.
"""

from __future__ import annotations

from math import ceil
from time import time
from typing import Any

from crossfade.dataplane.access_log import AccessLogger
from crossfade.dataplane.client import Client
from crossfade.dataplane.endpoint import BackendState
from crossfade.dataplane.least_rate import LeastRate
from crossfade.dataplane.mirror import Mirrors
from crossfade.dataplane.recorder import Recorder
from crossfade.dataplane.retry_policy import RetryBudget
from crossfade.dataplane.room import Room
from crossfade.dataplane.state import ExchangeState
from crossfade.dataplane.tracing import Tracer
from crossfade.dataplane.tunnel import Tunnel
from crossfade.errors import RequestRefused, Stage
from crossfade.http1.forwarded import TrustedProxies
from crossfade.routing.caching import AnswerCache
from crossfade.routing.rate import TABLE_BYTES, RateLimit, RateTable
from crossfade.routing.router import Router
from crossfade.routing.snapshot import Snapshot
from crossfade.shared_places import SharedPlaces

NOTHING = Snapshot(
    generation=0,
    backends={},
    routes=(),
    head_bytes=0,
    head_count=0,
    connections=0,
    head_timeout=0.0,
    keep_alive=0.0,
)


class Plane(Room):
    """It serves nothing before the first snapshot, whose generation is above 0."""

    def __init__(self, rates: RateTable | None, recorder: Recorder, places: SharedPlaces | None) -> None:
        super().__init__()
        self.snapshot = NOTHING
        self.router = Router(NOTHING, time)
        self.places = places or SharedPlaces()
        self.recorder = recorder
        self.backends: dict[str, BackendState] = {}
        self.leaving: dict[str, BackendState] = {}  # no longer configured, and with requests in flight
        self.clients: set[Client] = set()
        self.active: set[ExchangeState] = set()
        self.tunnels: set[Tunnel] = set()
        self.mirrors = Mirrors(self, recorder, self.note_ejection, self.places)
        self.retries = RetryBudget(self.active)
        self.rates = rates or RateTable(memoryview(bytearray(TABLE_BYTES)))
        self.caches: dict[str, AnswerCache] = {}  # by route
        self.access_log: AccessLogger | None = None
        self.trusted: TrustedProxies | None = None
        self.head_bytes = self.head_count = 0
        self.keep_alive = 0.0
        self.tracer: Tracer | None = None  # None: no traceparent is sent but the clients' own

    def least_rate(self, now: float, amount: int) -> LeastRate | None:
        """A measurement that begins now; None if there is no least rate."""
        snapshot = self.snapshot
        if not snapshot.min_rate:
            return None
        return LeastRate(snapshot.min_rate, snapshot.min_rate_grace, now, amount)

    def charge(self, limit: RateLimit, exchange: ExchangeState, content: Any) -> None:
        """Count the request against its key's rate limit. Raises RequestRefused when the limit is reached."""
        key = limit.key(exchange.head, content, exchange.client.peer)
        wait = self.rates.charge(limit, key, exchange.started)
        if wait:
            raise RequestRefused(Stage.RATE, retry_after=ceil(wait))

    def count_unread(self, route: str, reason: str) -> None:
        self.recorder.unread(route, reason)

    def note_ejection(self, backend: str, endpoint: str) -> None:
        self.recorder.ejected(backend, endpoint)
