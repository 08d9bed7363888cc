"""Server-sent events: decisions and changes of status, live and without gaps.

Rule: a reader that reconnects with Last-Event-ID gets every decision after it, once and in order. A
subscription is bounded and drops events of a slow reader. So the arrival of a decision only triggers a read of
the journal, from the last decision that this reader got.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Annotated

import msgspec
from aiohttp import web

from crossfade.admin.asked import query_of
from crossfade.admin.connections import most_connections
from crossfade.admin.operation import Operation, Parameter
from crossfade.admin.roles import Role
from crossfade.control.subscription import Feed, Subscription
from crossfade.control.viewing import Views
from crossfade.control.views import StatusChange

HEARTBEAT = 15.0  # seconds; shorter than the idle timeout of a proxy between reader and API
PAGE = 100  # decisions in one read of the journal
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def most_streams() -> int:
    """A quarter of the connections: those that read events are never closed to make room."""
    return max(most_connections() // 4, 1)


class EventsQuery(msgspec.Struct, forbid_unknown_fields=True):
    last_event_id: Annotated[int, msgspec.Meta(ge=0, le=10**18 - 1)] | None = None


class EventStreams:
    """All open streams; a shutdown ends them."""

    def __init__(self, feed: Feed, views: Views, still_admits: Callable[[web.Request], bool]) -> None:
        """`still_admits`: whether the caller's token or session is still good for this request."""
        self.still_admits = still_admits
        self.feed = feed
        self.views = views
        self.open: set[Subscription] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        last = _last_event(request, query_of(request, EventsQuery).last_event_id)
        if len(self.open) >= most_streams():
            raise web.HTTPServiceUnavailable(
                text=f"{most_streams()} streams of events are open already.", headers={"Retry-After": "10"}
            )
        response = web.StreamResponse(headers=HEADERS)
        with self.feed.subscribe() as subscription:
            self.open.add(subscription)
            try:
                await response.prepare(request)
                await self.write(request, response, subscription, last)
            except (ConnectionResetError, TimeoutError):  # the reader has closed, or does not read
                if request.transport is not None:
                    request.transport.abort()
            finally:
                self.open.discard(subscription)
        return response

    async def write(
        self,
        request: web.Request,
        response: web.StreamResponse,
        subscription: Subscription,
        last: int | None,
    ) -> None:
        """`last`: id of the last decision that the reader has; None: only new events. Returns when the caller may read no more."""
        await _send(response, b": crossfade\n\n")
        if last is not None:
            last = await self.catch_up(response, last)
        while not subscription.closed or subscription.waiting:
            try:
                async with asyncio.timeout(HEARTBEAT):
                    event = await anext(subscription, None)
                if not self.still_admits(request):
                    return
            except TimeoutError:
                if not self.still_admits(request):
                    return
                await _send(response, b": still here\n\n")
                continue
            if isinstance(event, StatusChange):
                await _send(response, _status_event(event))
            elif event is not None:
                last = await self.catch_up(response, event.id - 1 if last is None else last)

    async def catch_up(self, response: web.StreamResponse, last: int) -> int:
        """Write all decisions above `last`; returns the id of the last one."""
        while page := await self.views.page(None, last, PAGE):
            for record in page:
                await _send(response, b"id: %d\nevent: decision\ndata: %b\n\n" % record)
            last = page[-1].id
        return last

    async def close(self, app: web.Application) -> None:
        for subscription in list(self.open):
            subscription.close()


async def _send(response: web.StreamResponse, content: bytes) -> None:
    """With a timeout: a reader that does not read must not block a shutdown."""
    async with asyncio.timeout(HEARTBEAT):
        await response.write(content)


def _last_event(request: web.Request, first: int | None) -> int | None:
    """By the header, which a browser sends when it connects again; else `first`. A header that is not an id of ours counts for nothing."""
    given = request.headers.get("Last-Event-ID", "")
    return int(given) if re.fullmatch("[0-9]{1,18}", given) else first


def _status_event(change: StatusChange) -> bytes:
    return b"event: status\ndata: %b\n\n" % msgspec.json.encode(change)


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/v1/events",
        handler=EventStreams.answer,
        role=Role.VIEWER,
        summary="Decisions and changes of status as they happen",
        answer=str,
        media="text/event-stream",
        query=EventsQuery,
        notes={
            "last_event_id": "the same in the address, for the first connection; the header counts where both are given"
        },
        headers=(Parameter("Last-Event-ID", "the last decision that the reader has", int),),
        errors={503: "As many streams as there may be are open already"},
        has_head=False,
    ),
)
