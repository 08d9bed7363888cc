"""Outcome: the facts of an exchange that has ended.

Rule: readers of ended exchanges (recorder, access log, comparison) read the outcome and nothing else of the
exchange. `Exchange.finish` creates it once, and only if a reader needs more than the duration of a usual
exchange.
"""

from __future__ import annotations

import msgspec

from crossfade.errors import FAILURES, Source, Stage
from crossfade.http1.head import ResponseHead
from crossfade.http1.lines import Start
from crossfade.routing.router import AssignedBackend, CompiledRoute


class Outcome(msgspec.Struct, frozen=True):
    """Times are in seconds of the monotonic clock. If `route` is None, no backend was assigned."""

    request_id: bytes
    client: bytes  # the client's address
    request: Start
    started_at: float
    ended_at: float
    status: int  # 0: the client got no answer
    stages: tuple[Stage, ...] = ()  # of all failures in order, including those that were retried
    first_byte_at: float = 0.0  # 0: no byte arrived
    bytes_in: int = 0  # bodies only, without heads
    bytes_out: int = 0
    route: CompiledRoute | None = None
    assigned: AssignedBackend | None = None  # with its role; all counts belong to this backend
    key: int | None = None  # the sticky key's hash
    answered_by: str = ""  # the backend whose answer the client got; empty without one
    endpoint: bytes = b""  # address of the endpoint that answered
    fell_back: bool = False
    blamed: bool = False  # whether the failure counts against the assigned backend
    abandoned: bool = False  # the client disconnected, or was refused; blames no backend
    slow: int = 0  # latency limits of the route that were counted as exceeded while the exchange ran
    early: int = 0  # how many of these are still counted as early
    said: bytes | None = b""  # the answer's body if the route reads answers; None: too large to keep
    code: int = 0  # what the assigned backend said; the failure's status if it said nothing
    retried: tuple[Stage, ...] = ()  # the stages that were retried
    fallback_stage: Stage | None = None  # the stage that led to the fallback
    answer: ResponseHead | None = None  # the head that went to the client
    asked: str | None = None  # of the assigned backend's endpoints the last one; None where it has only one
    queued: float = 0.0  # seconds that it waited for a place in flight, before `started_at`


class CopyOutcome(msgspec.Struct, frozen=True):
    """The facts of a mirrored copy that has ended."""

    route: CompiledRoute
    key: int | None
    backend: str
    routed_at: float  # when the copied request was
    seconds: float
    status: int
    failed: Stage | None  # the stage at which there was no whole answer
    endpoint: str | None  # None where the backend has only one


def is_failure(status: int, stages: tuple[Stage, ...]) -> bool:
    """Whether a model or the proxy failed, even if a retry or fallback hid it from the client."""
    if status >= 500 or not stages:
        return status >= 500
    return any(FAILURES[stage].source is Source.UPSTREAM for stage in stages)
