"""Endpoints as one worker sees them: how they are reached, their pooled connections, their load.

Rule: an endpoint and its connections outlive snapshots. What leaves the configuration is retired:
requests in flight end there, none begins.
"""

from __future__ import annotations

import asyncio
import errno

from proxy.dataplane.upstream import Upstream
from proxy.errors import Stage
from proxy.routing.snapshot import Backend

IDLE_LIMIT = 4.0  # seconds; uvicorn closes idle connections after 5, and a closed one must not be met
OUR_OWN = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


def connect_failure(error: OSError) -> Stage:
    """Whose fault it is that no connection came about: out of descriptors or ports, it is ours."""
    return Stage.OVERLOAD if error.errno in OUR_OWN else Stage.CONNECT


class EndpointState:
    """One address: its idle connections, newest last, and how many requests it has now."""

    def __init__(self, host: str, port: int, authority: str) -> None:
        self.host = host
        self.port = port
        self.authority = authority.encode("ascii")
        self.in_flight = 0
        self.up = True
        self.retired = False  # no longer in the configuration; requests in flight end here, none begins
        self.idle: list[Upstream] = []

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
        upstream.idle_since = asyncio.get_running_loop().time()
        upstream.reused = True
        self.idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        if upstream.owner is None and upstream in self.idle:
            self.idle.remove(upstream)

    async def connect(self, timeout: float) -> Upstream:
        """A fresh connection. Raises OSError, TimeoutError among them."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, upstream = await loop.create_connection(lambda: Upstream(self), self.host, self.port)
        except UnicodeError as error:  # a label of more than 63 characters, say
            raise OSError("this name cannot be looked up") from error
        if upstream.transport.is_closing():  # it closed, or spoke, before it was asked
            raise ConnectionResetError
        return upstream

    def retire(self) -> None:
        self.retired = True
        self.close_idle(float("inf"))

    def close_idle(self, before: float) -> None:
        """Close connections idle since before this loop time; the oldest stand first."""
        while self.idle and self.idle[0].idle_since < before:
            self.idle[0].close()


class BackendState:
    """A backend as one worker sees it. Its endpoints, and their connections, outlive snapshots."""

    def __init__(self, spec: Backend) -> None:
        self.endpoints: dict[str, EndpointState] = {}
        self.in_flight = 0
        self.use(spec)

    def use(self, spec: Backend) -> None:
        self.spec = spec
        self.name = spec.name.encode()
        known = self.endpoints
        self.endpoints = {
            e.authority: known.get(e.authority) or EndpointState(e.host, e.port, e.authority)
            for e in spec.endpoints
        }
        for endpoint in spec.endpoints:
            self.endpoints[endpoint.authority].up = endpoint.up
        for authority in known.keys() - self.endpoints.keys():
            known[authority].retire()
        self.available = [e for e in self.endpoints.values() if e.up]

    def retire(self) -> None:
        for endpoint in self.endpoints.values():
            endpoint.retire()

    def close_idle(self, before: float) -> None:
        for endpoint in self.endpoints.values():
            endpoint.close_idle(before)
