"""Outcome: what is known of an exchange when it has ended.

Rule: whoever looks at exchanges that have ended (recorder, access log, comparison) reads an outcome, and
nothing else of the exchange. It is made once, in `Exchange.finish`, and only where somebody needs more of it
than a usual exchange's duration.
"""

from __future__ import annotations

import msgspec

from crossfade.errors import FAILURES, Source, Stage
from crossfade.http1.lines import Start
from crossfade.routing.router import AssignedBackend, CompiledRoute


class Outcome(msgspec.Struct, frozen=True):
    """Times are those of the monotonic clock, in seconds. Without a `route` no backend was assigned."""

    request_id: bytes
    client: bytes  # its address
    request: Start
    started_at: float
    ended_at: float
    status: int  # 0: the client got no answer
    stages: tuple[Stage, ...] = ()  # of all failures, in order; what was tried again included
    first_byte_at: float = 0.0  # 0: none came
    bytes_in: int = 0  # of the bodies alone
    bytes_out: int = 0
    route: CompiledRoute | None = None
    assigned: AssignedBackend | None = None  # and its role; all counts are under its name
    key: int | None = None  # the sticky key's hash
    answered_by: str = ""  # the backend whose answer the client got, if it got one
    endpoint: bytes = b""  # its address that answered
    fell_back: bool = False
    blamed: bool = False  # it counts against the backend assigned
    abandoned: bool = False  # the client left, or was refused; nobody's fault
    slow: int = 0  # how many limits of the route were counted as passed while it was under way
    early: int = 0  # how many of these are still counted as early
    said: bytes | None = b""  # the answer's body where the route reads answers; None: too large to keep


def is_failure(status: int, stages: tuple[Stage, ...]) -> bool:
    """Did a model or the proxy fail, even if the client saw nothing of it?"""
    if status >= 500 or not stages:
        return status >= 500
    return any(FAILURES[stage].source is Source.UPSTREAM for stage in stages)
