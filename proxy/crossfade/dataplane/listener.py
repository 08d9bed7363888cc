"""The data plane of one worker: what it serves from, whom it serves, and its sense of time.

A new snapshot replaces the router in one assignment; exchanges under way keep the route they read.
Endpoints and their connections outlive snapshots. Deadlines are swept a few times a second: cheaper
than a timer for each request, and late by no more than one sweep.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from functools import partial
from time import monotonic, time

from crossfade.dataplane.access_log import AccessLogger
from crossfade.dataplane.cutting import schedule_cuts
from crossfade.dataplane.downstream import DRAIN_IDLE, Downstream
from crossfade.dataplane.endpoint import IDLE_LIMIT, BackendState
from crossfade.dataplane.mirror import MirrorCopy
from crossfade.dataplane.plane import Plane
from crossfade.dataplane.recorder import Recorder
from crossfade.dataplane.state import ExchangeState
from crossfade.dataplane.tunnel import Tunnel
from crossfade.dial import as_protocol
from crossfade.http1.forwarded import TrustedProxies
from crossfade.routing.rate import RateTable
from crossfade.routing.router import Router
from crossfade.routing.snapshot import AccessLog, Snapshot

SWEEP = 0.05  # seconds between looks at the deadlines of exchanges
HANDSHAKE = 10.0  # seconds for a client's part in a TLS handshake
BACKLOG = 4096  # connections that may wait to be accepted
CLIENT_SWEEPS = 10  # clients' deadlines are looked at in each tenth sweep


class DataPlane(Plane):
    """Serves one snapshot at a time. Call `use` before the first connection comes."""

    def __init__(self, rates: RateTable | None = None, recorder: Recorder | None = None) -> None:
        """`rates`: the table that the workers share, if there are several."""
        super().__init__(rates, recorder or Recorder())
        self.listening: list[tuple[asyncio.Server, socket.socket, ssl.SSLContext | None]] = []
        self.newcomer = as_protocol(partial(Downstream, self))
        self.trusted_ranges: tuple[str, ...] = ()
        self.loop_lag = 0.0
        self.sweeps = 0
        self.sweeper = self.loop.call_later(SWEEP, self.sweep, self.loop.time() + SWEEP)

    # ── what it serves from ───────────────────────────────────────────────────────────────────

    def use(self, snapshot: Snapshot) -> None:
        """Serve from this snapshot: from the next request on, and not half before."""
        router = Router(snapshot, time)
        for name, spec in snapshot.backends.items():
            known = self.backends.get(name)
            if known is None:
                self.backends[name] = BackendState(spec, self.note_ejection)
            else:
                known.use(spec)
        for name in self.backends.keys() - snapshot.backends.keys():
            self.backends.pop(name).retire()
        self.mirrors.use(snapshot.backends)
        if snapshot.trusted_proxies != self.trusted_ranges:
            self.trust(snapshot.trusted_proxies)
        if snapshot.access_log != (self.access_log and self.access_log.spec):
            self.log_to(snapshot.access_log)
        self.snapshot = snapshot
        self.router = router
        self.head_bytes = snapshot.head_bytes  # at hand for each request, as these two are
        self.head_count = snapshot.head_count
        self.keep_alive = snapshot.keep_alive
        schedule_cuts(self, snapshot)

    def trust(self, ranges: tuple[str, ...]) -> None:
        """Take the word of these proxies, on the connections that are open as well: from their next request on."""
        self.trusted_ranges = ranges
        self.trusted = TrustedProxies(ranges) if ranges else None

    def log_to(self, spec: AccessLog | None) -> None:
        if self.access_log is not None:
            self.recorder.dropped("access_log", self.access_log.close())
        self.access_log = None if spec is None else AccessLogger(spec)

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        patience = HANDSHAKE if tls is not None else None
        server = await self.loop.create_server(
            self.newcomer, sock=sock, ssl=tls, backlog=BACKLOG, ssl_handshake_timeout=patience
        )
        self.listening.append((server, sock, tls))

    # ── time ──────────────────────────────────────────────────────────────────────────────────

    def sweep(self, due: float) -> None:
        """Look at all deadlines; how late this call comes is the loop's lag."""
        self.sweeper = self.loop.call_later(SWEEP, self.sweep, self.loop.time() + SWEEP)
        self.loop_lag = max(0.0, self.loop.time() - due)
        self.now = now = monotonic()
        self.recorder.flush()
        works: list[ExchangeState | MirrorCopy | Tunnel] = [*self.active, *self.mirrors.copies, *self.tunnels]
        for work in works:
            if work.deadline <= now and not work.ended:
                work.on_deadline(now)
        if self.router.has_latency_limits:
            self.recorder.sweep(self.active, now)
        if self.access_log is not None:
            self.recorder.dropped("access_log", self.access_log.flush())
        self.sweeps += 1
        if self.sweeps % CLIENT_SWEEPS == 0:
            for client in [c for c in self.clients if c.deadline <= now]:
                client.on_deadline()
            self.mirrors.give_up(now)
            self.close_idle(now - IDLE_LIMIT)
            for backend in self.all_backends():
                backend.tend(now)

    def close_idle(self, before: float) -> None:
        for backend in self.all_backends():
            backend.close_idle(before)

    def all_backends(self) -> list[BackendState]:
        return [*self.backends.values(), *(mirror.backend for mirror in self.mirrors.states.values())]

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def stop_accepting(self) -> None:
        """Take in who is waiting at the door, then shut it: the kernel resets whom nobody has accepted."""
        for _, sock, tls in self.listening:
            with contextlib.suppress(OSError):
                while True:
                    self.spawn(self.welcome(sock.accept()[0], tls))
        for client in self.clients:
            if client.is_idle() and not client.transport.is_closing():
                client.deadline = self.now + DRAIN_IDLE

    async def welcome(self, client: socket.socket, tls: ssl.SSLContext | None) -> None:
        with contextlib.suppress(OSError):
            await self.loop.connect_accepted_socket(self.newcomer, client, ssl=tls)

    async def drain(self, timeout: float, inherited: bool = False) -> None:
        """Stop accepting, let requests under way end, then close what is left after `timeout` seconds.

        `inherited`: a successor accepts from the same sockets. Then nobody waits for this end to come,
        and idle clients are left to send a last request rather than met by a close on its way.
        """
        self.draining, self.hurrying = True, not inherited
        if not inherited:
            self.stop_accepting()
        for server, _, _ in self.listening:
            server.close()
        end = self.loop.time() + timeout
        await asyncio.sleep(0)
        while (self.clients or self.tunnels or self.tasks) and self.loop.time() < end:
            await asyncio.sleep(0.02)
        for client in [c for c in self.clients if c.is_idle()]:
            client.close()
        await asyncio.sleep(0)
        for client in list(self.clients):
            client.abort()
        for tunnel in list(self.tunnels):
            tunnel.cut()  # of some the client is gone, and the backend does not read on
        self.mirrors.end()
        for task in self.tasks:
            task.cancel()
        while self.clients or self.tunnels or self.tasks:
            await asyncio.sleep(0)
        self.close_idle(float("inf"))
        self.sweeper.cancel()
        for backend in self.all_backends():
            backend.stop_looking()
        if self.access_log is not None:
            await self.access_log.closed()
        await asyncio.sleep(0)

    def in_flight(self) -> dict[str, int]:
        return {name: backend.in_flight for name, backend in self.backends.items()}
