"""The prober: probes each endpoint, and reports which are down when that changes.

Rule: an endpoint is up until `unhealthy_after` probes in a row have failed, then down until `healthy_after`
have succeeded. One success is enough if no probe has succeeded before, as with a model that starts after the
proxy (Envoy does the same). A challenger needs one success (`seen_up`) before its first traffic. A new
configuration keeps the probe results of endpoints that stay. A probe that the proxy itself has no descriptors or no
memory for says nothing about the endpoint.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import ssl
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from crossfade import dial
from crossfade.certificate import end_of
from crossfade.config.load import Loaded
from crossfade.config.model import HealthConfig
from crossfade.control.keyed_tasks import KeyedTasks
from crossfade.dial import Addresses
from crossfade.errors import ResponseRefused
from crossfade.http1.response_head import parse_response
from crossfade.log_lines import facts
from crossfade.routing.compiling import compile_backend
from crossfade.routing.rewriting import Rewriting
from crossfade.routing.snapshot import Endpoint, Rewrite, Tls

log = logging.getLogger("crossfade.prober")

JITTER = 0.1  # of the interval, so that probes of many endpoints spread
HEAD_LIMIT = 64 * 1024
OWN_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
REQUEST = b"GET %b HTTP/1.1\r\nHost: %b\r\n%bUser-Agent: crossfade\r\nConnection: close\r\n\r\n"

Names = frozenset[tuple[str, str]]
Changed = Callable[[Names, float, Names], None]


class Target(NamedTuple):
    """How one endpoint of one backend is probed."""

    backend: str
    endpoint: str
    at: Endpoint
    tls: Tls
    health: HealthConfig
    resolve: float
    request: Rewrite | None = None

    @property
    def name(self) -> tuple[str, str]:
        return self.backend, self.endpoint


class Probe(asyncio.Protocol):
    """One connection; `status`: of its response, or 0."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while not self.status.done() and b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            try:
                status = parse_response(head + b"\r\n\r\n", b"GET").status
            except ResponseRefused:
                status = 0
            if not 100 <= status < 200:  # an interim response
                self.status.set_result(status)
        if len(self.received) > HEAD_LIMIT:
            self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.status.done():
            self.status.set_result(0)


class ProbeHistory:
    """What the probes of one endpoint have shown."""

    def __init__(self) -> None:
        self.up = True
        self.seen_up = False
        self.fault = ""  # of the last probe; "" if it succeeded
        self.streak = 0  # successes in a row, or failures as a negative number

    def add(self, succeeded: bool, health: HealthConfig) -> bool:
        """Whether it is up now and was not, or the reverse, or was up for the first time."""
        before = self.up, self.seen_up
        if succeeded:
            self.streak = max(self.streak, 0) + 1
            self.up = self.up or not self.seen_up or self.streak >= health.healthy_after
            self.seen_up = True
        else:
            self.streak = min(self.streak, 0) - 1
            self.up = self.up and -self.streak < health.unhealthy_after
        return before != (self.up, self.seen_up)


