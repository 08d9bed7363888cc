"""The configuration: what the operator wrote, typed and immutable.

Rule: each model checks its fields one by one; what fields mean together (names that must exist, routes
that can never match) is checked by the rules, on the document, so that one error hides no other.
Durations are seconds, sizes bytes, weights integers out of 10 000.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from crossfade.config import address
from crossfade.config.address import EndpointConfig, ListenConfig
from crossfade.config.match import MatchConfig, StickyConfig, UrlPath
from crossfade.config.problem import BadValue, shown
from crossfade.config.rollout import CheckConfig, FuseConfig, RolloutConfig, StepConfig
from crossfade.config.route import (
    FeedbackConfig,
    LimitsConfig,
    MirrorConfig,
    NotifyConfig,
    PredictionConfig,
    RateConfig,
    RetryConfig,
    RouteConfig,
)
from crossfade.config.section import (
    AS_INTEGER,
    NOT_EMPTY,
    POSITIVE,
    Count,
    Duration,
    Flag,
    Name,
    OneOrMany,
    OrFalse,
    Section,
    Share,
    Size,
    Text,
    Whole,
    Written,
    at_least,
    at_most,
    spelled,
    text,
)
from crossfade.config.units import whole

__all__ = [
    "AccessLogConfig",
    "AdminConfig",
    "BackendConfig",
    "BackendTlsConfig",
    "CheckConfig",
    "Config",
    "EjectConfig",
    "EndpointConfig",
    "FeedbackConfig",
    "FuseConfig",
    "HealthConfig",
    "LimitsConfig",
    "ListenConfig",
    "MatchConfig",
    "MirrorConfig",
    "NotifyConfig",
    "OverrideConfig",
    "PredictionConfig",
    "PrometheusConfig",
    "RateConfig",
    "RetryConfig",
    "RolloutConfig",
    "RouteConfig",
    "ServerLimits",
    "StepConfig",
    "StickyConfig",
    "TimeoutConfig",
    "TlsConfig",
]

_MAX_WORKERS = 256
_MIN_SECRET_LENGTH = 16


def _workers(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    try:
        count = whole(value)
    except BadValue:
        raise BadValue(f"must be auto or a whole number, not {shown(value)}") from None
    if not 0 <= count <= _MAX_WORKERS:
        raise BadValue(f"must be auto or from 0 to {_MAX_WORKERS}, not {count}")
    return count


def _state(value: object) -> str:
    """`sqlite:PATH` or `redis://…`."""
    written = text(value)
    if not re.fullmatch(r"sqlite:(?!sqlite:).+|rediss?://.+", written):
        bare = written.rpartition("sqlite:")[2]
        near = f"sqlite:{bare}" if re.fullmatch(r"[\w./-]+\.(db|sqlite3?)", bare) else None
        raise BadValue(
            "must be sqlite:PATH or redis://HOST:PORT", near
        )  # not repeated: it may hold a password
    return written


Listen = Annotated[
    ListenConfig,
    BeforeValidator(address.listen),
    Written({"type": "string", "pattern": r":[0-9]+$|\$\{"}),
]
Endpoint = Annotated[
    EndpointConfig,
    BeforeValidator(address.endpoint),
    Written({"type": "string", "pattern": r"^(https?|unix)://|\$\{"}),
]
# Named, since inside a model a field's name would hide the function that reads it.
Workers = Annotated[int | Literal["auto"], PlainValidator(_workers), spelled({"const": "auto"}, AS_INTEGER)]
State = Annotated[str, BeforeValidator(_state)]
HostName = Annotated[str, BeforeValidator(address.host_name)]
ServerError = Annotated[Whole, at_least(500), at_most(599)]
Period = Annotated[Duration, POSITIVE]
Quantity = Annotated[Size, at_least(1)]


class TlsConfig(Section):
    """PEM files."""

    cert: Text = Field(description="the certificate and its chain")
    key: Text = Field(description="its private key")
    client_ca: Text | None = Field(
        default=None, description="who may vouch for clients; if given, they are asked for a certificate"
    )
    client_auth: Literal["required", "optional"] = Field(
        default="required", description="whether clients without a certificate are turned away"
    )


def _secret(value: object) -> str:
    """Not repeated in any message."""
    written = text(value)
    if len(written) < _MIN_SECRET_LENGTH:
        raise BadValue(
            f"must be at least {_MIN_SECRET_LENGTH} characters long, such as from openssl rand -hex 32"
        )
    return written


Secret = Annotated[str, BeforeValidator(_secret)]


class OverrideConfig(Section):
    """Tokens by which testers pick a backend."""

    secret: Secret = Field(description="what tokens are signed with")


class AdminConfig(Section):
    """The admin API, metrics and dashboard."""

    listen: Listen = Field(
        default=ListenConfig(host="127.0.0.1", port=9901),
        description="host:port",
        json_schema_extra={"default": "127.0.0.1:9901"},
    )
    token: Annotated[str, BeforeValidator(text)] = Field(
        default="", description="what callers must know; needed if others than this machine can call"
    )


class AccessLogConfig(Section):
    """One line of JSON for each request."""

    to: Text = Field(default="stdout", description="a file, or stdout")
    sample: Share = Field(
        default=1.0,
        description="the share of requests that is logged; what a model or the proxy failed at always is",
        json_schema_extra={"default": "100%"},
    )
    query: Flag = Field(default=False, description="whether with the target's query, which may hold secrets")


class ServerLimits(Section):
    """What a client may cost a worker before there is a route to ask."""

    head_bytes: Quantity = Field(default=32_768, description="the largest request head")
    head_count: Count = Field(default=100, description="the most header fields")
    connections: Count = Field(default=10_000, description="the most connections of a worker")
    head_timeout: Period = Field(default=10.0, description="how long a request head may take")
    keep_alive: Period = Field(default=75.0, description="how long an idle connection is kept")


class HealthConfig(Section):
    """How endpoints are probed: with a GET if there is a path, else by connecting.

    The first success brings up an endpoint that was never well before: a model that starts late.
    """

    path: UrlPath | None = Field(default=None, description="what to GET")
    interval: Period = Field(default=1.0, description="how often")
    timeout: Period = Field(default=0.5, description="how long an answer may take")
    healthy_after: Count = Field(default=2, description="successes in a row that bring an endpoint back")
    unhealthy_after: Count = Field(default=3, description="failures in a row that take it out")


class TimeoutConfig(Section):
    """How long a backend may take."""

    connect: Period = Field(default=1.0, description="to accept a connection")
    first_byte: Period = Field(default=60.0, description="to begin its answer")
    idle: Period = Field(
        default=60.0, description="between two pieces of its answer, or of a tunnel either way"
    )
    total: Period | None = Field(default=None, description="for the whole answer; none is no limit")


class BackendTlsConfig(Section):
    """How `https://` endpoints are spoken to; PEM files."""

    ca: Text | None = Field(default=None, description="who may vouch for them; the system's CAs if not given")
    cert: Text | None = Field(default=None, description="the proxy's own certificate, if they ask for one")
    key: Text | None = Field(default=None, description="its private key; in the same file if not given")
    server_name: HostName | None = Field(
        default=None, description="the name asked for (SNI) and verified; the endpoint's host if not given"
    )
    verify: Flag = Field(default=True, description="false speaks to whoever answers")


class EjectConfig(Section):
    """When an endpoint that keeps failing requests is passed over for a while (by each worker for itself)."""

    after: Count = Field(default=5, description="failures in a row")
    time: Period = Field(default=10.0, description="for how long; twice as long the second time, and so on")
    max_share: Annotated[Share, POSITIVE] = Field(
        default=0.5, description="the most endpoints at a time; one at least, and never the last"
    )
    statuses: Annotated[tuple[ServerError, ...], OneOrMany()] = Field(
        default=(502, 503, 504), description="answers that are failures, beside those that never come"
    )


class BackendConfig(Section):
    """One version of a model: interchangeable endpoints."""

    endpoints: Annotated[tuple[Endpoint, ...], NOT_EMPTY, OneOrMany()] = Field(
        description="http://host:port, https://host:port or unix:///path of each"
    )
    tls: BackendTlsConfig | None = Field(default=None, description="for https:// endpoints")
    version: Text | None = Field(
        default=None, description="what identifies the model's content, if the name does not"
    )
    health: Annotated[HealthConfig | None, OrFalse()] = Field(
        default_factory=HealthConfig, description="a connect every second if not given; false is no probing"
    )
    eject: Annotated[EjectConfig | None, OrFalse()] = Field(
        default_factory=EjectConfig, description="when failing endpoints are passed over; false is never"
    )
    slow_start: Duration = Field(
        default=10.0, description="how long an endpoint that comes (back) takes to get its full share"
    )
    resolve: Period = Field(default=10.0, description="how often the endpoints' names are looked up")
    timeout: TimeoutConfig = Field(default_factory=TimeoutConfig, description="how long it may take")
    max_in_flight: Count = Field(default=1024, description="above it: 503, never a queue without end")


class PrometheusConfig(Section):
    """The server that checks of the metric prometheus are put to."""

    url: Annotated[str, BeforeValidator(address.web_url)] = Field(
        description="of the server, without /api/v1/query"
    )
    interval: Period = Field(default=10.0, description="how often each query is asked")
    timeout: Period = Field(default=2.0, description="how long an answer may take")


class Config(Section):
    """The whole file."""

    listen: Annotated[tuple[Listen, ...], NOT_EMPTY, OneOrMany()] = Field(
        description="where clients connect: host:port, or a list"
    )
    tls: TlsConfig | None = Field(default=None, description="for clients' connections")
    admin: AdminConfig = Field(default_factory=AdminConfig, description="where operators connect")
    workers: Workers = Field(
        default="auto",
        description="processes: auto is one for each core, 0 serves from the control process itself",
    )
    state: State = Field(
        default="sqlite:crossfade.db", description="where decisions are kept: sqlite:PATH or redis://…"
    )
    drain: Duration = Field(
        default=30.0, description="how long requests may take to finish when the proxy stops"
    )
    prometheus: PrometheusConfig | None = Field(
        default=None, description="where checks of the metric prometheus are asked"
    )
    trusted_proxies: Annotated[tuple[Annotated[str, BeforeValidator(address.network)], ...], OneOrMany()] = (
        Field((), description="address ranges whose X-Forwarded-* and Forwarded are believed")
    )
    access_log: Annotated[AccessLogConfig | None, OrFalse("off")] = Field(
        default=None, description="a line for each request; off if not given"
    )
    override: OverrideConfig | None = Field(
        default=None, description="lets testers with a token pick a backend; without it tokens are ignored"
    )
    limits: ServerLimits = Field(default_factory=ServerLimits, description="what a client may cost")
    backends: Annotated[dict[Name, BackendConfig], NOT_EMPTY] = Field(description="the versions, by name")
    routes: Annotated[tuple[RouteConfig, ...], NOT_EMPTY] = Field(
        description="the first match in file order wins"
    )
