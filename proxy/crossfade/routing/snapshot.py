"""The snapshot: the immutable compiled configuration that a worker serves from until the next one comes.

Rule: values only, no behaviour, so that a snapshot can be sent to the workers as bytes. `compiling` makes it from the
configuration. A worker builds its Router once per snapshot.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec
from msgspec.structs import replace

from crossfade.paths import REFUSE_IF_AMBIGUOUS
from crossfade.quality.keep import Keep
from crossfade.quality.prediction import Prediction
from crossfade.routing.assigned import Assigned
from crossfade.routing.ledger import Ledger

Role = Literal["champion", "challenger", "shadow", "member", "tester", "cached"]
OWN = ""  # in place of a backend's name, for what the proxy answers itself
TESTER: Role = "tester"  # chosen by an override token, so in no statistics of a rollout
CACHED: Role = "cached"  # answered from the response cache; neither are these
Limits = dict[str, tuple[tuple[str, float], ...]]  # by backend: (title of the check, seconds), rising


class Endpoint(msgspec.Struct, frozen=True):
    """`authority` is the Host field for a request without one. A unix socket has a `path` and no host.

    `base`: the path in front of the path of each request, as it was written. `weight` 0: no new requests.
    """

    host: str
    port: int
    authority: str
    up: bool = True
    url: str = ""
    tls: bool = False
    path: str = ""
    base: str = ""
    weight: int = 1

    @property
    def name(self) -> str:
        """As in the configuration."""
        return self.url if self.tls or self.path or self.base else self.authority


def instance_name(endpoint: str, address: str) -> str:
    """Of one address of an endpoint whose host name has several."""
    return f"{endpoint} ({address})"


def endpoint_of(instance: str) -> str:
    """The name of its endpoint."""
    return instance.rpartition(" (")[0] or instance if instance.endswith(")") else instance


class Tls(msgspec.Struct, frozen=True):
    """TLS to `https://` endpoints. `stamp` is a hash of the files: a changed file makes an unequal Tls."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    verify: bool = True
    stamp: str = ""


class Eject(msgspec.Struct, frozen=True):
    """When `health` ejects an endpoint that fails requests. `time` is in seconds."""

    after: int
    time: float
    max_share: float
    statuses: tuple[int, ...]


class Rewrite(msgspec.Struct, frozen=True):
    """How requests to a backend are rewritten (`rewriting`). `host`: `preserve`, `endpoint` or a host.

    `regex`: a pattern for whole paths, and what replaces them. `json`: paths in the body, and the JSON texts of their values.
    """

    host: str = "preserve"
    prefix: str | None = None
    replace: str | None = None
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    regex: tuple[str, str] | None = None
    json: tuple[tuple[str, str], ...] = ()


class Backend(msgspec.Struct, frozen=True):
    """Timeouts are in seconds. `max_in_flight` is of all workers together. `out`: addresses of endpoints that are up, and that get nothing."""

    name: str
    endpoints: tuple[Endpoint, ...]
    connect_timeout: float
    first_byte_timeout: float
    idle_timeout: float
    total_timeout: float | None
    max_in_flight: int
    tls: Tls = Tls()
    eject: Eject | None = None
    slow_start: float = 0.0
    resolve: float = 10.0
    out: tuple[str, ...] = ()
    queue_max: int = 0  # requests that may wait for a place in flight, over all workers
    queue_timeout: float = 0.0
    request: Rewrite | None = None


class Match(msgspec.Struct, frozen=True):
    """All conditions must hold; at most one of path, prefix and regex is set."""

    path: str | None = None
    prefix: str | None = None
    regex: str | None = None
    methods: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    json: tuple[tuple[str, str | int | float | bool], ...] = ()


class Sticky(msgspec.Struct, frozen=True):
    kind: Literal["header", "cookie", "query", "json", "client_ip", "assign"]
    name: str = ""
    assigned: Assigned | None = None


class Rate(msgspec.Struct, frozen=True):
    """The limit for each key: `per_second` requests in the long run, `burst` at once.

    `ipv6_prefix`: the bits of an IPv6 client's address that count, where the key is the client's address.
    """

    key: Sticky
    per_second: float
    burst: int
    ipv6_prefix: int = 64


class Mirror(msgspec.Struct, frozen=True):
    """Out of 10 000: `sample` of the requests are copied; `noise` of the copied ones ask the champion twice.

    `request`: how copies are rewritten, in place of what the backend says; None: as its other requests. `target`: names
    such copies, which have connections and places in flight of their own; else empty. `abandoned`: requests whose clients leave
    are copied too.
    """

    to: str
    sample: int
    noise: int = 0
    request: Rewrite | None = None
    target: str = ""
    abandoned: bool = True

    @property
    def key(self) -> str:
        """Of what is in common to the copies of several routes."""
        return self.target or self.to


