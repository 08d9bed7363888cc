"""The snapshot: the immutable compiled configuration that a worker serves from until the next one comes.

Rule: values only, no behaviour, so that a snapshot can be sent to the workers as bytes. `compile_snapshot`
makes it from the configuration, the state of the rollouts (ledgers and roles) and the prober's results
(endpoints that are down). A worker builds its Router once per snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.paths import REFUSE_IF_AMBIGUOUS
from crossfade.routing.assigned import Assigned, compile_assigned
from crossfade.routing.ledger import BUCKETS, Ledger, salt_of

if TYPE_CHECKING:  # workers must not import the config models, and pydantic with them
    from crossfade.config.load import Loaded
    from crossfade.config.model import (
        AccessLogConfig,
        BackendConfig,
        BackendTlsConfig,
        PredictionConfig,
        RateConfig,
        RouteConfig,
    )
    from crossfade.config.own_answer import CorsConfig
    from crossfade.config.request import RequestConfig

_NO_LEDGER = Ledger(("",), bytes(BUCKETS), 0)
_NO_TRIALS: Mapping[str, Trial] = {}
Role = Literal["champion", "challenger", "shadow", "member", "tester"]
OWN = ""  # in place of a backend's name, for what the proxy answers itself
TESTER: Role = "tester"  # chosen by an override token, so in no statistics of a rollout
Limits = dict[str, tuple[tuple[str, float], ...]]  # by backend: (title of the check, seconds), rising
_NO_LIMITS: Limits = {}


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


class Prediction(msgspec.Struct, frozen=True):
    """JSON paths to the score, the label and the segment in an answer. The decision is yes from the score `decision` on."""

    score: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    decision: float | None = None
    segment: tuple[tuple[str, ...], ...] = ()

    @property
    def has_decision(self) -> bool:
        """Whether an answer gives a decision that can be compared."""
        return bool(self.label) or self.decision is not None


class Mirror(msgspec.Struct, frozen=True):
    """Out of 10 000: `sample` of the requests are copied; `noise` of the copied ones ask the champion twice."""

    to: str
    sample: int
    noise: int = 0


class Cut(msgspec.Struct, frozen=True):
    """Exchanges with this backend that began under an earlier ledger are cut after `after` seconds."""

    backend: str
    after: float


class Trial(NamedTuple):
    """What a rollout adds to its route: mirrors to the challenger, cuts of its exchanges, latency limits.

    `salt`: of a route that was renamed and keeps the hash of its sticky keys. `guarded`: a FAIL still ends a rollout, so
    workers count what its tests need: seconds, keys and endpoints.
    """

    mirrors: tuple[Mirror, ...] = ()
    cuts: tuple[Cut, ...] = ()
    limits: Limits = _NO_LIMITS
    salt: bytes | None = None
    guarded: bool = False


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
    errors: tuple[tuple[int, int], ...] = ((500, 599),)
    guarded: bool = False  # a rollout of it can still fail
    replay_limit: int = 65_536  # bytes of a body that is kept to be sent again, or copied
    absent_beyond: bool = False  # whether a JSON field that is not within `inspect_limit` is taken for absent
    own_answer: OwnAnswer | None = None  # in place of a split
    cors: Cors | None = None
    fields_set: tuple[tuple[str, str], ...] = ()  # header fields of answers
    fields_removed: tuple[str, ...] = ()


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


def compile_snapshot(
    loaded: Loaded,
    ledgers: Mapping[str, Ledger],
    roles: Mapping[str, Mapping[str, Role]],
    down: Collection[tuple[str, str]],
    generation: int,
    trials: Mapping[str, Trial] = _NO_TRIALS,
    cookie_secret: str = "",
) -> Snapshot:
    """`cookie_secret`: of the state, used where the configuration has none. `ledgers`, `roles` and `trials` are by route name; `down` are (backend, endpoint) pairs, or one address of an endpoint."""
    config = loaded.config
    return Snapshot(
        generation=generation,
        backends={
            name: compile_backend(name, b, down, loaded.stamps.get(name, ""))
            for name, b in config.backends.items()
        },
        routes=tuple(
            _compile_route(
                r,
                _NO_LEDGER if r.answers_itself else ledgers[r.name],
                roles.get(r.name, {}),
                trials.get(r.name, Trial()),
            )
            for r in config.routes
        ),
        head_bytes=config.limits.head_bytes,
        head_count=config.limits.head_count,
        connections=config.limits.connections,
        head_timeout=config.limits.head_timeout,
        keep_alive=config.limits.keep_alive,
        held_bytes=config.limits.held_bytes,
        min_rate=config.limits.min_rate,
        min_rate_grace=config.limits.min_rate_grace,
        begins_traces=config.traceparent == "begin",
        cookie_secrets=config.cookie_secrets or (cookie_secret,) * bool(cookie_secret),
        trusted_proxies=config.trusted_proxies,
        trusted_headers=config.trusted_headers,
        access_log=_compile_access_log(config.access_log),
        override_secret=config.override.secret if config.override else "",
        merge_slashes=config.paths.merge_slashes,
        encoded_slashes=config.paths.encoded_slashes,
    )


def with_drained(snapshot: Snapshot, drained: Collection[tuple[str, str]]) -> Snapshot:
    """(backend, endpoint) pairs; they get no new requests."""
    backends = dict(snapshot.backends)
    for name in {name for name, _ in drained}:
        found = backends[name].endpoints
        endpoints = tuple(replace(e, weight=0) if (name, e.name) in drained else e for e in found)
        backends[name] = replace(backends[name], endpoints=endpoints)
    return replace(snapshot, backends=backends)


def compile_backend(
    name: str, backend: BackendConfig, down: Collection[tuple[str, str]], stamp: str
) -> Backend:
    eject = backend.eject
    return Backend(
        name=name,
        endpoints=tuple(
            Endpoint(
                e.host,
                e.port,
                e.authority,
                (name, e.name) not in down,
                e.url,
                e.tls,
                e.path,
                e.base,
                e.weight,
            )
            for e in backend.endpoints
        ),
        connect_timeout=backend.timeout.connect,
        first_byte_timeout=backend.timeout.first_byte,
        idle_timeout=backend.timeout.idle,
        total_timeout=backend.timeout.total,
        max_in_flight=backend.max_in_flight,
        tls=compile_tls(backend.tls, stamp),
        eject=None if eject is None else Eject(eject.after, eject.time, eject.max_share, eject.statuses),
        slow_start=backend.slow_start,
        resolve=backend.resolve,
        out=tuple(sorted(one for of, one in down if of == name and one != endpoint_of(one))),
        queue_max=0 if backend.queue is None else backend.queue.max,
        queue_timeout=0.0 if backend.queue is None else backend.queue.timeout,
        request=_compile_rewrite(backend.request),
    )


def _compile_rewrite(request: RequestConfig | None) -> Rewrite | None:
    if request is None:
        return None
    headers, path = request.headers, request.path
    regex = path.regex if path else None
    return Rewrite(
        host=request.host,
        prefix=path.prefix if path else None,
        replace=path.replace if path else None,
        regex=(regex.pattern, regex.substitution) if regex else None,
        set=tuple(headers.set.items()),
        add=tuple(headers.add.items()),
        remove=headers.remove,
        json=tuple(
            (path, msgspec.json.encode(value).decode()) for path, value in request.json_fields.items()
        ),
    )


def compile_tls(tls: BackendTlsConfig | None, stamp: str = "") -> Tls:
    return Tls() if tls is None else Tls(tls.ca, tls.cert, tls.key, tls.server_name, tls.verify, stamp)


def _compile_route(route: RouteConfig, ledger: Ledger, roles: Mapping[str, Role], trial: Trial) -> Route:
    match = route.match
    return Route(
        name=route.name,
        match=Match(
            path=match.path,
            prefix=match.prefix,
            regex=match.regex,
            methods=match.methods,
            headers=tuple(match.headers.items()),
            query=tuple(match.query.items()),
            json=tuple(match.json_fields.items()),
        ),
        sticky=tuple(Sticky(s.kind, s.name, compile_assigned(s.assign)) for s in route.sticky),
        ledger=ledger,
        roles=tuple(roles.get(name, "member") for name in ledger.backends),
        salt=trial.salt or salt_of(route.name),
        fallback=route.fallback,
        mirrors=_merged_mirrors((*(Mirror(m.to, m.sample, m.noise) for m in route.mirror), *trial.mirrors)),
        retry_attempts=route.retry.attempts,
        retry_budget=route.retry.budget,
        pure=route.retry.pure,
        body_limit=route.limits.body,
        inspect_limit=route.limits.inspect,
        replay_limit=route.limits.replay,
        absent_beyond=route.limits.beyond_inspect == "absent",
        cuts=trial.cuts,
        rate=_compile_rate(route.limits.rate),
        limits=trial.limits,
        upgrades=tuple(protocol.encode() for protocol in route.upgrades),
        prediction=_compile_prediction(route.prediction),
        errors=route.errors.ranges,
        guarded=trial.guarded,
        own_answer=_compile_own_answer(route),
        cors=None if route.cors is None else _compile_cors(route.cors, match.methods),
        fields_set=tuple(route.response.headers.set.items()),
        fields_removed=route.response.headers.remove,
    )


def _compile_own_answer(route: RouteConfig) -> OwnAnswer | None:
    redirect, respond = route.redirect, route.respond
    if redirect is not None:
        return OwnAnswer(
            redirect.status,
            scheme=redirect.scheme,
            host=redirect.host,
            path=redirect.path,
            prefix=redirect.prefix,
        )
    if respond is None:
        return None
    body = respond.body.encode()
    of_body = (("content-type", respond.content_type),) if body else ()
    fields = tuple(field for field in respond.headers.items() if not body or field[0] != "content-type")
    return OwnAnswer(respond.status, body, (*of_body, *fields))


def _compile_cors(cors: CorsConfig, methods: tuple[str, ...]) -> Cors:
    return Cors(
        cors.origins,
        cors.methods or methods or ("GET", "HEAD", "POST"),
        cors.headers,
        cors.expose,
        cors.credentials,
        None if cors.max_age is None else int(cors.max_age),
    )


def _compile_access_log(access_log: AccessLogConfig | None) -> AccessLog | None:
    if access_log is None:
        return None
    return AccessLog(access_log.to, access_log.sample, access_log.query)


def _compile_prediction(prediction: PredictionConfig | None) -> Prediction | None:
    """None if there is no path to read, or the protocol is not JSON."""
    if prediction is None or not prediction.is_read:
        return None
    score, label = (tuple(path.split(".")) if path else () for path in (prediction.score, prediction.label))
    segment = tuple(tuple(path.split(".")) for path in prediction.segment)
    return Prediction(score, label, prediction.decision if score else None, segment)


def _compile_rate(rate: RateConfig | None) -> Rate | None:
    if rate is None:
        return None
    return Rate(Sticky(rate.key.kind, rate.key.name), rate.per_second, rate.burst, rate.ipv6_prefix)


def _merged_mirrors(mirrors: Iterable[Mirror]) -> tuple[Mirror, ...]:
    """One mirror for each backend, with the larger shares, so that no backend gets two copies of a request."""
    out: dict[str, Mirror] = {}
    for mirror in mirrors:
        known = out.get(mirror.to, mirror)
        most = max(known.sample, mirror.sample), max(known.noise, mirror.noise)
        out[mirror.to] = Mirror(mirror.to, *most)
    return tuple(mirror for mirror in out.values() if mirror.sample)
