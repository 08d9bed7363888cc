"""Outcome: the facts of an exchange that has ended.

Rule: readers of ended exchanges (recorder, access log) read the outcome and nothing else of the
exchange. `Exchange.finish` creates it once, and only if a reader needs more than the duration of a usual
exchange.
"""

from __future__ import annotations

from crossfade.errors import FAILURES, Source, Stage
from crossfade.http1.lines import Start
from crossfade.routing.router import AssignedBackend, CompiledRoute


class Outcome:
    """Times are in seconds of the monotonic clock. If `route` is None, no backend was assigned.

    A plain class: compiled, it costs a fifth of a struct of a library.
    """

    stages: tuple[Stage, ...] = ()  # of all failures in order, including those that were retried
    first_byte_at: float = 0.0  # 0: no byte arrived
    bytes_in: int = 0  # bodies only, without heads
    bytes_out: int = 0
    route: CompiledRoute | None = None
    assigned: AssignedBackend | None = None  # with its role; all counts belong to this backend
    key: int | None = None  # the sticky key's hash
    answered_by: str = ""  # the backend whose answer the client got; empty without one
    endpoint: bytes = b""  # address of the endpoint that answered; empty if the cache did
    fell_back: bool = False
    blamed: bool = False  # whether the failure counts against the assigned backend
    abandoned: bool = False  # the client disconnected, or was refused; blames no backend
    slow: int = 0  # latency limits of the route that were counted as exceeded while the exchange ran
    early: int = 0  # how many of these are still counted as early
    code: int = 0  # what the assigned backend said; the failure's status if it said nothing
    retried: tuple[Stage, ...] = ()  # the stages that were retried
    fallback_stage: Stage | None = None  # the stage that led to the fallback
    asked: str | None = None  # of the assigned backend's endpoints the last one; None where it has only one
    queued: float = 0.0  # seconds that it waited for a place in flight, before `started_at`

    def __init__(
        self,
        request_id: bytes,
        client: bytes,
        request: Start,
        started_at: float,
        ended_at: float,
        status: int,
    ) -> None:
        """`client`: its address. `status`: 0 if the client got no answer."""
        self.request_id = request_id
        self.client = client
        self.request = request
        self.started_at = started_at
        self.ended_at = ended_at
        self.status = status


class CopyOutcome:
    """The facts of a mirrored copy that has ended."""

    failed: Stage | None = None  # the stage at which there was no whole answer

    def __init__(
        self, route: CompiledRoute, shadow: AssignedBackend, key: int | None, routed_at: float, seconds: float
    ) -> None:
        """`shadow`: the backend, as the target of copies. `routed_at`: when the copied request was."""
        self.route = route
        self.shadow = shadow
        self.key = key
        self.routed_at = routed_at
        self.seconds = seconds
        self.status = 200
        self.endpoint: str | None = None  # None where the backend has only one

    @property
    def is_usual(self) -> bool:
        """Whether it says no more than that an answer came in time."""
        return self.status == 200 and self.failed is None and self.seconds <= self.shadow.first_limit


def is_failure(status: int, stages: tuple[Stage, ...]) -> bool:
    """Whether a model or the proxy failed, even if a retry or fallback hid it from the client."""
    if status >= 500 or not stages:
        return status >= 500
    return any(FAILURES[stage].source is Source.UPSTREAM for stage in stages)
