"""What an exchange does while it waits for a place in flight at its backend (`capacity`).

Rule: the wait is the proxy's time, not the model's. The exchange begins when it ends, so no duration, no latency check
and no timeout of the backend contains it. The access log has it in a field of its own.
"""

from __future__ import annotations

import logging
from time import monotonic_ns

from crossfade.dataplane.endpoint import BackendState, EndpointState
from crossfade.dataplane.pace import PacedState
from crossfade.dataplane.retry_policy import may_fall_back
from crossfade.errors import FAILURES, Stage

log = logging.getLogger("crossfade.dataplane")


class WaitingState(PacedState):
    __slots__ = ()

    def place(self, backend: BackendState) -> None:
        raise NotImplementedError

    def choices_in_panic(self, backend: BackendState) -> list[EndpointState]:
        """No endpoint passes its probes: the fallback answers. If it cannot, all get requests as if they passed.

        Probes can fail where requests would not, and a 503 is the one answer that is wrong for certain (Envoy: panic threshold).
        """
        plane, fallback = self.plane, self.fallback
        if fallback is None or not fallback.available:
            return backend.last_resort
        may = may_fall_back(self, FAILURES[Stage.NO_ENDPOINT], plane.retries)
        return [] if may else backend.last_resort

    def on_place(self) -> None:
        """It has a place."""
        self.stop_waiting("sent")
        try:
            self.place(self.answering)
        except Exception:
            log.exception("internal error: the exchange is aborted")
            self.on_upstream_failed(Stage.BUG)

    def on_backend_down(self) -> None:
        """No endpoint is up: as if the request came now."""
        if not self.choices_in_panic(self.answering):
            self.stop_waiting("no_endpoint")
            self.on_no_place(Stage.NO_ENDPOINT)

    def give_up_waiting(self, outcome: str) -> None:
        self.stop_waiting(outcome)
        self.on_no_place(Stage.OVERLOAD)

    def on_no_place(self, stage: Stage) -> None:
        """The request cannot be sent to this backend."""
        if self.endpoint is None and self.answering.has_several:
            self.asked_before = ""
        self.on_upstream_failed(stage)

    def stop_waiting(self, outcome: str) -> None:
        waited = (monotonic_ns() - self.waiting_since) / 1e9
        self.waiting_since = 0
        self.waited += waited
        self.started += waited
        self.total_deadline += waited
        self.answering.capacity.forget(self, waited, outcome)

    def give_place_back(self) -> None:
        """The place in flight, or the one among those that wait for it."""
        if self.placed and self.endpoint is not None:
            self.placed = False
            self.endpoint.in_flight -= 1
            self.answering.in_flight -= 1
            if self.answering.is_exact:
                self.answering.capacity.give_back()
        elif self.waiting_since:
            self.stop_waiting(self.stages[-1] if self.stages else Stage.CUT)
