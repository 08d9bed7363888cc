"""Server-sent events: what happens, as it happens, without holes.

Rule: a reader that comes back with Last-Event-ID gets every decision after it, once and in order.
A subscription is bounded and drops what a slow reader leaves, so a decision that arrives is only the
sign to read on in the journal from where this reader stands.
"""

from __future__ import annotations

import asyncio
import re

import msgspec
from aiohttp import web

from crossfade.control.subscription import Feed, Subscription
from crossfade.control.viewing import Views
from crossfade.control.views import Decision, StatusChange

HEARTBEAT = 15.0  # seconds; shorter than the idle timeouts of the proxies in between
PAGE = 100
STREAMS = 64
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStreams:
    """All open streams, so that a shutdown can end them."""

    def __init__(self, feed: Feed, views: Views) -> None:
        self.feed = feed
        self.views = views
        self.open: set[Subscription] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        last = last_event(request)
        if len(self.open) >= STREAMS:
            raise web.HTTPServiceUnavailable(
                text=f"{STREAMS} streams of events are open already.", headers={"Retry-After": "10"}
            )
        response = web.StreamResponse(headers=HEADERS)
        with self.feed.subscribe() as subscription:
            self.open.add(subscription)
            try:
                await response.prepare(request)
                await self.write(response, subscription, last)
            except (ConnectionResetError, TimeoutError):  # the reader has gone, or takes nothing
                if request.transport is not None:
                    request.transport.abort()
            finally:
                self.open.discard(subscription)
        return response

    async def write(self, response: web.StreamResponse, subscription: Subscription, last: int | None) -> None:
        """`last`: the decision that the reader had last; None for one that wants only what is to come."""
        await send(response, b": crossfade\n\n")
        if last is not None:
            last = await self.catch_up(response, last)
        while not subscription.closed or subscription.waiting:
            try:
                async with asyncio.timeout(HEARTBEAT):
                    event = await anext(subscription, None)
            except TimeoutError:
                await send(response, b": still here\n\n")
                continue
            if isinstance(event, StatusChange):
                await send(response, status_event(event))
            elif event is not None:
                last = await self.catch_up(response, event.id - 1 if last is None else last)

    async def catch_up(self, response: web.StreamResponse, last: int) -> int:
        """Writes all decisions above `last`, page by page, and gives the id of the last one."""
        while page := await self.views.decisions(None, last, PAGE):
            for decision in page:
                await send(response, decision_event(decision))
            last = page[-1].id
        return last

    async def close(self, app: web.Application) -> None:
        for subscription in list(self.open):
            subscription.close()


async def send(response: web.StreamResponse, content: bytes) -> None:
    """A reader that takes nothing must not hold up a shutdown."""
    async with asyncio.timeout(HEARTBEAT):
        await response.write(content)


def last_event(request: web.Request) -> int | None:
    """Anything but a number of ours is as good as no memory at all."""
    given = request.headers.get("Last-Event-ID", "")
    return int(given) if re.fullmatch("[0-9]{1,18}", given) else None


def decision_event(decision: Decision) -> bytes:
    return b"id: %d\nevent: decision\ndata: %b\n\n" % (decision.id, msgspec.json.encode(decision))


def status_event(change: StatusChange) -> bytes:
    return b"event: status\ndata: %b\n\n" % msgspec.json.encode(change)
