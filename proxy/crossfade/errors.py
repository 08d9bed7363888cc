"""How an exchange can fail: one table from (source, stage) to status, blame and retry.

Rule: all code that answers, counts or retries a failure reads this table and nothing else (design
section 4). A client that hangs up is never a failure of a backend.
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
    MIN_RATE = "min_rate"  # the body came too slowly
    CLIENT_LEFT = "client_left"
    NO_ROUTE = "no_route"
    OVERLOAD = "overload"
    RATE = "rate"
    OVERRIDE = "override"  # the override token is not valid
    NO_ENDPOINT = "no_endpoint"
    CONNECT = "connect"
    TLS = "tls"  # a certificate was not accepted, by us or by the backend
    STALE = "stale_connection"  # a reused connection closed before the first byte
    RESET = "reset"  # a fresh connection closed before the first byte
    FIRST_BYTE = "first_byte_timeout"
    PROTOCOL = "protocol"
    BODY = "body"  # truncated, or idle for too long
    TOTAL = "total_timeout"
    CUT = "cut"  # still in flight `cut_after` after the challenger was aborted or rolled back
    BUG = "bug"  # a bug of the proxy; it ends this exchange only
    STATUS = "status"  # a 5xx response of the backend


class Fallback(StrEnum):
    """When another backend may answer instead: never, on `pure` routes, or always (nothing was sent)."""

    NEVER = "never"
    PURE = "pure"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Failure:
    """One row of the table. `status` 0: the connection is cut, since the response has begun."""

    source: Source
    stage: Stage
    status: int
    blames_backend: bool = False
    retries_endpoint: bool = False
    fallback: Fallback = Fallback.NEVER
    detail: str = ""


UNSENT = frozenset({Stage.CONNECT, Stage.TLS})  # no connection was made, so nothing was sent

FAILURES: dict[Stage, Failure] = {
    failure.stage: failure
    for failure in (
        Failure(Source.DOWNSTREAM, Stage.PARSE, 400, detail="The request could not be parsed."),
        Failure(Source.DOWNSTREAM, Stage.LIMIT, 413, detail="The request is larger than the limit."),
        Failure(Source.DOWNSTREAM, Stage.HEAD_TIMEOUT, 408, detail="The request did not arrive in time."),
        Failure(Source.DOWNSTREAM, Stage.MIN_RATE, 408, detail="The body of the request came too slowly."),
        Failure(Source.DOWNSTREAM, Stage.CLIENT_LEFT, 499),
        Failure(Source.INTERNAL, Stage.NO_ROUTE, 404, detail="No route matches this request."),
        Failure(
            Source.INTERNAL, Stage.OVERLOAD, 503, detail="Too many requests to this model are in flight."
        ),
        Failure(
            Source.INTERNAL,
            Stage.CUT,
            503,
            fallback=Fallback.PURE,
            detail="The rollout of this model was aborted or rolled back.",
        ),
        Failure(Source.INTERNAL, Stage.BUG, 500, detail="The proxy has an internal error."),
        Failure(Source.INTERNAL, Stage.OVERRIDE, 403, detail="The override token is not valid."),
        Failure(Source.INTERNAL, Stage.RATE, 429, detail="The rate limit is exceeded."),
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
            "The TLS handshake with the model failed.",
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
    """A request that is refused: the status for the client, and a reason that is safe to show."""

    def __init__(self, stage: Stage, detail: str = "", status: int = 0, retry_after: int = 1) -> None:
        """`retry_after` is in seconds, for the statuses with a Retry-After field."""
        failure = FAILURES[stage]
        self.failure = failure
        self.status = status or failure.status
        self.detail = detail or failure.detail
        self.retry_after = retry_after
        super().__init__(f"{failure.source}/{stage}: {self.detail}")


class ResponseRefused(Exception):
    """A response of a backend that is not valid HTTP."""
