"""The prober: asks each endpoint whether it is well, and says when the answer changes.

Rule: an endpoint counts as up until `unhealthy_after` probes in a row have failed, and as down from
then until `healthy_after` have succeeded; one success will do if it was never well before, as with a
model that starts later than the proxy (Envoy does so too). One success makes it `seen`, which is what a
challenger needs before its first traffic. A new configuration forgets nothing of the endpoints that stay.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from crossfade import dial
from crossfade.config.load import Loaded
from crossfade.config.model import HealthConfig
from crossfade.control.keyed_tasks import KeyedTasks
from crossfade.dial import Addresses
from crossfade.errors import ResponseRefused
from crossfade.http1.head import parse_response
from crossfade.routing.snapshot import Endpoint, Tls, compile_backend

log = logging.getLogger("crossfade.prober")

JITTER = 0.1  # of the interval, so that probes of many endpoints do not march in step
HEAD_LIMIT = 64 * 1024
REQUEST = b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: crossfade\r\nConnection: close\r\n\r\n"

Names = frozenset[tuple[str, str]]
Changed = Callable[[Names, float, Names], None]


class Target(NamedTuple):
    """One endpoint of one backend, and how it is probed."""

    backend: str
    endpoint: str
    at: Endpoint
    tls: Tls
    health: HealthConfig
    resolve: float

    @property
    def name(self) -> tuple[str, str]:
        return self.backend, self.endpoint


class Probe(asyncio.Protocol):
    """One connection; `status` is that of its answer, or 0."""

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
            if not 100 <= status < 200:  # those only come before the answer
                self.status.set_result(status)
        if len(self.received) > HEAD_LIMIT:
            self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.status.done():
            self.status.set_result(0)


class Condition:
    """What the probes of one endpoint have shown."""

    def __init__(self) -> None:
        self.up = True
        self.seen = False
        self.fault = ""  # what was wrong at the last probe
        self.row = 0  # successes in a row, or failures as a negative number

    def note(self, well: bool, health: HealthConfig) -> None:
        if well:
            self.row = max(self.row, 0) + 1
            self.up = self.up or not self.seen or self.row >= health.healthy_after
            self.seen = True
        else:
            self.row = min(self.row, 0) - 1
            self.up = self.up and -self.row < health.unhealthy_after


class Prober:
    """Make it inside a running loop. `changed(down, now, seen)` is told at each change, and only then."""

    def __init__(self, changed: Changed) -> None:
        self.changed = changed
        self.contexts: dict[Tls, ssl.SSLContext] = {}
        self.addresses: dict[str, tuple[float, Addresses]] = {}  # of names, and when they were looked up
        self.conditions: dict[tuple[str, str], Condition] = {}
        self.attending: KeyedTasks[Target] = KeyedTasks()
        self.told: tuple[Names, Names] = (frozenset(), frozenset())

    def configure(self, loaded: Loaded) -> None:
        """Probe what this configuration says, from now on."""
        wanted = {target for name in loaded.config.backends for target in targets(name, loaded)}
        self.contexts = {}
        for target in self.attending.tasks.keys() - wanted:
            self.attending.end(target)
        names = {target.name for target in wanted}
        self.conditions = {n: c for n, c in self.conditions.items() if n in names}
        for target in wanted - self.attending.tasks.keys():
            self.conditions.setdefault(target.name, Condition())
            self.attending.begin(target, self.attend(target))
        self.tell()

    async def close(self) -> None:
        await self.attending.close()

    async def attend(self, target: Target) -> None:
        """Probe one endpoint for ever."""
        while True:
            began = time.monotonic()
            fault = await self.probe(target)
            condition = self.conditions[target.name]
            condition.note(not fault, target.health)
            condition.fault = fault
            self.tell()
            pause = target.health.interval * random.uniform(1 - JITTER, 1 + JITTER)
            await asyncio.sleep(max(began + pause - time.monotonic(), 0))

    async def probe(self, target: Target) -> str:
        """What is wrong; nothing if any address is well: the workers pass over those of a name that are not."""
        try:
            async with asyncio.timeout(target.health.timeout):
                found = await self.find(target)
        except OSError as error:
            return said(error)
        asked = (self.ask(target, (address, *found.spare)) for address in found.usual)
        faults = await asyncio.gather(*asked)
        return "" if "" in faults else faults[0]

    async def find(self, target: Target) -> Addresses:
        """Of its name, not looked up more often than the workers do. The last ones if that fails."""
        host = target.at.host
        if not dial.is_name(host):
            return Addresses((host,))
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

    async def ask(self, target: Target, addresses: Sequence[str]) -> str:
        """What is wrong; nothing after a GET answered with 2xx or, without a path, an accepted connection."""
        probe: Probe | None = None
        try:
            async with asyncio.timeout(target.health.timeout):
                context = self.context(target.tls) if target.at.tls else None
                probe = await dial.connect(Probe, target.at, addresses, target.tls, context)
                if target.health.path is None:
                    return ""
                probe.transport.write(REQUEST % (target.health.path.encode(), target.at.authority.encode()))
                status = await probe.status
                return "" if 200 <= status < 300 else f"answered {status}" if status else "no HTTP answer"
        except OSError as error:
            return said(error)
        finally:
            if probe is not None:
                probe.transport.abort()

    def context(self, tls: Tls) -> ssl.SSLContext:
        """Raises OSError when a file is gone bad."""
        if tls not in self.contexts:
            self.contexts[tls] = dial.tls_context(tls)
        return self.contexts[tls]

    def tell(self) -> None:
        """What has changed since the last time, if anything has."""
        down = frozenset(n for n, c in self.conditions.items() if not c.up)
        seen = frozenset(n for n, c in self.conditions.items() if c.seen)
        if (down, seen) == self.told:
            return
        for backend, endpoint in sorted(down ^ self.told[0]):
            condition = self.conditions.get((backend, endpoint))
            state = f"down: {condition.fault}" if condition and (backend, endpoint) in down else "up"
            log.info("%s of %s is %s", endpoint, backend, state)
        try:
            self.changed(down, time.time(), seen)
        except Exception:
            log.exception("the change of endpoints was not applied; the next probe repeats it")
        else:
            self.told = (down, seen)


def said(error: OSError) -> str:
    return str(error) or "no answer in time"


def targets(name: str, loaded: Loaded) -> list[Target]:
    """What is probed of a backend."""
    config = loaded.config.backends[name]
    if config.health is None:
        return []
    spec = compile_backend(name, config, (), 1, loaded.stamps.get(name, ""))
    return [
        Target(name, written.name, at, spec.tls, config.health, config.resolve)
        for written, at in zip(config.endpoints, spec.endpoints, strict=True)
    ]
