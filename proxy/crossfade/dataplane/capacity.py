"""How many requests one worker may have in flight at a backend, and the requests that wait until they may.

Rule: `Load.in_flight` never exceeds `Load.held`, the places that this worker holds (`routing.places`).
Each exchange compares these two numbers. Only what finds no place, and each that ends near the limit, comes here.

Above the limit a request gets 503 at once, or waits in the queue if the backend has one. In a worker the first that
waits is the first that goes; between workers a free place goes to the one whose first has waited longest. A request
waits without a queue too, for a moment, where another worker holds places that it does not use: they are recalled.
"""

from __future__ import annotations

import logging
from collections import deque
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING

from crossfade.dataplane.owner import Owner
from crossfade.routing.places import RECALLED, share_of
from crossfade.shared_places import SharedPlaces
from crossfade.stats.histogram import Histogram

if TYPE_CHECKING:
    from crossfade.routing.snapshot import Backend

log = logging.getLogger("crossfade.dataplane")

MOST_RECALLS = 1000  # requests that wait so at a time
RECALL = 0.25  # seconds that a request waits for places that other workers do not use


class Load:
    """Of a backend in this worker. Each exchange reads it."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.held = 0  # places: `in_flight` is never above it
        self.is_exact = True  # near the limit: each request that ends gives its place back at once


class Waiter(Owner):
    """An exchange, which may wait for a place. `waiting_since`: in nanoseconds, while it waits; else 0."""

    waiting_since: int
    deadline: float
    __slots__ = ("deadline", "waiting_since")

    def on_place(self) -> None:
        """It may be sent."""
        raise NotImplementedError

    def on_backend_down(self) -> None:
        """No endpoint passes its probes."""
        raise NotImplementedError

    def give_up_waiting(self, outcome: str) -> None:
        """It is refused. `outcome`: how its wait ended, as the metrics name it."""
        raise NotImplementedError


class Capacity:
    """Of one backend in one worker. The caller of `take` and `give_back` changes `in_flight` itself."""

    __slots__ = (
        "backend",
        "is_serving",
        "limit",
        "outcomes",
        "queue",
        "queue_max",
        "queue_timeout",
        "shared",
        "slot",
        "waits",
    )

    def __init__(self, backend: Load, shared: SharedPlaces, name: str) -> None:
        self.backend = backend
        self.limit = 0
        self.queue: deque[Waiter] = deque()
        self.queue_max = 0
        self.queue_timeout = 0.0
        self.outcomes: dict[str, int] = {}  # of waits: `sent`, or why they ended
        self.waits = Histogram()  # seconds
        self.is_serving = False
        self.shared = shared
        try:
            self.slot = shared.enter(name)
        except RuntimeError as error:
            log.error("%s: its max_in_flight is not shared with other workers: %s", name, error)
            self.shared = SharedPlaces()
            self.slot = self.shared.enter(name)

    def use(self, spec: Backend) -> None:
        """The limits of this snapshot, from the next request on."""
        changed = spec.max_in_flight != self.limit
        self.limit = spec.max_in_flight
        self.queue_max, self.queue_timeout = spec.queue_max, spec.queue_timeout
        if changed:
            self.end_far()
            self.settle()

    # ── requests that come and go ─────────────────────────────────────────────────────────────

    def take(self) -> bool:
        """One more place, when all that this worker holds are in use."""
        backend, shared, table = self.backend, self.shared, self.shared.table
        if self.queue:
            return False  # they come first
        shared.lock(self.slot + 1)
        if not backend.is_exact:
            self.stop_holding_in_advance()
            table.recall(self.slot)
        found = table.take(self.slot, shared.row, self.limit)
        if not found:
            table.recall(self.slot)
        backend.held = table.held(self.slot, shared.row)
        shared.unlock(self.slot + 1)
        shared.ring()
        return found

    def give_back(self) -> None:
        """A request has ended, near the limit."""
        if not self.is_serving:
            self.settle()

    def settle(self) -> None:
        """Tell the table what this worker uses and who waits; serve those that have got a place."""
        self.is_serving = True
        try:
            self.serve()
        finally:
            self.is_serving = False

    def serve(self) -> None:
        backend, shared, queue = self.backend, self.shared, self.queue
        while True:
            shared.lock(self.slot + 1)
            since = queue[0].waiting_since if queue else 0
            if backend.is_exact:
                backend.held = shared.table.settle(
                    self.slot, shared.row, backend.held, backend.in_flight, len(queue), since, self.limit
                )
            shared.unlock(self.slot + 1)
            shared.ring()
            if not queue or backend.in_flight >= backend.held:
                break
            while queue and backend.in_flight < backend.held:
                queue.popleft().on_place()

    # ── shares in advance ─────────────────────────────────────────────────────────────────────

    def stop_holding_in_advance(self) -> None:
        """The caller holds the lock of the slot."""
        backend = self.backend
        self.shared.table.end_far(self.slot, self.shared.row, backend.in_flight)
        backend.is_exact, backend.held = True, backend.in_flight

    def end_far(self) -> None:
        if not self.backend.is_exact:
            self.shared.lock(self.slot + 1)
            self.stop_holding_in_advance()
            self.shared.unlock(self.slot + 1)
            self.shared.ring()

    def look(self) -> None:
        """At each sweep and after each bell: has another worker changed our row, or may we hold a share in advance?"""
        backend, table, slot, row = self.backend, self.shared.table, self.slot, self.shared.row
        if not backend.is_exact:
            if table.mode(slot, row) == RECALLED:
                self.end_far()
        elif self.queue:
            self.settle()
            if self.queue and not self.queue_max and not table.has_far(slot):
                for exchange in list(self.queue):
                    exchange.give_up_waiting("full")
        elif table.held(slot, row) != backend.in_flight:
            self.settle()
        else:
            self.go_far()

    def go_far(self) -> None:
        backend, shared, slot = self.backend, self.shared, self.slot
        if not share_of(self.limit, shared.workers):
            return
        share = share_of(self.limit, shared.sharers)
        if not share or backend.in_flight * 2 > share:
            return
        shared.lock(slot + 1)
        if shared.table.go_far(slot, shared.row, backend.in_flight, share, self.limit):
            backend.is_exact, backend.held = False, share
        shared.unlock(slot + 1)

    # ── requests that wait ────────────────────────────────────────────────────────────────────

    def wait(self, exchange: Waiter) -> bool:
        """Whether the request may wait: `on_place` then tells it that it has a place."""
        shared, table, slot = self.shared, self.shared.table, self.slot
        most, timeout = self.queue_max, self.queue_timeout
        if not most:
            if not table.has_far(slot):
                return False
            most, timeout = MOST_RECALLS, RECALL
        shared.lock(slot + 1)
        may = table.announce(slot, shared.row, most)
        shared.unlock(slot + 1)
        if not may:
            return False
        exchange.waiting_since = monotonic_ns()
        exchange.deadline = monotonic() + timeout
        self.queue.append(exchange)
        if not self.is_serving:
            self.settle()
        return True

    def forget(self, exchange: Waiter, seconds: float, outcome: str) -> None:
        """It waits no more."""
        self.waits.add(seconds)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if outcome != "sent" and exchange in self.queue:
            self.queue.remove(exchange)
            if not self.is_serving:
                self.settle()

    def leave(self) -> bool:
        """The backend is no longer configured. Whether all has ended, and the table knows it here no more."""
        if self.backend.in_flight or self.queue:
            return False
        with self.shared.locked(self.slot + 1):
            self.shared.table.clear(self.slot, self.shared.row)
            self.shared.table.woken += self.shared.table.waiting_rows(self.slot)
        self.shared.ring()
        return True
