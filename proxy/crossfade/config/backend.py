"""A backend as written: its endpoints, and how they are probed, ejected, connected to and timed.

Rule: durations are seconds, shares are fractions. Only the form of a name is checked here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from crossfade.config import address
from crossfade.config.address import EndpointConfig
from crossfade.config.match import UrlPath
from crossfade.config.registry import registered_version
from crossfade.config.request import RequestConfig
from crossfade.config.section import (
    NOT_EMPTY,
    POSITIVE,
    Count,
    Duration,
    Flag,
    OneOrMany,
    OrFalse,
    OrPlain,
    Period,
    Section,
    Share,
    Text,
    Whole,
    Written,
    at_least,
    at_most,
)

Url = Annotated[
    EndpointConfig,
    BeforeValidator(address.endpoint),
    Written({"type": "string", "pattern": r"^(https?|unix)://|\$\{"}),
]


class WeightedEndpointConfig(Section):
    """An endpoint with a weight; the URL alone has weight 1."""

    url: Url = Field(description="http://host:port, https://host:port or unix:///path")
    weight: Annotated[Whole, at_least(0), at_most(1000)] = Field(
        default=1,
        description="its part of the backend's requests, beside the weights of the other endpoints; 0: no new ones",
    )


def _weighted(value: EndpointConfig | WeightedEndpointConfig) -> EndpointConfig:
    if isinstance(value, EndpointConfig):
        return value
    return value.url.model_copy(update={"weight": value.weight})


Endpoint = Annotated[
    EndpointConfig,
    OrPlain(
        WeightedEndpointConfig, address.endpoint, {"type": "string", "pattern": r"^(https?|unix)://|\$\{"}
    ),
    AfterValidator(_weighted),
]
HostName = Annotated[str, BeforeValidator(address.host_name)]
ServerError = Annotated[Whole, at_least(500), at_most(599)]


class HealthConfig(Section):
    """How endpoints are probed: with a GET if there is a path, else with a connect.

    One success brings up an endpoint that has never been up, such as a model that starts late.
    """

    path: UrlPath | None = Field(
        default=None, description="the path of the GET request; a connect if not given"
    )
    interval: Period = Field(default=1.0, description="the time between two probes")
    timeout: Period = Field(default=0.5, description="how long a probe may take")
    healthy_after: Count = Field(default=2, description="successes in a row that bring an endpoint up again")
    unhealthy_after: Count = Field(default=3, description="failures in a row that take an endpoint down")


class TimeoutConfig(Section):
    """Timeouts of a backend."""

    connect: Period = Field(default=1.0, description="until a connection is accepted")
    first_byte: Period = Field(default=60.0, description="until the first byte of the answer")
    idle: Period = Field(
        default=60.0, description="between two pieces of the answer, or of a tunnel in either direction"
    )
    total: Period | None = Field(
        default=None, description="until the end of the answer; no limit if not given"
    )


class QueueConfig(Section):
    """Where requests wait for a place in flight, in the place of a 503 at once."""

    max: Count = Field(default=100, description="the maximum number of requests that wait, over all workers")
    timeout: Period = Field(default=2.0, description="how long a request may wait; then it gets 503")


class BackendTlsConfig(Section):
    """TLS to `https://` endpoints; the files are PEM."""

    ca: Text | None = Field(
        default=None, description="the file with the CAs of the endpoints; the system's CAs if not given"
    )
    cert: Text | None = Field(
        default=None,
        description="the file with the proxy's client certificate, for endpoints that ask for one",
    )
    key: Text | None = Field(
        default=None, description="the file with its private key; the file of cert if not given"
    )
    server_name: HostName | None = Field(
        default=None, description="the name for SNI and verification; the endpoint's host if not given"
    )
    verify: Flag = Field(default=True, description="false: the certificate is not verified")


class EjectConfig(Section):
    """When an endpoint that fails requests is ejected for a time, by each worker on its own."""

    after: Count = Field(default=5, description="failures in a row that eject the endpoint")
    time: Period = Field(
        default=10.0,
        description="how long the first ejection lasts; the n-th recent one lasts n times as long",
    )
    max_share: Annotated[Share, POSITIVE] = Field(
        default=0.5,
        description="the largest share of endpoints ejected at a time; at least one may be, and never the last",
    )
    statuses: Annotated[tuple[ServerError, ...], OneOrMany()] = Field(
        default=(502, 503, 504),
        description="statuses that count as failures, in addition to errors without an answer",
    )


class BackendConfig(Section):
    """One version of a model: a set of interchangeable endpoints."""

    endpoints: Annotated[tuple[Endpoint, ...], NOT_EMPTY, OneOrMany()] = Field(
        description="the endpoints: http://host:port, https://host:port or unix:///path; a path of an http URL comes in front of each request's path"
    )
    request: RequestConfig | None = Field(
        default=None, description="how requests to this backend are rewritten; not at all if not given"
    )
    tls: BackendTlsConfig | None = Field(default=None, description="TLS to https:// endpoints")
    version: Text | None = Field(
        default=None, description="identifies the content of the model, if the backend's name does not"
    )
    registry: Annotated[str, BeforeValidator(registered_version)] | None = Field(
        default=None,
        description="the version in the registry, as MODEL/VERSION: a promote makes it the champion there",
    )
    health: Annotated[HealthConfig | None, OrFalse()] = Field(
        default_factory=HealthConfig,
        description="how endpoints are probed; a connect every second if not given; false turns probes off",
    )
    min_up: Annotated[Share, POSITIVE] = Field(
        default=0.5,
        description="the share of the endpoints that must be up before a rollout gives this backend more traffic",
    )
    eject: Annotated[EjectConfig | None, OrFalse()] = Field(
        default_factory=EjectConfig, description="when failing endpoints are ejected; false turns it off"
    )
    slow_start: Duration = Field(
        default=10.0,
        description="how long a new or returning endpoint takes to reach its full share of requests",
    )
    resolve: Period = Field(
        default=10.0, description="how often the host names of the endpoints are looked up"
    )
    timeout: TimeoutConfig = Field(default_factory=TimeoutConfig, description="timeouts of the backend")
    max_in_flight: Count = Field(
        default=1024,
        description="the maximum number of requests in flight, over all workers; more get 503 at once, or wait",
    )
    queue: QueueConfig | None = Field(
        default=None,
        description="where requests above max_in_flight wait; if not given they get 503 at once",
    )
