"""Endpoints as one worker sees them: how they are reached, their pooled connections, load and health.

Rule: an endpoint and its connections outlive snapshots and look-ups. What is no longer meant is
retired: requests in flight end there, none begins. A name that several addresses answer to is as many
endpoints here; the workers look names up themselves, so that they follow a model that moves even when
the control plane is dead. A look-up that fails changes nothing.
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
from crossfade.dataplane.upstream import Pool, Upstream
from crossfade.dial import Addresses
from crossfade.errors import Stage
from crossfade.routing.health import ALWAYS, Health, share, should_eject
from crossfade.routing.snapshot import Backend, Endpoint, Tls

log = logging.getLogger("crossfade.dataplane")

IDLE_LIMIT = 4.0  # seconds; uvicorn closes idle connections after 5, and a closed one must not be met
OUR_OWN = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
FAILING = frozenset(
    {Stage.CONNECT, Stage.TLS, Stage.RESET, Stage.FIRST_BYTE, Stage.PROTOCOL, Stage.BODY}
)  # what counts towards an ejection; a stale connection is a race that nobody lost

Key = tuple[Endpoint, Tls | None, str]
Ejected = Callable[[str, str], None]


def connect_failure(error: OSError) -> Stage:
    """Whose fault it is that no connection came about: out of descriptors or ports, it is ours."""
    if isinstance(error, ssl.SSLError):
        return Stage.TLS
    return Stage.OVERLOAD if error.errno in OUR_OWN else Stage.CONNECT


class EndpointState(Pool):
    """One address: its idle connections, newest last, and how many requests it has now."""

    def __init__(
        self, backend: BackendState, spec: Endpoint, addresses: tuple[str, ...], began: float
    ) -> None:
        self.backend = backend
        self.spec = spec
        self.addresses = addresses  # its own, and spare ones; none for a unix socket
        self.authority = spec.authority.encode("ascii")
        self.in_flight = 0
        self.up = spec.up
        self.retired = False  # no longer meant; requests in flight end here, none begins
        self.idle: list[Upstream] = []
        self.health = Health(began)
        self.share = 1.0
        self.complaint = ""

    def take(self) -> Upstream | None:
        """The connection used last, so that surplus ones grow old and go; never one that has ended."""
        while self.idle:
            upstream = self.idle.pop()
            if not upstream.transport.is_closing():
                return upstream
        return None

    def put(self, upstream: Upstream) -> None:
        if self.retired:
            upstream.close()
            return
        upstream.idle_since = self.backend.now
        upstream.reused = True
        self.idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        if upstream.owner is None and upstream in self.idle:
            self.idle.remove(upstream)

    async def connect(self, timeout: float) -> Upstream:
        """A fresh connection. Raises OSError, TimeoutError among them."""
        backend = self.backend
        try:
            async with asyncio.timeout(timeout):
                context = backend.tls_context() if self.spec.tls else None
                upstream = await dial.connect(
                    lambda: Upstream(self), self.spec, self.addresses, backend.spec.tls, context
                )
            if upstream.transport.is_closing():  # it closed, or spoke, before it was asked
                raise ConnectionResetError("closed at once")
        except OSError as error:
            self.complain(error)
            raise
        self.complaint = ""
        return upstream

    def complain(self, error: OSError) -> None:
        """Once for each reason, until a connection comes about."""
        said = str(error) or "no answer in time"
        if said != self.complaint:
            self.complaint = said
            log.warning("no connection to %s of %s: %s", self.spec.url, self.backend.spec.name, said)

    def retire(self) -> None:
        self.retired = True
        self.close_idle(float("inf"))

    def close_idle(self, before: float) -> None:
        """Close connections idle since before this time; the oldest stand first."""
        while self.idle and self.idle[0].idle_since < before:
            self.idle[0].close()

    # ── health ────────────────────────────────────────────────────────────────────────────────

    def failed(self, stage: Stage) -> None:
        """A request failed here, or a connection to it."""
        if stage in FAILING:
            self.count_failure(stage)

    def answered(self, status: int) -> None:
        """Called for a 5xx at its head, and for another answer that is whole, after failures."""
        eject = self.backend.spec.eject
        if eject is not None and status in eject.statuses:
            self.count_failure(str(status))
        else:
            self.health.failures = 0

    def count_failure(self, what: str) -> None:
        backend, health = self.backend, self.health
        eject = backend.spec.eject
        health.failures += 1
        if eject is None or not self.up or self.retired:
            return
        if should_eject(health, eject, [e.health for e in backend.endpoints.values() if e.up]):
            lasts = health.eject(eject, monotonic())
            name = backend.spec.name
            at = " ".join((self.spec.url, *self.addresses[:1]))
            log.warning("%s of %s is passed over for %g s: %s, as before", at, name, lasts, what)
            backend.choose_available()
            backend.on_ejected(name, self.spec.url)


class BackendState:
    """A backend as one worker sees it. Make it inside a running loop."""

    now = 0.0  # when it was last tended: no later than the present, and good enough for how long one was idle

    def __init__(self, spec: Backend, on_ejected: Ejected) -> None:
        self.endpoints: dict[Key, EndpointState] = {}
        self.addresses: dict[str, Addresses] = {}  # of names, as they were last looked up
        self.in_flight = 0
        self.on_ejected = on_ejected
        self.context: ssl.SSLContext | None = None
        self.looking: asyncio.Task[None] | None = None
        self.look_at = 0.0
        self.unknown: set[str] = set()  # names that were not found the last time
        self.spec = spec
        self.use(spec)

    def use(self, spec: Backend) -> None:
        if spec.tls != self.spec.tls:
            self.context = None
        self.spec = spec
        self.name = spec.name.encode()
        self.max_in_flight = spec.max_in_flight  # at hand for each exchange, as the timeouts are
        self.total_timeout = spec.total_timeout
        self.first_byte_timeout = spec.first_byte_timeout
        self.idle_timeout = spec.idle_timeout
        if any(endpoint.tls for endpoint in spec.endpoints):
            with contextlib.suppress(OSError):  # whoever connects hears of it
                self.tls_context()
        self.arrange()
        self.tend(monotonic())

    def tls_context(self) -> ssl.SSLContext:
        """Made once for each Tls. Raises OSError when a file is gone bad."""
        if self.context is None:
            self.context = dial.tls_context(self.spec.tls)
        return self.context

    def arrange(self) -> None:
        """One endpoint for each address; those that come while others serve begin slowly."""
        now, known = monotonic(), self.endpoints
        late = now if known else ALWAYS
        self.endpoints = {}
        for spec in self.spec.endpoints:
            found = self.addresses.get(spec.host, Addresses((spec.host,)))
            what = (replace(spec, up=True), self.spec.tls if spec.tls else None)
            unresolved = known.get((*what, spec.host))  # until its name was first looked up
            began = unresolved.health.began if unresolved else late
            for address in found.usual:
                key = (*what, address)
                state = known.pop(key, None) or EndpointState(self, spec, (address, *found.spare), began)
                if spec.up and not state.up:
                    state.health.end_ejection(now)
                state.up = spec.up
                self.endpoints[key] = state
        for state in known.values():
            state.retire()
        self.refresh(now)

    def refresh(self, now: float) -> None:
        """What time changes: ejections end, shares grow."""
        for endpoint in self.endpoints.values():
            endpoint.health.end_ejection_if_due(now)
            endpoint.share = share(endpoint.health, self.spec.slow_start, now)
        self.choose_available()

    def choose_available(self) -> None:
        """Those to pick from: passing their probes and not ejected. If all of those are, better they than none."""
        up = [e for e in self.endpoints.values() if e.up]
        self.available = [e for e in up if e.health.until is None] or up

    def tend(self, now: float) -> None:
        """Called now and then."""
        self.now = now
        if len(self.endpoints) > 1:
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
                self.complain(name, result)
        self.unknown = {
            name for name, result in zip(names, found, strict=True) if not isinstance(result, Addresses)
        }
        if addresses != self.addresses:
            self.addresses = addresses
            self.arrange()

    def complain(self, name: str, error: BaseException) -> None:
        """Once in a row for each name."""
        if name not in self.unknown:
            log.warning("%s of %s cannot be looked up: %s", name, self.spec.name, error)

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
