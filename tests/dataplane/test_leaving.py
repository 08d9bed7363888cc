"""A client that leaves: the backend's work stops, and no backend is charged with an error (law 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.dataplane.plane import Harness, connecting_slowly, mirrored, route, sticky
from tests.dataplane.scripted import Conversation, silent
from tests.dataplane.wire import Wire, chunked, get, ok, post, wait_until

LEAVE_METHODS: dict[str, Callable[[Wire], None]] = {"closes": Wire.close, "resets": Wire.reset}


async def expect_abandoned(harness: Harness, status: int = 499) -> None:
    cell = await harness.cell("v2")
    assert (cell.requests, cell.errors, cell.codes) == (1, 0, {status: 1})
    assert (cell.abandoned, cell.recent, cell.duration.count) == (1, [], 0)
    assert cell.failures == {"client_left": 1}
    await wait_until(lambda: not harness.plane.clients, "the connection is gone")


@pytest.mark.parametrize("leave", LEAVE_METHODS.values(), ids=LEAVE_METHODS)
async def test_a_client_that_leaves_before_the_first_byte_is_abandoned(
    harness: Harness, leave: Callable[[Wire], None]
) -> None:
    backend = harness.backend("v2", silent)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(b"hello"))
    await wait_until(
        lambda: backend.conversations and backend.conversations[0].received, "the backend has the request"
    )
    leave(client)
    await expect_abandoned(harness)
    await backend.conversations[0].over()


@pytest.mark.parametrize("leave", LEAVE_METHODS.values(), ids=LEAVE_METHODS)
async def test_a_client_that_leaves_during_the_answer_is_abandoned(
    harness: Harness, leave: Callable[[Wire], None]
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await conversation.watch()

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.until(b"1\r\nx\r\n")
    leave(client)
    await expect_abandoned(harness)
    await backend.conversations[0].over()


async def test_a_client_that_neither_reads_nor_sends_is_abandoned(harness: Harness) -> None:
    """The client neither reads nor sends. The bytes that wait for it do not keep the exchange open for ever."""
    size = 10 * 1024 * 1024

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        await conversation.pour(b"x" * size)

    harness.backend("v2", script, idle_timeout=0.8)
    harness.use(route("v2"))
    client = await harness.client(receive_buffer=64 * 1024)
    await client.send(get())
    await wait_until(lambda: harness.accepted and harness.accepted[0].client_stalls, "the client stalls")
    client.half_close()
    await expect_abandoned(harness)


@pytest.mark.parametrize(
    "leave", [*LEAVE_METHODS.values(), Wire.half_close], ids=[*LEAVE_METHODS, "half-closes"]
)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_a_client_that_leaves_during_the_upload_is_abandoned(
    harness: Harness, leave: Callable[[Wire], None], is_chunked: bool
) -> None:
    """The backend never takes half an upload for a whole one: no last chunk is sent."""
    backend = harness.backend("v2", silent)
    harness.use(route("v2"))
    client = await harness.client()
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + chunked(b"hello")[:-4] if is_chunked else post(b"hello")[:-3])
    await wait_until(lambda: backend.conversations and b"he" in backend.conversations[0].received)
    leave(client)
    await expect_abandoned(harness)
    await backend.conversations[0].over()
    assert b"0\r\n\r\n" not in backend.conversations[0].received


async def test_a_client_that_leaves_before_a_backend_is_assigned_is_a_499(harness: Harness) -> None:
    """No backend was assigned yet; the request still has one outcome."""
    harness.backend("v2")
    harness.use(route("v2", sticky=sticky("json", "id")))
    client = await harness.client()
    await client.send(post(b'{"id": 1}')[:-4])
    await wait_until(lambda: harness.accepted, "the request begins")
    client.close()
    await harness.quiet()
    assert harness.plane.recorder.take().refused == {"499:client_left": 1}
    assert harness.backends["v2"].conversations == []


async def test_a_client_that_leaves_during_the_connect_is_abandoned(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = connecting_slowly(monkeypatch)
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await wait_until(lambda: harness.accepted, "the request begins")
    client.close()
    await expect_abandoned(harness)
    opening.set()
    await wait_until(lambda: not harness.plane.tasks, "the attempt ends")
    (endpoint,) = harness.plane.backends["v2"].endpoints.values()
    assert len(endpoint.idle) == 1, "the connection goes to the pool"
    assert harness.backends["v2"].requests == []


async def test_pipelined_requests_of_a_client_that_left_are_not_begun(harness: Harness) -> None:
    """A pipelined request that was never begun has no outcome."""
    backend = harness.backend("v2", silent)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get() * 3)
    await wait_until(
        lambda: backend.conversations and backend.conversations[0].received, "the backend has the request"
    )
    client.close()
    await expect_abandoned(harness)
    assert len(harness.accepted) == 1


async def test_a_client_that_leaves_during_the_fallback_is_no_error(harness: Harness) -> None:
    """The first backend failed and the client left while the fallback worked: no error counts (law 6)."""
    harness.refusing("v3")
    fallback = harness.backend("v2", silent)
    harness.use(route("v3", fallback="v2"))
    client = await harness.client()
    await client.send(get())
    await wait_until(
        lambda: fallback.conversations and fallback.conversations[0].received, "the backend has the request"
    )
    client.close()
    cell = await harness.cell("v3")
    assert (cell.errors, cell.abandoned, cell.codes, cell.responses) == (0, 1, {502: 1}, {499: 1})
    await fallback.conversations[0].over()


async def test_a_mirrored_copy_goes_on_after_the_client_left(harness: Harness) -> None:
    """The copy is evidence about the shadow backend, even if the client leaves."""
    answered = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await answered.wait()
        await conversation.send(ok(b"v4"))

    backend = harness.backend("v2", silent)
    harness.backend("v4", script)
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    await client.send(get())
    await wait_until(
        lambda: backend.conversations and backend.conversations[0].received, "the backend has the request"
    )
    client.close()
    await wait_until(lambda: not harness.plane.active, "the exchange ends")
    answered.set()
    shadow = await harness.shadow("v4")
    assert shadow is not None
    assert (shadow.codes, shadow.errors) == ({200: 1}, 0)
