"""Customers who come for as long as a test looks."""

from __future__ import annotations

import asyncio
import random
from typing import Self

import aiohttp

from tests.scenarios.harness import TIMEOUT, Proxy


class Visiting:
    """Runs `come` beside a test, with a session of its own."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.rng = random.Random(1)
        self.asked = 0

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        self.visits = asyncio.ensure_future(self.come())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.visits.cancel()
        await asyncio.gather(self.visits, return_exceptions=True)
        await self.session.close()

    def look(self) -> None:
        """Raises what has ended the visits."""
        if self.visits.done():
            self.visits.result()

    async def come(self) -> None:
        """Until it is cancelled."""
        raise NotImplementedError