class Prober:
    """Make it in a running loop. `changed(down, now, seen_up)` is called at each change.

    `certificate_ends`: by backend and endpoint, when the certificate ends that it showed; seconds since 1970.
    """

    def __init__(self, changed: Changed, certificate_ends: dict[tuple[str, str], float]) -> None:
        self.changed = changed
        self.contexts: dict[Tls, ssl.SSLContext] = {}
        self.addresses: dict[str, tuple[float, Addresses]] = {}  # by name, with the time of the look-up
        self.histories: dict[tuple[str, str], ProbeHistory] = {}
        self.probing: KeyedTasks[Target] = KeyedTasks()
        self.reported: tuple[Names, Names] = (frozenset(), frozenset())
        self.owed = False  # a report failed
        self.own_fault = ""  # why the proxy could not make its last probe
        self.certificate_ends = certificate_ends

    def configure(self, loaded: Loaded) -> None:
        """Probe the endpoints of this configuration from now on."""
        wanted = {target for name in loaded.config.backends for target in _targets(name, loaded)}
        self.contexts = {}
        for target in self.probing.tasks.keys() - wanted:
            self.probing.end(target)
        names = {target.name for target in wanted}
        self.histories = {n: c for n, c in self.histories.items() if n in names}
        for name in self.certificate_ends.keys() - {target.name for target in wanted if target.at.tls}:
            del self.certificate_ends[name]
        for target in wanted - self.probing.tasks.keys():
            self.histories.setdefault(target.name, ProbeHistory())
            self.probing.begin(target, self._probe_forever(target))
        self._report()

    async def close(self) -> None:
        await self.probing.close()

    async def _probe_forever(self, target: Target) -> None:
        while True:
            began = time.monotonic()
            try:
                fault = await self._probe(target)
            except OSError as error:
                self._report_own_fault(str(error))
            else:
                self._report_own_fault("")
                history = self.histories[target.name]
                differs = history.add(not fault, target.health)
                history.fault = fault
                if differs or self.owed:
                    self._report()
            pause = target.health.interval * random.uniform(1 - JITTER, 1 + JITTER)
            await asyncio.sleep(max(began + pause - time.monotonic(), 0))

    async def _probe(self, target: Target) -> str:
        """The fault; "" if any address succeeds: workers pass over the addresses of a name that fail.

        Raises OSError where the proxy could not probe.
        """
        if not dial.is_name(target.at.host):
            return await self._try(target, (target.at.host,))
        try:
            async with asyncio.timeout(target.health.timeout):
                found = await self._addresses(target)
        except OSError as error:
            return _fault_of(error)
        attempts = (self._try(target, (address, *found.spare)) for address in found.usual)
        faults = await asyncio.gather(*attempts)
        return "" if "" in faults else faults[0]

    async def _addresses(self, target: Target) -> Addresses:
        """Of the endpoint's name, looked up as often as the workers do. If a look-up fails, the last addresses."""
        host = target.at.host
        at, found = self.addresses.get(host, (float("-inf"), None))
        if found is not None and time.monotonic() - at < target.resolve:
            return found
        try:
            found = await dial.look_up(host)
        except OSError:
            if found is None:
                raise
        self.addresses[host] = (time.monotonic(), found)
        return found

    async def _try(self, target: Target, addresses: Sequence[str]) -> str:
        """The fault; "" after a GET answered with 2xx or, without a path, an accepted connection."""
        probe: Probe | None = None
        try:
            async with asyncio.timeout(target.health.timeout):
                context = self._context(target.tls) if target.at.tls else None
                probe = await dial.connect(Probe, target.at, addresses, target.tls, context)
                self._note_certificate(target, probe)
                if target.health.path is None:
                    return ""
                probe.transport.write(_request_of(target, target.health.path))
                status = await probe.status
                return "" if 200 <= status < 300 else f"answered {status}" if status else "no HTTP answer"
        except OSError as error:
            return _fault_of(error)
        finally:
            if probe is not None:
                probe.transport.abort()

    def _note_certificate(self, target: Target, probe: Probe) -> None:
        shown = probe.transport.get_extra_info("ssl_object")
        if shown is not None and (end := end_of(shown.getpeercert(True) or b"")) is not None:
            self.certificate_ends[target.name] = end

    def _context(self, tls: Tls) -> ssl.SSLContext:
        """Raises OSError when a file cannot be used."""
        if tls not in self.contexts:
            self.contexts[tls] = dial.tls_context(tls)
        return self.contexts[tls]

    def _report_own_fault(self, fault: str) -> None:
        if fault and not self.own_fault:
            log.warning("endpoints cannot be probed, and stay as they were: %s", fault)
        self.own_fault = fault

    def _report(self) -> None:
        """Call `changed` if the endpoints that are down or were seen up have changed."""
        down = frozenset(n for n, c in self.histories.items() if not c.up)
        seen_up = frozenset(n for n, c in self.histories.items() if c.seen_up)
        if (down, seen_up) == self.reported and not self.owed:
            return
        for backend, endpoint in sorted(down ^ self.reported[0]):
            history = self.histories.get((backend, endpoint))
            state = f"down: {history.fault}" if history and (backend, endpoint) in down else "up"
            known = facts("health", backend=backend, endpoint=endpoint, up=state == "up")
            log.info("%s of %s is %s", endpoint, backend, state, extra=known)
        try:
            self.changed(down, time.time(), seen_up)
        except Exception:
            log.exception("change of endpoints not applied; the next probe repeats it")
            self.owed = True
        else:
            self.reported, self.owed = (down, seen_up), False


def _fault_of(error: OSError) -> str:
    """What the endpoint lacks. Raises the error again if the proxy lacks something."""
    if error.errno in OWN_LIMITS:
        raise error
    return str(error) or "no answer in time"


def _request_of(target: Target, path: str) -> bytes:
    """With the fields and the Host that the backend's requests get; the path is as it is written."""
    rewriting = Rewriting(target.request or Rewrite(), target.at)
    host = rewriting.host or target.at.authority.encode()
    return REQUEST % (path.encode(), host, rewriting.fields_added)


def _targets(name: str, loaded: Loaded) -> list[Target]:
    config = loaded.config.backends[name]
    if config.health is None:
        return []
    spec = compile_backend(name, config, (), loaded.stamps.get(name, ""))
    return [
        Target(name, written.name, at, spec.tls, config.health, config.resolve, spec.request)
        for written, at in zip(config.endpoints, spec.endpoints, strict=True)
    ]
