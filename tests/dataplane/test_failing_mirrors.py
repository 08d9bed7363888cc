"""Mirrors that fail, hang up or never end an answer: the client notices nothing, and each copy ends (law 7)."""

from __future__ import annotations

import asyncio

import pytest

from crossfade.routing.ledger import BUCKETS
from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.scripted import Conversation, Script, answering, closing, each, silent
from tests.dataplane.wire import Message, get, ok, post, wait_until

BODY = bytes(range(256)) * 3
SHORT = 0.5  # seconds; a timeout that must expire, with room for a loaded machine


async def never_reading(conversation: Conversation) -> None:
    await asyncio.Event().wait()


FAILING: dict[str, tuple[Script, int]] = {
    "closes": (closing(b""), 502),
    "garbage": (closing(b"garbage\r\n\r\n"), 502),
    "truncates": (closing(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), 502),
    "stalls": (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), 504),
    "hangs": (silent, 504),
    "never reads": (never_reading, 504),
}


@pytest.mark.parametrize("script, status", FAILING.values(), ids=FAILING)
async def test_a_failing_mirror_does_not_affect_the_client(
    harness: Harness, script: Script, status: int
) -> None:
    """The client gets its answer before the copy ends."""
    harness.backend("v2")
    harness.backend("v4", script, first_byte_timeout=SHORT, idle_timeout=SHORT)
    harness.use(route("v2", mirrors=mirrored("v4"), replay_limit=8 * 1024 * 1024))
    client = await harness.client()
    await client.send(post(BODY * 1000))
    assert (await client.answer()).body == b"v2"
    shadow = await harness.shadow("v4")
    assert shadow is not None
    assert (shadow.requests, shadow.errors, shadow.codes) == (1, 1, {status: 1})
    assert harness.mirrors("v4") == {"failed": 1}
    cell = await harness.cell("v2")
    assert (cell.errors, cell.codes) == (0, {200: 1})
    (mirror,) = harness.plane.mirrors.states.values()
    assert mirror.bytes_held == 0


async def test_a_copy_to_a_refusing_endpoint_counts_as_failed(harness: Harness) -> None:
    harness.backend("v2")
    harness.refusing("v4")
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    for _ in range(3):
        await client.send(get())
        assert (await client.answer()).body == b"v2"
    shadow = await harness.shadow("v4")
    assert shadow is not None
    assert (shadow.errors, harness.mirrors("v4")) == (3, {"failed": 3})


async def copies_ended(harness: Harness, outcomes: dict[str, int]) -> None:
    await wait_until(lambda: harness.mirrors("v4") == outcomes, "the copies have ended")


async def test_a_copy_whose_reused_connection_closes_is_sent_once_more(harness: Harness) -> None:
    """The backend closed it while the copy was on its way, which is no fault of either."""

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(ok(b"v4"))
        await conversation.request()
        conversation.reset()

    harness.backend("v2")
    backend = harness.backend("v4", script)
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    for n in range(1, 4):
        await client.send(post(BODY))
        assert (await client.answer()).body == b"v2"
        await copies_ended(harness, {"sent": n})
    shadow = await harness.shadow("v4")
    assert shadow is not None
    assert (shadow.requests, shadow.errors) == (3, 0)
    assert [len(conversation.requests) for conversation in backend.conversations] == [2, 2, 1]


async def test_a_copy_whose_connections_all_close_is_sent_no_third_time(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        if conversation.number == 0:
            await conversation.send(ok(b"v4"))
            await conversation.request()
        conversation.reset()

    harness.backend("v2")
    backend = harness.backend("v4", script)
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    for outcomes in ({"sent": 1}, {"sent": 1, "failed": 1}):
        await client.send(get())
        await client.answer()
        await copies_ended(harness, outcomes)
    assert [len(conversation.requests) for conversation in backend.conversations] == [2, 1]


async def test_an_answer_to_a_copy_that_never_ends_has_the_total_timeout(harness: Harness) -> None:
    async def dribbling(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            await conversation.send(b"x")
            await asyncio.sleep(0.01)

    harness.backend("v2")
    harness.backend("v4", dribbling, total_timeout=SHORT)
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).body == b"v2"
    await copies_ended(harness, {"failed": 1})
    shadow = await harness.shadow("v4")
    assert shadow is not None
    assert (shadow.codes, shadow.faults) == ({504: 1}, {"total_timeout": 1})


async def test_clients_are_answered_while_a_copy_waits(harness: Harness) -> None:
    """Order of events: the copy arrives, the client gets 20 more answers, the copy is answered."""
    order: list[str] = []
    release = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        order.append("copy arrives")
        await release.wait()
        order.append("copy answered")
        await conversation.send(ok(b"late"))

    harness.backend("v2")
    harness.backend("v4", each(handler))
    harness.use(route("v2", mirrors=mirrored("v4", BUCKETS)))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    await wait_until(lambda: order, "the copy arrives")
    for _ in range(20):
        await client.send(get())
        assert (await client.answer()).body == b"v2"
    order.append("client answered")
    release.set()
    await harness.quiet()
    assert order.index("client answered") < order.index("copy answered")
    assert harness.mirrors("v4") == {"sent": 21}


async def test_copies_take_no_connection_and_no_in_flight_place_of_the_split(harness: Harness) -> None:
    """A backend can be the target of a mirror and serve the split. Copies have their own connections, and their own count."""
    harness.backend("v2")
    harness.backend("v3", silent, max_in_flight=2)
    harness.use(route("v2", name="main", mirrors=mirrored("v3")))
    client = await harness.client()
    for _ in range(3):
        await client.send(get())
        assert (await client.answer()).body == b"v2"
    await wait_until(lambda: len(harness.backends["v3"].conversations) == 2, "two copies are in flight")
    assert harness.plane.in_flight() == {"v2": 0, "v3": 0}
    assert harness.mirrors("v3") == {"dropped_in_flight": 1}
