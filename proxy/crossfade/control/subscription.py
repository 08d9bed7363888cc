"""Telling whoever listens what happens, without ever waiting for them.

Rule: a subscription is bounded and drops its oldest event when its reader is slow; the journal has all
decisions, so nothing is lost but the notice.
"""

from __future__ import annotations

import asyncio
from collections import deque

from crossfade.control.views import Decision, StatusChange

KEPT = 256

Notice = Decision | StatusChange


class Subscription:
    """An async iterator of events; it ends when closed. Leaving its `with` block closes it."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.waiting: deque[Notice] = deque(maxlen=KEPT)
        self.woken = asyncio.Event()
        self.closed = False

    def put(self, event: Notice) -> None:
        self.waiting.append(event)
        self.woken.set()

    def close(self) -> None:
        self.closed = True
        self.feed.subscriptions.discard(self)
        self.woken.set()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Notice:
        while not self.waiting:
            if self.closed:
                raise StopAsyncIteration
            self.woken.clear()
            await self.woken.wait()
        return self.waiting.popleft()


class Feed:
    def __init__(self) -> None:
        self.subscriptions: set[Subscription] = set()

    def subscribe(self) -> Subscription:
        subscription = Subscription(self)
        self.subscriptions.add(subscription)
        return subscription

    def tell(self, event: Notice) -> None:
        for subscription in self.subscriptions:
            subscription.put(event)
