"""The data plane of one worker: its snapshot, its listening sockets, its sweep and its drain.

A new snapshot replaces the router in one assignment. Exchanges under way keep their route. Endpoints and
their connections outlive snapshots. A sweep checks the deadlines of exchanges 20 times a second. That is
cheaper than a timer for each request, and a deadline is late by at most one sweep.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from functools import partial
from time import time

from crossfade.coalescing import until_next
from crossfade.dataplane.access_log import AccessLogger
from crossfade.dataplane.cutting import schedule_cuts
from crossfade.dataplane.downstream import DRAIN_IDLE, Downstream
from crossfade.dataplane.endpoint import IDLE_LIMIT, BackendState
from crossfade.dataplane.mirror import MirrorCopy
from crossfade.dataplane.plane import Plane
from crossfade.dataplane.recorder import Recorder
from crossfade.dataplane.state import ExchangeState
from crossfade.dataplane.tracing import Tracer
from crossfade.dataplane.tunnel import Tunnel
from crossfade.dataplane.turn import TURN
from crossfade.dial import as_protocol
from crossfade.http1.forwarded import TrustedProxies
from crossfade.http1.lines import only_from_trusted
from crossfade.routing.caching import cache_of
from crossfade.routing.rate import RateTable
from crossfade.routing.router import Router
from crossfade.routing.snapshot import AccessLog, Snapshot
from crossfade.shared_places import SharedPlaces
from crossfade.stats.counts import Counts, Waiting

SWEEP = 0.05  # seconds between checks of the deadlines of exchanges
HANDSHAKE = 10.0  # seconds for a TLS handshake with a client
SHUTDOWN = 86400.0  # seconds to close a TLS connection; clients that read slowly have their own deadline
TLS_ACCEPTS = 4  # connections in a turn of the loop, which accepts one for a descriptor; handshakes in a row need 1/6 less CPU
BACKLOG = 4096  # connections waiting to be accepted
PARTING = 1.0  # seconds before the end of a drain in which both sides of a WebSocket may answer a Close
CLIENT_SWEEPS = 10  # every tenth sweep checks the deadlines of clients


class DataPlane(Plane):
    """Serves one snapshot at a time. Call `use` before the first connection is accepted."""

    def __init__(
        self,
        rates: RateTable | None = None,
        recorder: Recorder | None = None,
        places: SharedPlaces | None = None,
    ) -> None:
        """`rates`, `places`: what several workers share; None for a single worker."""
        super().__init__(rates, recorder or Recorder(), places)
        TURN.begin()
        if self.places.bell is not None:
            self.loop.add_reader(self.places.bell.fileno(), self.on_bell)
        self.listening: list[tuple[list[asyncio.Server], socket.socket, ssl.SSLContext | None]] = []
        self.new_client = as_protocol(partial(Downstream, self))
        self.handshakes_end = 0.0  # until when a drain waits for handshakes, of the loop's clock
        self.trust_known: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self.loop_lag = 0.0
        self.drain_end = float("inf")  # of the loop's clock
        self.sweeps = 0
        self.sweeper: asyncio.TimerHandle | None = None  # from the first snapshot on

    # ── snapshot and listening sockets ────────────────────────────────────────────────────────

    def use(self, snapshot: Snapshot) -> None:
        """Use this snapshot for all requests from the next one on."""
        router = Router(snapshot, time, os.urandom)
        for name, spec in snapshot.backends.items():
            known = self.backends.get(name) or self.leaving.pop(name, None)
            if known is None:
                known = BackendState(spec, self.note_ejection, self.places)
            else:
                known.use(spec)
            self.backends[name] = known
        for name in self.backends.keys() - snapshot.backends.keys():
            self.leaving[name] = gone = self.backends.pop(name)
            gone.retire()
        self.mirrors.use(snapshot)
        trust = snapshot.trusted_proxies, snapshot.trusted_headers
        if trust != self.trust_known:
            self.trust_known = trust
            self.trust(*trust)
        if snapshot.access_log != (self.access_log and self.access_log.spec):
            self.log_to(snapshot.access_log)
        self.use_caches(snapshot, router)
        self.snapshot = snapshot
        self.router = router
        self.head_bytes = snapshot.head_bytes  # these four are copied here because each request reads them
        self.head_count = snapshot.head_count
        self.keep_alive = snapshot.keep_alive
        self.trace(snapshot)
        schedule_cuts(self, snapshot)
        if self.sweeper is None:
            self.wait_for_sweep()

    def use_caches(self, snapshot: Snapshot, router: Router) -> None:
        """Exchanges under way keep the cache of their route: what they add to one that is replaced, nobody reads."""
        known, self.caches = self.caches, {}
        for route in router.routes:
            route.cache = cache_of(route.spec, snapshot.backends, known.get(route.name))
            if route.cache is not None:
                self.caches[route.name] = route.cache

    def trace(self, snapshot: Snapshot) -> None:
        share = None if snapshot.tracing is None else snapshot.tracing.sample
        is_off = share is None and not snapshot.begins_traces
        self.tracer = None if is_off else Tracer(share, snapshot.begins_traces)

    def trust(self, ranges: tuple[str, ...], headers: tuple[str, ...]) -> None:
        """Trust these proxies, and only them with these fields, on open connections from their next request on."""
        self.trusted = TrustedProxies(ranges)
        only_from_trusted({name.encode() for name in headers})

    def log_to(self, spec: AccessLog | None) -> None:
        if self.access_log is not None:
            self.recorder.dropped("access_log", self.access_log.close())
        self.access_log = None if spec is None else AccessLogger(spec)

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """With several descriptors of the socket over TLS: see TLS_ACCEPTS."""
        more = 0 if tls is None else TLS_ACCEPTS - 1
        servers = [
            await self.loop.create_server(
                self.new_client if tls is None else as_protocol(self.new_tls_client),
                sock=accepting,
                ssl=tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=HANDSHAKE if tls is not None else None,
                ssl_shutdown_timeout=SHUTDOWN if tls is not None else None,
            )
            for accepting in [sock, *(sock.dup() for _ in range(more))]
        ]
        self.listening.append((servers, sock, tls))

    def new_tls_client(self) -> Downstream:
        """Its handshake begins: it is none of `clients` before the end of it."""
        self.handshakes_end = self.loop.time() + DRAIN_IDLE
        return Downstream(self)

    # ── sweep ─────────────────────────────────────────────────────────────────────────────────

    def wait_for_sweep(self) -> None:
        now = self.loop.time()
        pause = until_next(now, SWEEP)
        self.sweeper = self.loop.call_later(pause, self.sweep, now + pause)

    def sweep(self, due: float) -> None:
        """Check all deadlines, and measure the event loop's lag: the delay of this call.

        Behind a lag the loop first reads what has arrived: an answer that came in time is not a timeout.
        """
        self.wait_for_sweep()
        self.loop_lag = max(0.0, self.loop.time() - due)
        self.read_clock()
        if (
            self.loop_lag > SWEEP
        ):  # a callback runs before the loop reads, the callback of a callback behind that
            self.loop.call_soon(self.loop.call_soon, self.check_deadlines)
        else:
            self.check_deadlines()

    def check_deadlines(self) -> None:
        now = self.now
        TURN.look(now)  # what was read in time is no timeout
        self.recorder.flush()
        works: list[ExchangeState | MirrorCopy | Tunnel] = [*self.active, *self.mirrors.copies, *self.tunnels]
        for work in works:
            if work.deadline <= now and not work.ended:
                work.on_deadline(now)
        if self.router.has_latency_limits:
            self.recorder.sweep(self.active, now)
        if self.access_log is not None:
            self.recorder.dropped("access_log", self.access_log.flush())
        self.look_at_places()
        self.sweeps += 1
        if self.sweeps % CLIENT_SWEEPS == 0:
            for client in [c for c in self.clients if c.deadline <= now]:
                client.on_deadline()
            self.mirrors.give_up(now)
            self.close_idle(now - IDLE_LIMIT)
            for backend in self.all_backends():
                backend.tend(now)
            self.forget_ended()

    def on_bell(self) -> None:
        """Another worker has given us a place, or wants some back."""
        self.places.silence()
        self.look_at_places()

    def look_at_places(self) -> None:
        for backend in [*self.all_backends(), *self.leaving.values()]:
            backend.look()

    def forget_ended(self) -> None:
        """Backends that are no longer configured, once nothing is in flight there, and no exchange may go there yet."""
        if self.leaving:
            named = {e.fallback for e in self.active} | {e.answering for e in self.active if e.awaits_body}
            self.leaving = {n: b for n, b in self.leaving.items() if b in named or not b.capacity.leave()}
        mirrors = self.mirrors
        mirrors.leaving = {name: m for name, m in mirrors.leaving.items() if not m.backend.capacity.leave()}

    def stop_sweeping(self) -> None:
        if self.sweeper is not None:
            self.sweeper.cancel()

    def close_idle(self, before: float) -> None:
        for backend in self.all_backends():
            backend.close_idle(before)

    def all_backends(self) -> list[BackendState]:
        return [*self.backends.values(), *(mirror.backend for mirror in self.mirrors.states.values())]

    # ── drain ─────────────────────────────────────────────────────────────────────────────────

    def stop_accepting(self) -> None:
        """Accept the connections in the backlog: the kernel resets them when the socket is closed.

        Idle clients get DRAIN_IDLE seconds to send a last request.
        """
        for _, sock, tls in self.listening:
            with contextlib.suppress(OSError):
                while True:
                    self.spawn(self.start_accepted(sock.accept()[0], tls))
        for client in self.clients:
            if client.is_idle() and not client.transport.is_closing():
                client.deadline = self.now + DRAIN_IDLE

    async def start_accepted(self, client: socket.socket, tls: ssl.SSLContext | None) -> None:
        with contextlib.suppress(OSError):
            await self.loop.connect_accepted_socket(
                self.new_client,
                client,
                ssl=tls,
                ssl_handshake_timeout=DRAIN_IDLE if tls is not None else None,
            )

    async def drain(self, timeout: float, inherited: bool = False) -> None:
        """Stop accepting, wait for requests under way, then close what is left after `timeout` seconds.

        `inherited`: a successor accepts from the same sockets, so nothing waits for this drain to end. Then idle
        clients keep their usual keep-alive time, because an early close could cross a request on its way.
        """
        self.draining, self.hurrying = True, not inherited
        if not inherited:
            self.stop_accepting()
        for servers, _, _ in self.listening:
            for server in servers:
                server.close()
        self.end_drain_within(timeout)
        await asyncio.sleep(0)
        while self.is_serving() and self.loop.time() < self.drain_end:
            if self.loop.time() >= self.drain_end - PARTING:
                self.part_tunnels()
            await asyncio.sleep(0.02)
        self.part_tunnels()
        self.refuse_waiting()
        for client in [c for c in self.clients if c.is_idle()]:
            client.close()
        await asyncio.sleep(0)
        await self.end_tunnels()
        for client in list(self.clients):
            client.abort()
        self.mirrors.end()
        for task in self.tasks:
            task.cancel()
        while self.clients or self.tunnels or self.tasks:
            await asyncio.sleep(0)
        self.close_idle(float("inf"))
        self.stop_sweeping()
        for backend in self.all_backends():
            backend.stop_looking()
        if self.access_log is not None:
            await self.access_log.closed()
        self.leave_places()
        await asyncio.sleep(0)

    def is_serving(self) -> bool:
        return bool(self.clients or self.tunnels or self.tasks) or self.loop.time() < self.handshakes_end

    def end_drain_within(self, seconds: float) -> None:
        """The earliest end counts."""
        self.drain_end = min(self.drain_end, self.loop.time() + seconds)

    def part_tunnels(self) -> None:
        for tunnel in list(self.tunnels):
            tunnel.part()

    async def end_tunnels(self) -> None:
        for tunnel in list(self.tunnels):
            tunnel.end_drain()
        while self.tunnels:
            await asyncio.sleep(0)

    def refuse_waiting(self) -> None:
        for exchange in [x for x in self.active if x.waiting_since]:
            exchange.give_up_waiting("drain")

    def leave_places(self) -> None:
        if self.places.bell is not None:
            self.loop.remove_reader(self.places.bell.fileno())
        self.places.close()

    # ── reports ───────────────────────────────────────────────────────────────────────────────

    def take(self) -> Counts:
        """All counts since the last call, and the requests that wait now."""
        counts = self.recorder.take()
        counts.waiting = self.waiting()
        return counts

    def waiting(self) -> Waiting:
        """Requests of guarded routes without a first byte from a backend, except those whose client still sends."""
        out: Waiting = {}
        for exchange in self.active:
            assigned = exchange.assigned
            if (
                assigned is None
                or not assigned.guarded
                or exchange.waiting_since
                or exchange.first_byte_at
                or not exchange.request_done
            ):
                continue
            route, backend, _, _, second = assigned.cell_of(exchange.started)
            seconds = out.setdefault(route, {}).setdefault(backend, {})
            seconds[second] = seconds.get(second, 0) + 1
        return out

    def in_flight(self) -> dict[str, int]:
        return {name: backend.in_flight for name, backend in self.backends.items()}

    def in_flight_at(self) -> dict[str, dict[str, int]]:
        """By backend and endpoint, of endpoints that get no new requests; with mirrored copies."""
        out: dict[str, dict[str, int]] = {}
        for backend in self.all_backends():
            found = backend.in_flight_at()
            if found:
                sums = out.setdefault(backend.spec.name, {})
                for endpoint, n in found.items():
                    sums[endpoint] = sums.get(endpoint, 0) + n
        return out
