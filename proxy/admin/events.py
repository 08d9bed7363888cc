"""Server-sent events: what happens, as it happens, without holes.

Rule: a reader that comes back with Last-Event-ID gets every decision after it, once and in order.
A subscription is bounded and drops what a slow reader leaves, so a decision that arrives is only the
sign to read on in the journal from where this reader stands.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from proxy.control.controller import Controller
from proxy.control.subscription import Subscription
from proxy.control.views import Decision, StatusChange

HEARTBEAT = 15.0  # seconds; shorter than the idle timeouts of the proxies in between
PAGE = 100
STREAMS = 64
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStreams:
    """All open streams, so that a shutdown can end them."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.open: set[Subscription] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        last = last_event(request)
        if len(self.open) >= STREAMS:
            raise web.HTTPServiceUnavailable(
                text=f"{STREAMS} streams of events are open already.", headers={"Retry-After": "10"}
            )
        response = web.StreamResponse(headers=HEADERS)
        with self.controller.watch() as subscription:
            self.open.add(subscription)
            try:
                await response.prepare(request)
                async with contextlib.aclosing(self.written(subscription, last)) as events:
                    async for event in events:
                        await response.write(event)
            except ConnectionResetError:  # the reader has gone
                pass
            finally:
                self.open.discard(subscription)
        return response

    async def written(self, subscription: Subscription, last: int | None) -> AsyncIterator[bytes]:
        yield b": crossfade\n\n"
        if last is not None:
            for decision in self.after(last):
                last = decision.id
                yield decision_event(decision)
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT):
                    event = await anext(subscription)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            except StopAsyncIteration:
                return
            if isinstance(event, StatusChange):
                yield status_event(event)
                continue
            for decision in self.after(event.id - 1 if last is None else last):
                last = decision.id
                yield decision_event(decision)
