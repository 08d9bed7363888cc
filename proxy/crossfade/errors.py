"""How an exchange can fail: one table (source, stage) → what the client gets, who is blamed, what is retried.

Everything that answers a failure, counts it or retries it reads this table and nothing else
(design section 4). A client that hangs up never costs a backend its good name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    DOWNSTREAM = "downstream"
    INTERNAL = "internal"
    UPSTREAM = "upstream"


class Stage(StrEnum):
    PARSE = "parse"
    LIMIT = "limits"
    HEAD_TIMEOUT = "head_timeout"
    CLIENT_LEFT = "client_left"
    NO_ROUTE = "no_route"
    OVERLOAD = "overload"
    RATE = "rate"
    OVERRIDE = "override"  # a tester's token is not good
    NO_ENDPOINT = "no_endpoint"
    CONNECT = "connect"
    TLS = "tls"  # the other side is not who it should be, or does not take us for who we are
    STALE = "stale_connection"  # a reused connection closed before the first byte
    RESET = "reset"  # a fresh connection closed before the first byte
    FIRST_BYTE = "first_byte_timeout"
    PROTOCOL = "protocol"
    BODY = "body"  # truncated, or idle for too long
    TOTAL = "total_timeout"
    CUT = "cut"  # an exchange with a challenger that was taken back, still there after `cut_after`
    BUG = "bug"  # the proxy's own; it may cost this exchange, and no other
    STATUS = "status"  # a 5xx of the backend's own


class Fallback(StrEnum):
    """When another backend may answer instead: never, if the route is `pure`, or always (nothing was sent)."""

    NEVER = "never"
    PURE = "pure"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Failure:
    """One row of the table; `status` 0 means the connection is cut, since an answer has begun."""

    source: Source
    stage: Stage
    status: int
    blames_backend: bool = False
    retries_endpoint: bool = False
    fallback: Fallback = Fallback.NEVER
    detail: str = ""


UNSENT = frozenset({Stage.CONNECT, Stage.TLS})  # no connection came about, so nothing was sent

FAILURES: dict[Stage, Failure] = {
    failure.stage: failure
    for failure in (
        Failure(Source.DOWNSTREAM, Stage.PARSE, 400, detail="The request could not be parsed."),
        Failure(Source.DOWNSTREAM, Stage.LIMIT, 413, detail="The request is larger than this proxy accepts."),
        Failure(Source.DOWNSTREAM, Stage.HEAD_TIMEOUT, 408, detail="The request did not arrive in time."),
        Failure(Source.DOWNSTREAM, Stage.CLIENT_LEFT, 499),
        Failure(Source.INTERNAL, Stage.NO_ROUTE, 404, detail="No route matches this request."),
        Failure(
            Source.INTERNAL, Stage.OVERLOAD, 503, detail="Too many requests are in flight to this model."
        ),
        Failure(Source.INTERNAL, Stage.CUT, 503, fallback=Fallback.PURE, detail="This model was taken back."),
        Failure(Source.INTERNAL, Stage.BUG, 500, detail="This proxy failed."),
        Failure(Source.INTERNAL, Stage.OVERRIDE, 403, detail="The override token is not good."),
        Failure(Source.INTERNAL, Stage.RATE, 429, detail="Too many requests."),
        Failure(
            Source.UPSTREAM,
            Stage.NO_ENDPOINT,
            503,
            True,
            False,
            Fallback.ALWAYS,
            "No endpoint of this model is up.",
        ),
        Failure(
            Source.UPSTREAM,
            Stage.CONNECT,
            502,
            True,
            True,
            Fallback.ALWAYS,
            "The model could not be reached.",
        ),
        Failure(
            Source.UPSTREAM,
            Stage.TLS,
            502,
            True,
            True,
            Fallback.ALWAYS,
            "No TLS connection to the model came about.",
        ),
        Failure(
            Source.UPSTREAM, Stage.STALE, 502, True, True, Fallback.PURE, "The model closed the connection."
        ),
        Failure(
            Source.UPSTREAM, Stage.RESET, 502, True, True, Fallback.PURE, "The model closed the connection."
        ),
        Failure(
            Source.UPSTREAM,
            Stage.FIRST_BYTE,
            504,
            True,
            False,
            Fallback.PURE,
            "The model did not answer in time.",
        ),
        Failure(
            Source.UPSTREAM,
            Stage.PROTOCOL,
            502,
            True,
            False,
            Fallback.PURE,
            "The model's answer is not valid HTTP.",
        ),
        Failure(Source.UPSTREAM, Stage.BODY, 0, True),
        Failure(Source.UPSTREAM, Stage.TOTAL, 504, True, False, Fallback.NEVER, "The model took too long."),
        Failure(Source.UPSTREAM, Stage.STATUS, 0, True, False, Fallback.PURE),
    )
}


class RequestRefused(Exception):
    """A request that goes no further: the status the client gets, and why, in words safe to show."""

    def __init__(self, stage: Stage, detail: str = "", status: int = 0, retry_after: int = 1) -> None:
        """`retry_after` in seconds, for the statuses that have such a field."""
        failure = FAILURES[stage]
        self.failure = failure
        self.status = status or failure.status
        self.detail = detail or failure.detail
        self.retry_after = retry_after
        super().__init__(f"{failure.source}/{stage}: {self.detail}")


class ResponseRefused(Exception):
    """A backend's answer that is not valid HTTP."""
