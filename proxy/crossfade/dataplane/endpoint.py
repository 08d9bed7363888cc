"""Endpoints in one worker: addresses, pooled connections, load and health.

Rule: an endpoint and its connections outlive snapshots and DNS look-ups. An endpoint that is no longer
configured or resolved is retired: requests in flight finish, and no new request begins there. A name with
several addresses becomes one endpoint for each address. Each worker looks names up itself, so it follows
a model that changes its address even if the control plane is down. A failed look-up changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import ssl
from collections.abc import Callable
from time import monotonic

from msgspec.structs import replace

from crossfade import dial
from crossfade.dataplane.capacity import Capacity, Load
from crossfade.dataplane.upstream import Pool, Upstream
from crossfade.dial import Addresses
from crossfade.errors import Stage
from crossfade.log_lines import facts
from crossfade.routing.balance import pick, pick_by_weight
from crossfade.routing.health import ALWAYS, Health, share, should_eject
from crossfade.routing.json_fields import JsonFields, json_fields
from crossfade.routing.rewriting import rewriting_of
from crossfade.routing.snapshot import Backend, Endpoint, Tls, instance_name
from crossfade.shared_places import SharedPlaces

log = logging.getLogger("crossfade.dataplane")

IDLE_LIMIT = 4.0  # seconds; uvicorn closes idle connections after 5, and the proxy must close first
_LOCAL_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
_EJECTING_STAGES = frozenset(
    {Stage.CONNECT, Stage.TLS, Stage.RESET, Stage.FIRST_BYTE, Stage.PROTOCOL, Stage.BODY}
)  # failures that count towards an ejection; a stale connection is a race, not a failure

Key = tuple[Endpoint, Tls | None, str]
Ejected = Callable[[str, str], None]


def connect_failure(error: OSError) -> Stage:
    """The failure stage of a connect error. If the proxy is out of descriptors, memory or ports: OVERLOAD."""
    if isinstance(error, ssl.SSLError):
        return Stage.TLS
    return Stage.OVERLOAD if error.errno in _LOCAL_ERRNOS else Stage.CONNECT


class EndpointState(Pool):
    """One address: its idle connections (the newest last) and the number of requests in flight."""

    def __init__(
        self, backend: BackendState, spec: Endpoint, addresses: tuple[str, ...], began: float
    ) -> None:
        self.backend = backend
        self.spec = spec
        self.addresses = addresses  # its own first, then spare ones; empty for a unix socket
        self.authority = spec.authority.encode("ascii")
        self.label: str | None = None  # in counts by endpoint; None while the backend has no other endpoint
        self.in_flight = 0
        self.up = spec.up
        self.weight = spec.weight
        self.retired = False  # no longer configured: requests in flight finish, no new one begins
        self.idle: list[Upstream] = []
        self.health = Health(began)
        self.rewriting = None
        self.usual_head = None
        self.share = 1.0
        self.logged_error = ""
        self.resumption: dial.Resumption | None = None  # over TLS, from the first connection on
        self.expect_from = 0.0  # since when it may get Expect: 100-continue (see `expectation`)

    def take(self) -> Upstream | None:
        """The most recently used open connection, so that surplus ones reach the idle limit and are closed."""
        while self.idle:
            upstream = self.idle.pop()
            if not upstream.transport.is_closing():
                return upstream
        return None

    def put(self, upstream: Upstream) -> None:
        if self.retired or not self.weight:
            upstream.close()
            return
        upstream.idle_since = self.backend.now
        upstream.reused = True
        self.idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        if upstream.owner is None and upstream in self.idle:
            self.idle.remove(upstream)

    async def connect(self, timeout: float) -> Upstream:
        """Open a new connection. Raises OSError (includes TimeoutError)."""
        backend = self.backend
        try:
            async with asyncio.timeout(timeout):
                context = self.tls_context() if self.spec.tls else None
                upstream = await dial.connect(
                    lambda: Upstream(self), self.spec, self.addresses, backend.spec.tls, context
                )
            if upstream.transport.is_closing():  # the backend closed, or sent data, before any request
                raise ConnectionResetError("closed before the first request")
        except OSError as error:
            self.warn_once(error)
            raise
        self.logged_error = ""
        return upstream

    def tls_context(self) -> ssl.SSLContext:
        """Raises OSError if a file is missing or not valid."""
        shared = self.backend.tls_context()
        if self.resumption is None or self.resumption.shared is not shared:
            self.resumption = dial.resuming(shared)
        return self.resumption

    def keep_session(self, upstream: Upstream) -> None:
        used = upstream.transport.get_extra_info("ssl_object")
        if used is not None and self.resumption is not None:
            self.resumption.keep(used)

    def warn_once(self, error: OSError) -> None:
        """Log each reason once, until a connection succeeds."""
        said = str(error) or "no answer in time"
        if said != self.logged_error:
            self.logged_error = said
            log.warning("no connection to %s of %s: %s", self.spec.url, self.backend.spec.name, said)

    def retire(self) -> None:
        self.retired = True
        self.close_idle(float("inf"))

    def close_idle(self, before: float) -> None:
        """Close connections that are idle since before this time. The list begins with the oldest."""
        while self.idle and self.idle[0].idle_since < before:
            self.idle[0].close()

    # ── health ────────────────────────────────────────────────────────────────────────────────

    def failed(self, stage: Stage) -> None:
        """Count a failed request or a failed connection."""
        if stage in _EJECTING_STAGES:
            self.count_failure(stage)

    def answered(self, status: int) -> None:
        """Called for a 5xx at its head, and after failures for another complete answer."""
        eject = self.backend.spec.eject
        if eject is not None and status in eject.statuses:
            self.count_failure(str(status))
        else:
            self.health.failures = 0

    def count_failure(self, what: str) -> None:
        backend, health = self.backend, self.health
        eject = backend.spec.eject
        health.failures += 1
        if eject is None or self.retired:
            return
        peers = backend.in_service()
        if self in peers and should_eject(health, eject, [e.health for e in peers]):
            lasts = health.eject(eject, monotonic())
            name = backend.spec.name
            at = " ".join((self.spec.url, *self.addresses[:1]))
            known = facts("health", backend=name, endpoint=self.spec.url, up=False, ejected=True)
            said = at, name, lasts, what
            log.warning("endpoint %s of %s is ejected for %g s: last failure %s", *said, extra=known)
            backend.choose_available()
            backend.on_ejected(name, self.spec.url)


class BackendState(Load):
    """A backend in one worker. Create it inside a running event loop."""

    now = 0.0  # time of the last `tend`: slightly old, exact enough for idle times

    def __init__(
        self, spec: Backend, on_ejected: Ejected, places: SharedPlaces | None = None, kind: str = ""
    ) -> None:
        """`places`: that several workers share; None for a single one. `kind`: before the name, of a limit of its own."""
        super().__init__()
        self.endpoints: dict[Key, EndpointState] = {}
        self.retired: list[EndpointState] = []  # with requests in flight
        self.addresses: dict[str, Addresses] = {}  # by name, from the last successful look-up
        self.on_ejected = on_ejected
        self.context: ssl.SSLContext | None = None
        self.is_renewed = False  # `context` is of files that have changed since
        self.looking: asyncio.Task[None] | None = None
        self.look_at = 0.0
        self.unknown: set[str] = set()  # names whose last look-up failed
        self.spec = spec
        self.has_weights = False  # that differ
        self.capacity = Capacity(self, places or SharedPlaces(), kind + spec.name)
        self.use(spec)

    def use(self, spec: Backend) -> None:
        if spec.tls != self.spec.tls:
            self.is_renewed = True
            if replace(spec.tls, stamp="") != replace(self.spec.tls, stamp=""):
                self.context = None
        self.spec = spec
        self.name = spec.name.encode()
        request = spec.request
        self.json: JsonFields | None = None if request is None else json_fields(request.json)
        self.demands = request is not None and (self.json is not None or request.regex is not None)
        self.total_timeout = spec.total_timeout  # copied: each exchange reads the timeouts
        self.first_byte_timeout = spec.first_byte_timeout
        self.idle_timeout = spec.idle_timeout
        if any(endpoint.tls for endpoint in spec.endpoints):
            with contextlib.suppress(OSError):  # `connect` reports the error
                self.tls_context()
        self.arrange()
        self.tend(monotonic())
        self.capacity.use(spec)
        self.look()

    def tls_context(self) -> ssl.SSLContext:
        """Created once for each Tls. Raises OSError if a file is missing or not valid.

        Files that have changed again since the control process read them, and cannot be used, change nothing.
        """
        if self.context is None or self.is_renewed:
            try:
                self.context = dial.tls_context(self.spec.tls)
            except OSError as error:
                if self.context is None:
                    raise
                log.error("TLS of %s not renewed, the old one stays: %s", self.spec.name, error)
            self.is_renewed = False
        return self.context

    def arrange(self) -> None:
        """Create one endpoint for each address. Those added while others serve get a slow start."""
        now = monotonic()
        known = {key: state for key, state in self.endpoints.items() if not state.retired}
        late = now if known else ALWAYS
        self.endpoints = {}
        for spec in self.spec.endpoints:
            found = self.addresses.get(spec.host, Addresses((spec.host,)))
            what = (replace(spec, up=True, weight=1), self.spec.tls if spec.tls else None)
            unresolved = known.get((*what, spec.host))  # the endpoint used before the first look-up
            began = unresolved.health.began if unresolved else late
            for address in found.usual:
                key = (*what, address)
                state = known.pop(key, None) or EndpointState(self, spec, (address, *found.spare), began)
                label = spec.name if len(found.usual) == 1 else instance_name(spec.name, address)
                up = spec.up and label not in self.spec.out
                if (up and not state.up) or (spec.weight and not state.weight):
                    state.health.end_ejection(now)
                state.up, state.label, state.weight = up, label, spec.weight
                if not spec.weight:
                    state.close_idle(float("inf"))
                state.rewriting = rewriting_of(self.spec.request, spec, state.rewriting)
                self.endpoints[key] = state
        if not self.has_several:
            for state in self.endpoints.values():
                state.label = None
        for state in known.values():
            state.retire()
        self.retired = [state for state in (*self.retired, *known.values()) if state.in_flight]
        self.has_weights = len({state.weight for state in self.endpoints.values() if state.weight}) > 1
        self.refresh(now)

    @property
    def has_several(self) -> bool:
        return len(self.endpoints) > 1

    def refresh(self, now: float) -> None:
        """End ejections that are due, and increase the shares of a slow start."""
        for endpoint in self.endpoints.values():
            endpoint.health.end_ejection_if_due(now)
            endpoint.share = share(endpoint.health, self.spec.slow_start, now)
        self.choose_available()

    def in_flight_at(self) -> dict[str, int]:
        """By endpoint, of those that get no new requests."""
        out = {spec.name: 0 for spec in self.spec.endpoints if not spec.weight}
        if out:
            for state in (*self.endpoints.values(), *self.retired):
                name = state.spec.name
                if name in out:
                    out[name] += state.in_flight
        return out

    def in_service(self) -> list[EndpointState]:
        """The endpoints that pass their probes; all of them in a panic, when none does. None without a weight."""
        everyone = [e for e in self.endpoints.values() if e.weight]
        return [e for e in everyone if e.up] or everyone

    def choose_available(self) -> None:
        """Choose the endpoints in service that are not ejected. If all are ejected, ignore ejections.

        In a panic they are the last resort, for requests that no other backend can answer.
        """
        serving = self.in_service()
        chosen = [e for e in serving if e.health.until is None] or serving
        panic = not (serving and serving[0].up)
        self.available: list[EndpointState] = [] if panic else chosen
        self.last_resort: list[EndpointState] = chosen if panic else []

    def picked(self, draw: float) -> EndpointState:
        """One of those available, of which there is one at least."""
        return pick_by_weight(self.available, draw) if self.has_weights else pick(self.available, draw)

    def tend(self, now: float) -> None:
        """Called with each sweep of the clients: refresh, and start a name look-up if one is due."""
        self.now = now
        if self.has_several:
            self.refresh(now)
        if now >= self.look_at and (self.looking is None or self.looking.done()):
            names = sorted({e.host for e in self.spec.endpoints if dial.is_name(e.host)})
            if names:
                self.look_at = now + self.spec.resolve
                self.looking = asyncio.get_running_loop().create_task(self.look_up(names))

    async def look_up(self, names: list[str]) -> None:
        found = await asyncio.gather(*(dial.look_up(name) for name in names), return_exceptions=True)
        addresses = dict(self.addresses)
        for name, result in zip(names, found, strict=True):
            if isinstance(result, Addresses):
                addresses[name] = result
            else:
                self.warn_once(name, result)
        self.unknown = {
            name for name, result in zip(names, found, strict=True) if not isinstance(result, Addresses)
        }
        if addresses != self.addresses:
            self.addresses = addresses
            self.arrange()

    def look(self) -> None:
        """At each sweep, after each bell and with each snapshot: serve or refuse the requests that wait."""
        self.capacity.look()
        if self.capacity.queue and not self.available:
            for exchange in list(self.capacity.queue):
                exchange.on_backend_down()

    def warn_once(self, name: str, error: BaseException) -> None:
        """Log the first of consecutive failures for each name."""
        if name not in self.unknown:
            log.warning("name %s of %s cannot be looked up: %s", name, self.spec.name, error)

    def retire(self) -> None:
        self.stop_looking()
        for endpoint in self.endpoints.values():
            endpoint.retire()

    def stop_looking(self) -> None:
        if self.looking is not None:
            self.looking.cancel()

    def close_idle(self, before: float) -> None:
        for endpoint in self.endpoints.values():
            endpoint.close_idle(before)
