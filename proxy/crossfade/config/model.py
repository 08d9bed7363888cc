"""The configuration as the operator wrote it, typed and immutable.

Rule: a model checks its fields one by one. The rules check several values together (names that must exist,
routes that can never match); they read the document, so that one error does not hide another. Durations are
seconds, sizes are bytes, weights are integers out of 10 000.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, PrivateAttr

from crossfade.config import address, units
from crossfade.config.address import EndpointConfig, ListenConfig
from crossfade.config.admin import AdminConfig, AdminTokenConfig
from crossfade.config.backend import BackendConfig, BackendTlsConfig, EjectConfig, HealthConfig, TimeoutConfig
from crossfade.config.listener import CertificateConfig, Listener, ListenerConfig, TlsConfig
from crossfade.config.log import LogConfig
from crossfade.config.match import MatchConfig, StickyConfig
from crossfade.config.mirror import MirrorConfig
from crossfade.config.notify import NotifyConfig
from crossfade.config.prediction import PredictionConfig, SegmentConfig
from crossfade.config.problem import BadValue, shown
from crossfade.config.registry import RegistryConfig
from crossfade.config.rollout import (
    ApprovalConfig,
    CheckConfig,
    FuseConfig,
    GateConfig,
    RolloutConfig,
    StepConfig,
)
from crossfade.config.route import (
    ErrorsConfig,
    FeedbackConfig,
    LimitsConfig,
    RateConfig,
    RetryConfig,
    RouteConfig,
)
from crossfade.config.section import (
    AS_DURATION,
    AS_INTEGER,
    AS_NUMBER,
    NOT_EMPTY,
    Count,
    Duration,
    Flag,
    Name,
    OneOrMany,
    OrFalse,
    OrPlain,
    Period,
    Section,
    Share,
    SigningSecret,
    Size,
    Text,
    at_least,
    spelled,
    text,
)
from crossfade.config.traces import TracesConfig
from crossfade.config.trusted_headers import TRUSTED_HEADERS, TrustedHeader
from crossfade.config.units import whole

__all__ = [
    "AccessLogConfig",
    "AdminConfig",
    "AdminTokenConfig",
    "ApprovalConfig",
    "BackendConfig",
    "BackendTlsConfig",
    "CertificateConfig",
    "CheckConfig",
    "Config",
    "DrainConfig",
    "EjectConfig",
    "EndpointConfig",
    "ErrorsConfig",
    "FeedbackConfig",
    "FuseConfig",
    "GateConfig",
    "HealthConfig",
    "LimitsConfig",
    "ListenConfig",
    "ListenerConfig",
    "MatchConfig",
    "MetricsConfig",
    "MirrorConfig",
    "NotifyConfig",
    "OverrideConfig",
    "PredictionConfig",
    "PrometheusConfig",
    "RateConfig",
    "RetryConfig",
    "RolloutConfig",
    "RouteConfig",
    "SegmentConfig",
    "ServerLimits",
    "StepConfig",
    "StickyConfig",
    "TimeoutConfig",
    "TlsConfig",
]

_MAX_WORKERS = 256


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
        # The value is not shown, since it may hold a password.
        raise BadValue("must be sqlite:PATH or redis://HOST:PORT", near)
    return written


# The types of single fields.
Workers = Annotated[int | Literal["auto"], PlainValidator(_workers), spelled({"const": "auto"}, AS_INTEGER)]
State = Annotated[str, BeforeValidator(_state)]
Quantity = Annotated[Size, at_least(1)]


class OverrideConfig(Section):
    """Tokens with which testers choose a backend."""

    secret: SigningSecret = Field(description="the secret that signs the tokens")


def _rising(edges: tuple[float, ...]) -> tuple[float, ...]:
    if any(edge >= after for edge, after in pairwise(edges)):
        raise BadValue("must rise")
    return edges


BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0),
)  # seconds


class JournalConfig(Section):
    """The decisions in the state file."""

    keep: Period | None = Field(
        default=None,
        description="how long decisions are kept, all if not given; the last ones of each route always are",
    )


class DrainConfig(Section):
    """How the proxy ends after a TERM."""

    delay: Duration = Field(
        default=5.0,
        description="how long it serves on after a TERM while /readyz says 503, so that load balancers look elsewhere",
    )
    timeout: Duration = Field(default=30.0, description="how long requests in flight may take after that")


def _timeout_alone(value: object) -> DrainConfig:
    return DrainConfig(delay=0.0, timeout=units.seconds(value))


class MetricsConfig(Section):
    """The page of metrics for Prometheus."""

    buckets: Annotated[tuple[Period, ...], NOT_EMPTY, AfterValidator(_rising)] = Field(
        default=BUCKETS, description="the upper edges of the buckets of duration histograms"
    )


class AccessLogConfig(Section):
    """One line of JSON for each logged request."""

    to: Text = Field(default="stdout", description="a file, or stdout")
    sample: Share = Field(
        default=1.0,
        description="the share of requests that is logged; failures of a model or the proxy are always logged",
        json_schema_extra={"default": "100%"},
    )
    query: Flag = Field(
        default=False, description="true: the query of the target is logged too; it may hold secrets"
    )


class PathsConfig(Section):
    """The spelling of paths. Routes are matched with the normalised path; backends get the path as it was sent."""

    merge_slashes: Flag = Field(
        default=True, description="true: routes take //predict for /predict; false: for another path"
    )
    encoded_slashes: Literal["refuse_if_ambiguous", "keep", "refuse"] = Field(
        default="refuse_if_ambiguous",
        description="paths with %2F, %5C or a backslash: refuse_if_ambiguous answers 400 where the path decoded has other "
        "routes, keep matches them encoded, refuse answers 400 always",
    )


class ServerLimits(Section):
    """Limits of a client that apply before a route is found."""

    head_bytes: Quantity = Field(default=32_768, description="the largest request head")
    head_count: Count = Field(default=100, description="the maximum number of header fields")
    connections: Count = Field(default=10_000, description="the maximum number of connections of a worker")
    head_timeout: Period = Field(default=10.0, description="how long a request head may take")
    keep_alive: Period = Field(default=75.0, description="how long an idle connection is kept")
    min_rate: Size = Field(
        default=240,
        description="the least rate of a client, in bytes a second: a body that comes slower gets 408, an answer that "
        "is taken slower is cut off; 0: no limit",
    )
    min_rate_grace: Period = Field(
        default=60.0,
        description="the time over which min_rate is measured, and within which it may be broken",
    )
    held_bytes: Size = Field(
        default=67_108_864,
        description="bodies above 64 KiB that wait for their route or for a rewriting, in all, in one worker; above it: 503",
    )


class PrometheusConfig(Section):
    """The Prometheus server for checks with the metric prometheus."""

    url: Annotated[str, BeforeValidator(address.web_url)] = Field(
        description="the URL of the server, without /api/v1/query"
    )
    interval: Period = Field(default=10.0, description="how often each query is run")
    timeout: Period = Field(default=2.0, description="how long a query may take")


class Config(Section):
    """The configuration file."""

    _from_variables: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def listeners(self) -> list[tuple[ListenConfig, TlsConfig | None]]:
        """Each address with the TLS of its clients."""
        return [
            (at, self.tls)
            if isinstance(at, ListenConfig)
            else (at.address, at.tls if at.has_own_tls else self.tls)
            for at in self.listen
        ]

    @property
    def from_variables(self) -> frozenset[str]:
        """The scalars that hold the value of a variable; whoever shows a value leaves these out."""
        return self._from_variables

    @property
    def split_routes(self) -> tuple[RouteConfig, ...]:
        """The routes whose requests go to backends: only these have a ledger and a state."""
        return tuple(route for route in self.routes if not route.answers_itself)

    def knowing(self, from_variables: Iterable[str]) -> Config:
        made = self.model_copy()
        made._from_variables = frozenset(from_variables)
        return made

    listen: Annotated[tuple[Listener, ...], NOT_EMPTY, OneOrMany()] = Field(
        description="the addresses for clients: host:port, {address, tls}, or a list of them"
    )
    tls: TlsConfig | None = Field(
        default=None, description="TLS of clients' connections, for listeners without their own"
    )
    admin: AdminConfig = Field(
        default_factory=AdminConfig, description="the admin API, metrics and dashboard"
    )
    workers: Workers = Field(
        default="auto",
        description="the number of worker processes; auto: one per core, 0: the control process serves itself",
    )
    state: State = Field(
        default="sqlite:crossfade.db",
        description="where rollout states and decisions are stored: sqlite:PATH or redis://…",
    )
    journal: JournalConfig = Field(
        default_factory=JournalConfig, description="how long decisions are kept; all are if not given"
    )
    drain: Annotated[DrainConfig, OrPlain(DrainConfig, _timeout_alone, AS_NUMBER, AS_DURATION)] = Field(
        default_factory=DrainConfig,
        description="how the proxy ends after a TERM; a duration alone is its timeout, without a delay",
    )
    metrics: MetricsConfig = Field(
        default_factory=MetricsConfig, description="the page of metrics for Prometheus"
    )
    prometheus: PrometheusConfig | None = Field(
        default=None, description="the server for checks with the metric prometheus"
    )
    registry: RegistryConfig | None = Field(
        default=None, description="the registry of models, for `registry` of backends and challengers"
    )
    notify: Annotated[tuple[NotifyConfig, ...], OneOrMany()] = Field(
        default=(), description="webhooks that are told what happens on all routes and to the proxy"
    )
    trusted_proxies: Annotated[tuple[Annotated[str, BeforeValidator(address.network)], ...], OneOrMany()] = (
        Field((), description="address ranges of proxies whose X-Forwarded-* and Forwarded fields are used")
    )
    trusted_headers: Annotated[tuple[TrustedHeader, ...], OneOrMany()] = Field(
        default=TRUSTED_HEADERS,
        description="fields by which a proxy in front names the client or its TLS connection: passed on from trusted_proxies, removed from all others",
    )
    traceparent: Literal["pass", "begin"] = Field(
        default="pass",
        description="pass: a client's traceparent goes to the model, and none is added; begin: a request without one gets one, sampled",
    )
    traces: TracesConfig | None = Field(
        default=None, description="spans of sampled requests, for OpenTelemetry; none if not given"
    )
    access_log: Annotated[AccessLogConfig | None, OrFalse("off")] = Field(
        default=None, description="one line for each logged request; off if not given"
    )
    log: LogConfig = Field(
        default_factory=LogConfig, description="the log of the proxy and its workers, on its error output"
    )
    override: OverrideConfig | None = Field(
        default=None,
        description="lets testers with a token choose a backend; tokens are ignored if not given",
    )
    cookie_secrets: Annotated[tuple[SigningSecret, ...], OneOrMany()] = Field(
        default=(),
        description="sign the cookies of sticky: assign; the first signs, all are accepted; the state has one if not given",
    )
    limits: ServerLimits = Field(default_factory=ServerLimits, description="limits of a client")
    paths: PathsConfig = Field(default_factory=PathsConfig, description="the spelling of paths")
    backends: Annotated[dict[Name, BackendConfig], NOT_EMPTY] = Field(
        description="the versions of models by name"
    )
    routes: Annotated[tuple[RouteConfig, ...], NOT_EMPTY] = Field(
        description="the routes; the first match in file order wins"
    )
