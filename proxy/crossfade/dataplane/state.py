"""The data of one exchange. Its steps are in `exchange`."""

from __future__ import annotations

from typing import Final

from crossfade.dataplane.capacity import Waiter
from crossfade.dataplane.client import Client
from crossfade.dataplane.endpoint import BackendState, EndpointState
from crossfade.dataplane.inspection import Inspection
from crossfade.dataplane.kept_answer import KeptAnswer
from crossfade.dataplane.lookup import Lookup
from crossfade.dataplane.outcome import Outcome
from crossfade.dataplane.upstream import Upstream
from crossfade.errors import Stage
from crossfade.http1.request_head import RequestHead
from crossfade.http1.response_head import ResponseHead
from crossfade.routing.router import AssignedBackend

NEVER: Final = float("inf")


class ExchangeState(Waiter):
    """Slots, set in chained assignments: in the interpreter they are faster than class defaults."""

    client: Client
    started: float
    assigned: AssignedBackend | None  # all counts are under its name
    key: int | None  # the sticky key's hash
    answering: BackendState  # who has the request now: the assigned backend, or the fallback
    fallback: BackendState | None
    endpoint: EndpointState | None
    asked_before: str | None  # `asked`, as it was when the fallback took the request or no endpoint was left
    upstream: Upstream | None
    body: bytes  # its first part; `more` has the others while a connection is opened or a retry is possible
    more: bytearray | None  # no list: many parts of a few bytes take many times their length
    kept: int  # bytes of the body received; above the replay limit they are not kept for a retry
    replayable: bool
    awaits_body: bool  # it is sent to `answering` when its body is complete (`writing`)
    held: int  # bytes of it that count in `plane.held_bytes` meanwhile
    inspection: Inspection | None  # of a body that is not complete, or long, on a route that reads it
    attempts: int
    stages: tuple[Stage, ...]
    retried: tuple[Stage, ...]  # of these, the ones that were retried
    tried: tuple[
        EndpointState, ...
    ]  # endpoints of the backend that is asked now, which failed; the last one is last
    status: int
    fell_back: bool
    has_more_fields: bool  # whether the proxy adds other fields to the answer than the usual ones
    set_cookie: bytes
    cache_fields: bytes  # what the response cache says of the answer
    lookup: Lookup | None  # where the response cache may have its answer, or keep it
    code: int  # what the assigned backend said before the fallback answered
    fallback_stage: Stage | None
    continued: bool  # the client got a 100 (Continue)
    blamed: bool
    abandoned: bool
    ended: bool
    holds_budget: bool  # holds a place in the retry budget
    placed: bool  # whether it is counted in flight
    waited: float  # seconds for a place in flight; `started` is later by as much
    slow: int  # latency limits of the route that it has exceeded
    early: int  # of these, how many before it ended
    first_byte_at: float
    sent: int  # bytes of the answer's body
    answer: ResponseHead | None  # set once its head has gone to the client
    client_stalls: bool  # the client does not read
    total_deadline: float
    awaited: bool  # whether mirrors wait for its end: copies are compared with its answer, or taken back
    said: bytes  # the answer's body, where the route reads answers and it came in one part
    spanned: bool  # whether the observer makes a span of it, which `trace` names
    parent: bytes  # the client's span; empty: the span is the first of its trace
    kept_answer: KeptAnswer | None  # else, what is kept of it
    __slots__ = tuple(__annotations__)

    def __init__(self, client: Client, head: RequestHead, now: float, own_id: bytes) -> None:
        self.client, self.head, self.started = client, head, now
        self.request_id = head.request_id or own_id
        self.forwarded_lines = client.forwarded_lines
        self.body = self.trailers = self.answer_trailers = self.said = self.trace = self.parent = (
            self.set_cookie
        ) = self.cache_fields = b""
        self.assigned = self.key = self.fallback = self.endpoint = self.upstream = self.more = self.answer = (
            self.inspection
        ) = self.kept_answer = self.fallback_stage = self.asked_before = self.lookup = None
        self.replayable = True
        self.fell_back = self.has_more_fields = self.blamed = self.abandoned = self.ended = (
            self.holds_budget
        ) = self.placed = self.spanned = False
        self.awaits_body = self.request_done = self.expecting = self.continued = self.client_stalls = False
        self.kept = self.attempts = self.slow = self.early = self.status = self.code = self.sent = (
            self.held
        ) = 0
        self.stages = self.retried = self.tried = ()
        self.awaited = False
        self.deadline = self.total_deadline = NEVER
        self.first_byte_at = self.waited = 0.0
        self.waiting_since = 0

    def on_deadline(self, now: float) -> None:
        raise NotImplementedError

    def finish(self, now: float = 0.0) -> None:
        raise NotImplementedError

    @property
    def asked(self) -> str | None:
        """The endpoint of the assigned backend that was asked last; empty if none was. None where it has only one."""
        if self.endpoint is None or self.fell_back:
            return self.asked_before
        return self.endpoint.label

    @property
    def answered_by(self) -> str:
        """The backend whose answer the client got, also out of the cache; empty without one."""
        if self.answer is None or (self.endpoint is None and not self.cache_fields):
            return ""
        return self.answering.spec.name

    def outcome(self, ended_at: float) -> Outcome:
        made = Outcome(
            self.request_id, self.client.peer, self.head.start, self.started, ended_at, self.status
        )
        made.answered_by = self.answered_by
        if made.answered_by and self.endpoint is not None:
            made.endpoint = self.endpoint.authority
        if self.assigned is not None:
            made.route, made.assigned = self.route, self.assigned
            if self.assigned.guarded:
                made.asked = self.asked
        made.stages, made.retried, made.fallback_stage = self.stages, self.retried, self.fallback_stage
        made.first_byte_at, made.queued = self.first_byte_at, self.waited
        made.bytes_in, made.bytes_out = self.kept, self.sent
        made.key = self.key
        made.fell_back, made.blamed, made.abandoned = self.fell_back, self.blamed, self.abandoned
        made.slow, made.early = self.slow, self.early
        made.code = self.code or self.status
        return made

    def give_cookie(self, visitor: bytes) -> None:
        """The answer of the backend gives the client this id as its sticky key."""
        visits = self.route.visits
        if visits is not None:
            self.set_cookie = visits.field(visitor, self.forwarded_lines)
            self.has_more_fields = True

    def backend_fields(self) -> bytes:
        """The value of `x-crossfade-backend`, and the lines behind it where `has_more_fields`.

        After a fallback `x-crossfade-assigned`: with both names a client can count fallbacks. What the cache says. The cookie of a sticky key.
        """
        value = self.answering.name
        if self.fell_back and self.assigned is not None:
            value += b"\r\nx-crossfade-assigned: " + self.assigned.backend.encode()
        if self.cache_fields:
            value += b"\r\n" + self.cache_fields
        return value + b"\r\n" + self.set_cookie if self.set_cookie else value

    def whole_body(self) -> bytes:
        return self.body if self.more is None else self.body + self.more
