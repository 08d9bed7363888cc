"""The record of an exchange that has ended: counts and the access log.

Rule: the usual exchange is counted from a few values; an Outcome is made only for what needs one.
"""

from __future__ import annotations

from crossfade.dataplane.outcome import Outcome
from crossfade.dataplane.plane import Plane
from crossfade.dataplane.state import ExchangeState


def record(plane: Plane, exchange: ExchangeState, now: float) -> None:
    """An exchange without a route is a refusal."""
    assigned, recorder = exchange.assigned, plane.recorder
    outcome: Outcome | None = None
    if assigned is None:
        recorder.refused(exchange.status, exchange.stages[-1])
    else:
        plane.active.discard(exchange)
        started, status = exchange.started, exchange.status
        if status != 200 or exchange.stages or now - started > assigned.first_limit or exchange.slow:
            outcome = exchange.outcome(now)
            recorder.record(outcome, assigned)
        else:
            recorder.usual(assigned, started, exchange.first_byte_at, now, exchange.key, exchange.endpoint)
        if exchange.route.reads and not exchange.abandoned:
            sample = recorder.samples.answer(exchange, assigned, now)
            if sample is not None and exchange.awaited:
                plane.mirrors.on_sample(exchange, sample)
        if exchange.route.logs and assigned.backend:  # not what the proxy answered itself
            recorder.logged.add(exchange, assigned, now)
    if exchange.spanned:
        recorder.span(exchange, now)
    if plane.access_log is not None and plane.access_log.wants(exchange.status, exchange.stages):
        plane.access_log.exchange(outcome or exchange.outcome(now))
