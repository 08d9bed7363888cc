"""Compiles the snapshot: what a worker serves from, out of what the control process knows.

Rule: everything that does not depend on the request is decided here, once for a snapshot. The input is the configuration, the
state of the rollouts (ledgers, roles and trials) and the prober's results (endpoints that are down).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.quality.keep import Keep
from crossfade.quality.prediction import Prediction, SegmentSource
from crossfade.routing.assigned import compile_assigned
from crossfade.routing.ledger import BUCKETS, Ledger, salt_of
from crossfade.routing.snapshot import (
    AccessLog,
    Backend,
    Cache,
    Cors,
    Cut,
    Eject,
    Endpoint,
    Limits,
    Log,
    Match,
    Mirror,
    OwnAnswer,
    Rate,
    Rewrite,
    Role,
    Route,
    Snapshot,
    Sticky,
    Tls,
    Tracing,
    endpoint_of,
)

if TYPE_CHECKING:  # workers must not import the config models, and pydantic with them
    from crossfade.config.cache import CacheConfig
    from crossfade.config.keep import KeepConfig
    from crossfade.config.load import Loaded
    from crossfade.config.model import (
        AccessLogConfig,
        BackendConfig,
        BackendTlsConfig,
        MatchConfig,
        MirrorConfig,
        PredictionConfig,
        RateConfig,
        RouteConfig,
    )
    from crossfade.config.own_answer import CorsConfig
    from crossfade.config.request import RequestConfig
    from crossfade.config.traces import TracesConfig

_NO_LEDGER = Ledger(("",), bytes(BUCKETS), 0)
_NO_LIMITS: Limits = {}
_NO_TRIALS: Mapping[str, Trial] = {}


class Trial(NamedTuple):
    """What a rollout adds to its route: mirrors to the challenger, cuts of its exchanges, latency limits.

    `salt`: of a route that was renamed and keeps the hash of its sticky keys. `steps`: of rollouts, by challenger. `guarded`: a FAIL still ends a rollout, so
    workers count what its tests need: seconds, keys and endpoints.
    """

    mirrors: tuple[Mirror, ...] = ()
    cuts: tuple[Cut, ...] = ()
    limits: Limits = _NO_LIMITS
    salt: bytes | None = None
    guarded: bool = False
    steps: tuple[tuple[str, int], ...] = ()


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
                config.backends,
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
        log=Log(config.log.format, config.log.level),
        tracing=None if config.traces is None else _compile_traces(config.traces),
        override_secret=config.override.secret if config.override else "",
        merge_slashes=config.paths.merge_slashes,
        encoded_slashes=config.paths.encoded_slashes,
    )


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


def _compile_match(match: MatchConfig) -> Match:
    return Match(
        path=match.path,
        prefix=match.prefix,
        regex=match.regex,
        methods=match.methods,
        headers=tuple(match.headers.items()),
        query=tuple(match.query.items()),
        json=tuple(match.json_fields.items()),
    )


def _compile_route(
    route: RouteConfig,
    ledger: Ledger,
    roles: Mapping[str, Role],
    trial: Trial,
    backends: Mapping[str, BackendConfig],
) -> Route:
    match = route.match
    return Route(
        name=route.name,
        match=_compile_match(match),
        sticky=tuple(Sticky(s.kind, s.name, compile_assigned(s.assign)) for s in route.sticky),
        ledger=ledger,
        roles=tuple(roles.get(name, "member") for name in ledger.backends),
        salt=trial.salt or salt_of(route.name),
        fallback=route.fallback,
        mirrors=_merged_mirrors(
            (*(_compile_mirror(m, route.name, backends) for m in route.mirror), *trial.mirrors)
        ),
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
        prediction=compile_prediction(route.prediction),
        drift=route.drift is not None,
        keep=_compile_keep(route.keep),
        errors=route.errors.ranges,
        guarded=trial.guarded,
        steps=trial.steps,
        own_answer=_compile_own_answer(route),
        cors=None if route.cors is None else _compile_cors(route.cors, match.methods),
        fields_set=tuple(route.response.headers.set.items()),
        fields_removed=route.response.headers.remove,
        logs=route.feedback is not None and not route.answers_itself,
        inputs=route.feedback is not None and route.feedback.inputs,
        cache=None if route.cache is None or route.answers_itself else _compile_cache(route.cache),
    )


def _compile_cache(cache: CacheConfig) -> Cache:
    return Cache(cache.ttl, cache.max, cache.by_body, cache.fields)


def _compile_traces(traces: TracesConfig) -> Tracing:
    return Tracing(traces.url, traces.sample, traces.service, tuple(traces.headers.items()))


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


def compile_prediction(prediction: PredictionConfig | None) -> Prediction | None:
    """None if nothing is to be read."""
    if prediction is None or not prediction.is_read:
        return None
    return Prediction(
        score=_path(prediction.score),
        label=_path(prediction.label),
        decision=prediction.decision,
        segment=tuple(SegmentSource(source.kind, source.name) for source in prediction.segment),
        protocol=prediction.protocol,
        ignore=tuple(_path(path) for path in prediction.ignore),
        redact=tuple(_path(path) for path in prediction.redact),
        sample=prediction.sample,
    )


def _compile_keep(keep: KeepConfig | None) -> Keep | None:
    return None if keep is None else Keep(keep.dir, keep.max, keep.rotate, keep.is_parquet)


def _path(written: str | None) -> tuple[str, ...]:
    return tuple(written.split(".")) if written else ()


def _compile_rate(rate: RateConfig | None) -> Rate | None:
    if rate is None:
        return None
    return Rate(Sticky(rate.key.kind, rate.key.name), rate.per_second, rate.burst, rate.ipv6_prefix)


def _compile_mirror(mirror: MirrorConfig, route: str, backends: Mapping[str, BackendConfig]) -> Mirror:
    made = Mirror(mirror.to, mirror.sample, mirror.noise, abandoned=mirror.abandoned)
    if not mirror.rewrites:
        return made
    request = _compile_rewrite(mirror.over(backends[mirror.to].request))
    return replace(made, request=request, target=f"{mirror.to} of {route}")


def _merged_mirrors(mirrors: Iterable[Mirror]) -> tuple[Mirror, ...]:
    """One mirror for each backend, with the larger shares, so that no backend gets two copies of a request."""
    out: dict[str, Mirror] = {}
    for mirror in mirrors:
        known = out.get(mirror.to, mirror)
        sample, noise = max(known.sample, mirror.sample), max(known.noise, mirror.noise)
        out[mirror.to] = replace(known, sample=sample, noise=noise)
    return tuple(mirror for mirror in out.values() if mirror.sample)
