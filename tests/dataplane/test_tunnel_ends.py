"""How tunnels end: half-closes, resets, the idle timeout, and readers that are slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation
from tests.dataplane.upgrades import (
    ANSWER_101,
    BIG,
    BUFFER_LIMIT,
    SIZE,
    SMALL_BUFFER,
    UPGRADE_REQUEST,
    echo,
    open_tunnel,
    resetting,
    tunnel_gone,
    upgrading,
    watch,
)
from tests.dataplane.wire import Wire, wait_until


async def test_a_client_that_half_closes_still_gets_the_backends_bytes(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        assert await conversation.rest() == (b"bye", "closed")
        await conversation.send(b"and more ", b"behind it")
        conversation.close()

    harness.backend("v2", upgrading(script))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    await client.send(b"bye")
    client.half_close()
    assert await client.rest() == (b"and more behind it", "closed")
    await tunnel_gone(harness)


async def test_a_backend_that_half_closes_still_gets_the_clients_bytes(harness: Harness) -> None:
    received: list[tuple[bytes, str]] = []

    async def script(conversation: Conversation) -> None:
        await conversation.send(b"bye")
        conversation.half_close()
        received.append(await conversation.rest())

    harness.backend("v2", upgrading(script))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    assert await client.rest() == (b"bye", "closed")
    await client.send(b"and more ", b"behind it")
    client.close()
    await tunnel_gone(harness)
    await wait_until(lambda: received, "the backend has read to the end")
    assert received == [(b"and more behind it", "closed")]


async def test_a_client_that_half_closes_before_the_101_gets_a_tunnel(harness: Harness) -> None:
    release = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await release.wait()
        await conversation.send(ANSWER_101)
        assert await conversation.rest() == (b"early", "closed")
        await conversation.send(b"late")
        conversation.close()

    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST + b"early")
    client.half_close()
    await wait_until(
        lambda: any(c.half_closed for c in harness.plane.clients), "the proxy sees the half-close"
    )
    release.set()
    assert (await client.head()).status == 100
    assert (await client.head()).status == 101
    assert await client.rest() == (b"late", "closed")
    await tunnel_gone(harness)


DISCONNECTS: dict[str, Callable[[Wire], None]] = {"closes": Wire.close, "resets": Wire.reset}


@pytest.mark.parametrize("leave", DISCONNECTS.values(), ids=DISCONNECTS)
async def test_a_client_that_leaves_before_the_101_cancels_the_request(
    harness: Harness, leave: Callable[[Wire], None]
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await watch(conversation)

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST)
    await wait_until(lambda: backend.requests, "the backend has the request")
    leave(client)
    await backend.conversations[0].over()
    assert (await harness.cell("v2")).codes == {499: 1}


async def test_a_reset_by_the_client_resets_the_backend_connection(harness: Harness) -> None:
    backend = harness.backend("v2", upgrading(watch))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    client.reset()
    assert await backend.conversations[0].over() == "reset"
    await tunnel_gone(harness)


async def test_a_reset_by_the_backend_resets_the_client_connection(harness: Harness) -> None:
    reset_now = asyncio.Event()
    harness.backend("v2", upgrading(resetting(reset_now)))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    reset_now.set()
    assert await client.rest() == (b"", "reset")
    await tunnel_gone(harness)


async def test_only_the_idle_timeout_ends_a_tunnel(harness: Harness) -> None:
    """The backend's first-byte and total timeouts do not apply; each byte restarts the idle timeout."""
    backend = harness.backend(
        "v2", upgrading(echo), idle_timeout=0.6, first_byte_timeout=0.3, total_timeout=0.3
    )
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    start = harness.plane.loop.time()
    while harness.plane.loop.time() < start + 0.9:
        await client.send(b"ping")
        assert await client.exactly(4) == b"ping"
        await asyncio.sleep(0.02)
    assert await client.rest() == (b"", "reset")
    assert await backend.conversations[0].over() == "reset"
    await tunnel_gone(harness)


@pytest.mark.parametrize("slow", ["client", "backend"])
async def test_a_slow_reader_stops_the_sender(harness: Harness, slow: str) -> None:
    reading = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        if slow == "client":
            await conversation.pour(BIG)
        else:
            await reading.wait()
            assert await conversation.exactly(SIZE) == BIG
            await conversation.send(b"got it")
        await watch(conversation)

    backend = harness.backend("v2", upgrading(script), receive_buffer=SMALL_BUFFER)
    harness.use(route("v2"))
    client = await harness.client(receive_buffer=SMALL_BUFFER, send_buffer=SMALL_BUFFER)
    await open_tunnel(harness, client)
    pouring = asyncio.create_task(client.pour(BIG if slow == "backend" else b""))
    (tunnel,) = harness.plane.tunnels
    sender = tunnel.client if slow == "backend" else tunnel.upstream
    await wait_until(lambda: sender.paused, "the proxy stops reading from the sender")
    for _ in range(50):
        for end in (tunnel.client, tunnel.upstream):
            assert end.transport.get_write_buffer_size() < BUFFER_LIMIT
        await asyncio.sleep(0.001)
    reading.set()
    if slow == "client":
        assert backend.conversations[0].sent < SIZE
        assert await client.exactly(SIZE) == BIG
    else:
        assert await client.exactly(6) == b"got it"
    await pouring
    client.close()
    await tunnel_gone(harness)


async def test_a_slow_client_gets_the_last_bytes(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.pour(BIG)
        conversation.half_close()
        await watch(conversation)

    harness.backend("v2", upgrading(script))
    harness.use(route("v2"))
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    await open_tunnel(harness, client)
    client.half_close()
    data, how = await client.rest()
    assert (data == BIG, how) == (True, "closed")
    await tunnel_gone(harness)


async def test_a_client_that_does_not_read_the_last_bytes_is_closed_after_the_idle_timeout(
    harness: Harness,
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(BIG[: 1024 * 1024])
        conversation.close()

    harness.backend("v2", upgrading(script), idle_timeout=0.5)
    harness.use(route("v2"))
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    await open_tunnel(harness, client)
    client.half_close()
    await tunnel_gone(harness)
