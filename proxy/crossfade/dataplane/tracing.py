"""Traces: which exchanges have a span, under which parent, and the facts of it that the observer makes the span of.

Rule: a client's decision counts. Where its traceparent is sampled (flag 01) the exchange has a span, and the model gets that span as
its parent; with flag 00, or where the field is not valid, the field goes to the model as it is. Without the field a share of the
exchanges has a span. Nothing is built or sent here.

Limit: SPANS since the last report; those above are dropped and counted, with the reason `spans`.
"""

from __future__ import annotations

from random import getrandbits, random
from typing import TYPE_CHECKING

from crossfade.dataplane.runtime import wall_time_of
from crossfade.http1.trace_context import sampled_parent
from crossfade.quality.samples import SpanSample

if TYPE_CHECKING:
    from crossfade.dataplane.state import ExchangeState

SPANS = 256


class Tracer:
    """`share`: of the requests without a traceparent, from 0 to 1; None: no exchange has a span. `begins`: a request without one
    that has no span gets one all the same."""

    def __init__(self, share: float | None, begins: bool) -> None:
        self.share = share
        self.begins = begins

    def begin(self, exchange: ExchangeState, own_id: bytes) -> None:
        share = self.share
        if exchange.head.traced:
            if share is not None:
                parent = sampled_parent(exchange.head)
                if parent is not None:
                    exchange.trace = parent[0] + b"-" + _span_id()
                    exchange.parent = parent[1]
                    exchange.spanned = True
        elif share is not None and random() < share:
            exchange.trace = b"%032x-%b" % (getrandbits(128) or 1, _span_id())
            exchange.spanned = True
        elif self.begins:  # not the client's request id: it may not be valid as a trace id
            exchange.trace = own_id + b"-" + own_id[16:]


def _span_id() -> bytes:
    return b"%016x" % (getrandbits(64) or 1)


class Spans:
    """Facts of spans since the last report."""

    def __init__(self) -> None:
        self.n = 0
        self.dropped = 0

    def of(self, exchange: ExchangeState, now: float) -> SpanSample | None:
        """None where there is no room."""
        if self.n >= SPANS:
            self.dropped += 1
            return None
        self.n += 1
        return span_of(exchange, now)

    def begin(self) -> None:
        """The limit starts again."""
        self.n = 0

    def take_dropped(self) -> int:
        dropped, self.dropped = self.dropped, 0
        return dropped


def span_of(exchange: ExchangeState, now: float) -> SpanSample:
    head, assigned = exchange.head, exchange.assigned
    route = backend = role = endpoint = ""
    step: int | None = None
    if assigned is not None:
        route, backend, role = assigned.cell[0], assigned.cell[1], assigned.cell[2]
        step = exchange.route.step_of(backend)
    by = exchange.answered_by
    if by and exchange.endpoint is not None:
        endpoint = exchange.endpoint.authority.decode("latin-1")
    trace, _, span = exchange.trace.partition(b"-")
    return SpanSample(
        (trace, span, exchange.parent),
        wall_time_of(now),
        now - exchange.started,
        exchange.request_id,
        (head.start.method, head.start.path, b"1." + head.start.minor, head.host or b""),
        exchange.client.peer,
        exchange.client.secure,
        exchange.status,
        (route, backend, role),
        by,
        endpoint,
        step,
        [str(stage) for stage in exchange.stages],
        exchange.fell_back,
        exchange.abandoned,
        len(exchange.retried) + exchange.fell_back,
        exchange.code or exchange.status,
    )
