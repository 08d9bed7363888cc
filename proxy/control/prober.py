"""The prober: asks each endpoint whether it is well, and says when the answer changes.

Rule: an endpoint counts as up until `unhealthy_after` probes in a row have failed, and as down from
then until `healthy_after` have succeeded. One success makes it `seen`, which is what a challenger needs
before its first traffic. A new configuration forgets nothing of the endpoints that stay.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiohttp

from proxy.config.model import Config, EndpointConfig, HealthConfig

log = logging.getLogger("crossfade.prober")

JITTER = 0.1  # of the interval, so that probes of many endpoints do not march in step

Names = frozenset[tuple[str, str]]
Changed = Callable[[Names, float, Names], Awaitable[None]]


class Target(NamedTuple):
    """One endpoint of one backend, and how it is probed."""

    backend: str
    endpoint: EndpointConfig
    health: HealthConfig

    @property
    def name(self) -> tuple[str, str]:
        return self.backend, self.endpoint.authority


class Condition:
    """What the probes of one endpoint have shown."""

    def __init__(self) -> None:
        self.up = True
        self.seen = False
        self.row = 0  # successes in a row, or failures as a negative number

    def note(self, well: bool, health: HealthConfig) -> None:
        if well:
            self.row = max(self.row, 0) + 1
            self.seen = True
            self.up = self.up or self.row >= health.healthy_after
        else:
            self.row = min(self.row, 0) - 1
            self.up = self.up and -self.row < health.unhealthy_after


class Prober:
    """Make it inside a running loop. `changed(down, now, seen)` is told at each change, and only then."""

    def __init__(self, changed: Changed) -> None:
        self.changed = changed
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))
        self.conditions: dict[tuple[str, str], Condition] = {}
        self.tasks: dict[Target, asyncio.Task[None]] = {}
        self.ending: set[asyncio.Task[None]] = set()
        self.told: tuple[Names, Names] | None = (frozenset(), frozenset())

    def configure(self, config: Config) -> None:
        """Probe what this configuration says, from now on."""
        wanted = {
            Target(name, endpoint, backend.health)
            for name, backend in config.backends.items()
            if backend.health is not None
            for endpoint in backend.endpoints
        }
        for target in self.tasks.keys() - wanted:
            self.end(self.tasks.pop(target))
        names = {target.name for target in wanted}
        self.conditions = {n: c for n, c in self.conditions.items() if n in names}
        for target in wanted - self.tasks.keys():
            self.conditions.setdefault(target.name, Condition())
            self.tasks[target] = asyncio.get_running_loop().create_task(self.attend(target))
        farewell = asyncio.get_running_loop().create_task(self.tell())
        self.ending.add(farewell)
        farewell.add_done_callback(self.ending.discard)

    def end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self.ending.add(task)
        task.add_done_callback(self.ending.discard)

    async def close(self) -> None:
        for task in self.tasks.values():
            self.end(task)
        self.tasks = {}
        await asyncio.gather(*self.ending, return_exceptions=True)
        await self.session.close()

    async def attend(self, target: Target) -> None:
        """Probe one endpoint for ever."""
        while True:
            began = time.monotonic()
            well = await self.probe(target)
            self.conditions[target.name].note(well, target.health)
            await self.tell()
            pause = target.health.interval * random.uniform(1 - JITTER, 1 + JITTER)
            await asyncio.sleep(max(began + pause - time.monotonic(), 0))

    async def probe(self, target: Target) -> bool:
        """A GET answered with 2xx, or, without a path, an accepted connection."""
        health, endpoint = target.health, target.endpoint
        try:
            async with asyncio.timeout(health.timeout):
                if health.path is None:
                    _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
                    writer.close()
                    return True
                url = f"http://{endpoint.authority}{health.path}"
                async with self.session.get(url, allow_redirects=False) as response:
                    return 200 <= response.status < 300
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError):
            return False

    async def tell(self) -> None:
        """What has changed since the last time, if anything has."""
        down = frozenset(n for n, c in self.conditions.items() if not c.up)
        seen = frozenset(n for n, c in self.conditions.items() if c.seen)
        if (down, seen) == self.told:
            return
        before = self.told[0] if self.told else frozenset()
        for backend, authority in sorted(down ^ before):
            log.info("%s of %s is %s", authority, backend, "down" if (backend, authority) in down else "up")
        self.told = (down, seen)
        try:
            await self.changed(down, time.time(), seen)
        except BaseException as error:
            self.told = None  # nobody knows whether it was heard; the next probe tells it again
            if not isinstance(error, Exception):
                raise
            log.exception("the change of endpoints was not taken")
