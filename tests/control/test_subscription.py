"""Subscribers get events; a slow subscriber loses the oldest."""

from __future__ import annotations

import asyncio

from crossfade.control.subscription import MAX_EVENTS, Feed
from crossfade.control.views import StatusChange


def event(n: int) -> StatusChange:
    return StatusChange(float(n), "store", None, "")


async def test_a_subscription_gets_the_events_after_it():
    feed = Feed()
    with feed.subscribe() as one:
        feed.publish(event(1))
        with feed.subscribe() as two:
            feed.publish(event(2))
            assert [(await anext(one)).at, (await anext(one)).at, (await anext(two)).at] == [1, 2, 2]
    assert not feed.subscriptions


async def test_a_reader_waits_for_the_next_event():
    feed = Feed()
    with feed.subscribe() as subscription:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(anext(subscription))
            await asyncio.sleep(0)
            assert not waiting.done()
            feed.publish(event(7))
        assert waiting.result().at == 7


async def test_a_slow_reader_loses_the_oldest():
    feed = Feed()
    subscription = feed.subscribe()
    for n in range(MAX_EVENTS + 10):
        feed.publish(event(n))
    subscription.close()
    assert [e.at async for e in subscription] == [float(n) for n in range(10, MAX_EVENTS + 10)]


async def test_closing_ends_a_waiting_reader():
    feed = Feed()
    subscription = feed.subscribe()

    async def read() -> list[float]:
        return [e.at async for e in subscription]

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read())
        await asyncio.sleep(0)
        subscription.close()
    assert reading.result() == []
