"""Drains: the end of a worker loses no request, and no client that is silent delays it (law 9)."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, Held, ScriptedBackend, naming, silent
from tests.dataplane.wire import GUARD, Ended, Wire, get, post, wait_until


async def begin_drain(harness: Harness, seconds: float = 3 * GUARD) -> asyncio.Task[None]:
    task = asyncio.create_task(harness.plane.drain(seconds))
    await wait_until(lambda: harness.plane.draining)
    return task


async def test_a_drain_lets_requests_finish(harness: Harness) -> None:
    held = Held()
    backend = harness.backend("v2", held)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(b"x"))
    await wait_until(lambda: backend.requests, "the request is at the backend")
    drain = await begin_drain(harness)
    held.release.set()
    answer = await client.answer()
    assert (answer.body, answer.field("connection")) == (b"v2", b"close")
    assert await client.rest() == (b"", "closed")
    await drain
    assert not harness.plane.clients


async def test_a_drain_lets_an_upload_finish(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    whole = post(b"x" * 100_000)
    await client.send(whole[:50_000])
    await wait_until(lambda: harness.plane.active, "the request is under way")
    drain = await begin_drain(harness)
    await client.send(whole[50_000:])
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (200, b"close")
    assert await client.rest() == (b"", "closed")
    await drain


async def test_told_that_the_proxy_will_end_it_accepts_and_closes_after_answers(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    before = await harness.client()
    await before.send(get())
    assert (await before.answer()).field("connection") is None
    harness.plane.draining = True
    for client in (before, await harness.client()):
        await client.send(get())
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (200, b"close")
        assert await client.rest() == (b"", "closed")


async def test_a_drain_refuses_new_connections(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    await (await begin_drain(harness))
    with pytest.raises(ConnectionRefusedError):
        await harness.client()


async def test_a_drain_serves_the_connections_in_the_accept_queue(harness: Harness) -> None:
    """The kernel has accepted these connections. It would reset them when the listening socket closes."""
    harness.backend("v2")
    harness.use(route("v2"))
    clients = []
    for _ in range(5):
        sock = socket.create_connection(("127.0.0.1", harness.port))
        sock.sendall(get())
        clients.append(Wire(sock))
    harness.wires += clients
    drain = asyncio.create_task(harness.plane.drain(3 * GUARD))
    for client in clients:
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (200, b"close")
    await drain


async def test_silent_clients_do_not_delay_a_drain(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that has sent part of a head gets 408. A client accepted last that sends nothing is closed."""
    monkeypatch.setattr("crossfade.dataplane.downstream.DRAIN_IDLE", 0.05)
    monkeypatch.setattr("crossfade.dataplane.listener.DRAIN_IDLE", 0.05)
    harness.backend("v2")
    harness.use(route("v2"))
    incomplete = await harness.client()
    await incomplete.send(b"GET / HT")
    await wait_until(lambda: any(c.buffer for c in harness.plane.clients))
    late = Wire(socket.create_connection(("127.0.0.1", harness.port)))
    harness.wires.append(late)
    drain = await begin_drain(harness, 60)
    assert (await incomplete.answer()).status == 408
    incomplete.close()
    assert await late.rest() == (b"", "closed")
    async with asyncio.timeout(GUARD):
        await drain


async def test_an_idle_client_may_send_one_more_request_during_a_drain(harness: Harness) -> None:
    """The client does not know of the drain. The answer has `Connection: close`."""
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    drain = await begin_drain(harness)
    await client.send(get())
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (200, b"close")
    await drain


async def test_an_idle_client_does_not_delay_a_drain(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.dataplane.downstream.DRAIN_IDLE", 0.05)
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    async with asyncio.timeout(GUARD):
        await (await begin_drain(harness, 60))
    assert await client.rest() == (b"", "closed")


async def test_a_client_whose_answer_began_before_the_drain_does_not_delay_it(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head of its answer has no `Connection: close`. The answer ends after the idle clients are closed."""
    monkeypatch.setattr("crossfade.dataplane.downstream.DRAIN_IDLE", 0.05)
    release = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await release.wait()
        await conversation.send(b"cd")

    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    idle = await harness.client()
    await client.send(get())
    head = await client.head()
    drain = await begin_drain(harness, 60)
    await idle.rest()
    release.set()
    await client.body(head)
    assert head.body == b"abcd"
    async with asyncio.timeout(GUARD):
        await drain


async def test_a_drain_cuts_exchanges_at_its_deadline(harness: Harness) -> None:
    """A cut exchange counts as abandoned, not as an error of the backend."""
    backend = harness.backend("v2", silent)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await wait_until(
        lambda: backend.conversations and backend.conversations[0].received, "the request is at the backend"
    )
    await harness.plane.drain(0.1)
    with pytest.raises(Ended):
        await client.answer()
    cell = await harness.cell("v2")
    assert (cell.codes, cell.errors, cell.abandoned) == ({499: 1}, 0, 1)
    await backend.conversations[0].over()


async def test_a_drain_answers_the_pipelined_request_in_flight_and_no_later_one(harness: Harness) -> None:
    """The answer has `Connection: close`. The requests after it never begin."""
    held = Held()
    backend: ScriptedBackend = harness.backend("v2", held)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get() * 3)
    await wait_until(lambda: backend.requests, "the request is at the backend")
    drain = await begin_drain(harness)
    held.release.set()
    assert (await client.answer()).field("connection") == b"close"
    assert await client.rest() == (b"", "closed")
    client.close()
    await drain
    assert len(harness.accepted) == 1


async def test_an_error_answer_during_a_drain_closes_the_connection(harness: Harness) -> None:
    harness.refusing("v2")
    harness.backend("v3", naming)
    harness.use(route("v2"))
    client = await harness.client()
    await wait_until(lambda: harness.plane.clients)
    drain = await begin_drain(harness)
    await client.send(get())
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (502, b"close")
    await drain