class Cut(msgspec.Struct, frozen=True):
    """Exchanges with this backend that began under an earlier ledger are cut after `after` seconds."""

    backend: str
    after: float


class Cache(msgspec.Struct, frozen=True):
    """How long answers are given again, in seconds, and how many bytes of them a worker keeps. What the key has beside the target:
    the `body`, and these `fields`, whose names are lower-cased."""

    ttl: float
    max: int
    body: bool = True
    fields: tuple[str, ...] = ()


class Route(msgspec.Struct, frozen=True):
    """`roles[i]` is the role of `ledger.backends[i]`; `limits` are latency limits; `errors`: ranges of statuses."""

    name: str
    match: Match
    sticky: tuple[Sticky, ...]
    ledger: Ledger
    roles: tuple[Role, ...]
    salt: bytes
    fallback: str | None
    mirrors: tuple[Mirror, ...]
    retry_attempts: int
    retry_budget: float
    pure: bool
    body_limit: int | None
    inspect_limit: int  # bytes of the body that are looked at
    upgrades: tuple[bytes, ...]  # protocols that clients may switch to, lower-cased
    cuts: tuple[Cut, ...] = ()
    rate: Rate | None = None
    limits: Limits = {}
    prediction: Prediction | None = None
    drift: bool = False  # inputs are compared with a profile: bodies of requests go to the observer
    keep: Keep | None = None
    errors: tuple[tuple[int, int], ...] = ((500, 599),)
    guarded: bool = False  # a rollout of it can still fail
    replay_limit: int = 65_536  # bytes of a body that is kept to be sent again, or copied
    absent_beyond: bool = False  # whether a JSON field that is not within `inspect_limit` is taken for absent
    own_answer: OwnAnswer | None = None  # in place of a split
    cors: Cors | None = None
    fields_set: tuple[tuple[str, str], ...] = ()  # header fields of answers
    fields_removed: tuple[str, ...] = ()
    logs: bool = False  # each exchange is a row of the prediction log
    inputs: bool = False  # with the body of the request, where it is kept for a retry
    steps: tuple[tuple[str, int], ...] = ()  # of its rollouts under way, by challenger; from 0
    cache: Cache | None = None


class OwnAnswer(msgspec.Struct, frozen=True):
    """An answer of the proxy. With a `scheme`, `host`, `path` or `prefix` it is a redirect, and has a Location field."""

    status: int
    body: bytes = b""
    fields: tuple[tuple[str, str], ...] = ()
    scheme: str | None = None
    host: str | None = None
    path: str | None = None
    prefix: str | None = None

    @property
    def redirects(self) -> bool:
        return (self.scheme, self.host, self.path, self.prefix) != (None, None, None, None)


class Cors(msgspec.Struct, frozen=True):
    """Lists that hold `*` allow everything. `max_age` is in seconds."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int | None = None


class AccessLog(msgspec.Struct, frozen=True):
    """`to` is a path or `stdout`; `sample` is from 0 to 1."""

    to: str
    sample: float
    query: bool


class Log(msgspec.Struct, frozen=True):
    """How workers write their log: as `log` in the configuration."""

    format: str = "auto"
    level: str = "info"


class Tracing(msgspec.Struct, frozen=True):
    """Where spans go. `sample`: the share of requests without a traceparent that have one; `headers`: of the calls to the endpoint."""

    endpoint: str
    sample: float
    service: str
    headers: tuple[tuple[str, str], ...] = ()


class Snapshot(msgspec.Struct, frozen=True):
    """Sizes are in bytes, times in seconds."""

    generation: int
    backends: dict[str, Backend]
    routes: tuple[Route, ...]
    head_bytes: int
    head_count: int
    connections: int
    head_timeout: float
    keep_alive: float
    trusted_proxies: tuple[str, ...] = ()
    trusted_headers: tuple[str, ...] = ()  # passed on from those proxies only
    access_log: AccessLog | None = None
    override_secret: str = ""  # empty: tokens are ignored
    merge_slashes: bool = True
    encoded_slashes: str = REFUSE_IF_AMBIGUOUS
    held_bytes: int = 67_108_864  # of bodies that wait for their route, in one worker
    min_rate: int = 0  # bytes a second that a client must send or take; 0: no limit
    min_rate_grace: float = 60.0
    begins_traces: bool = False  # whether a request without traceparent gets one
    cookie_secrets: tuple[str, ...] = ()
    log: Log = Log()
    tracing: Tracing | None = None


def with_drained(snapshot: Snapshot, drained: Collection[tuple[str, str]]) -> Snapshot:
    """(backend, endpoint) pairs; they get no new requests."""
    backends = dict(snapshot.backends)
    for name in {name for name, _ in drained}:
        found = backends[name].endpoints
        endpoints = tuple(replace(e, weight=0) if (name, e.name) in drained else e for e in found)
        backends[name] = replace(backends[name], endpoints=endpoints)
    return replace(snapshot, backends=backends)
