"""At most so many predictions a second of one client: a bucket of tokens for each address.

Rule: no clock here, `now` is an argument. Behind a proxy all requests come from the proxy, so this is then a limit of them all.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from time import monotonic

from aiohttp import web
from aiohttp.typedefs import Handler

from crossfade_backends.replies import refuse

# Who is seen after so many others begins with a full bucket: memory is bounded.
_MOST_CLIENTS = 10_000
_PREDICTIONS = ("/predict", "/batch", "/infer")


@dataclass(slots=True)
class RateLimit:
    """`rate`: tokens a second. `burst`: what a full bucket has, at least 1."""

    rate: float
    burst: float
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, client: str, now: float) -> float:
        """0.0: go on, a token is taken. Else the seconds until there is one; nothing is taken. `now` does not go back."""
        tokens, at = self._buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + (now - at) * self.rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self.rate
        self._buckets[client] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return wait

    @web.middleware
    async def limit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.endswith(_PREDICTIONS) and (
            wait := self.take(client_of(request.remote), monotonic())
        ):
            seconds = str(max(1, math.ceil(wait)))
            raise refuse(
                429, f"more than {self.rate:g} requests a second of one client", {"Retry-After": seconds}
            )
        return await handler(request)


def client_of(address: str | None) -> str:
    """Who has an IPv6 address has a whole network of them, so the first 64 bits count."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64))
    return str(found)
