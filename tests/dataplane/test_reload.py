"""A new snapshot, and the end of a worker: no request is lost to either (law 9)."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from crossfade.routing.ledger import reweigh, salt_of
from crossfade.routing.snapshot import Mirror
from tests.dataplane.plane import Harness, endpoint, mirrored, route, settle, sticky
from tests.dataplane.scripted import Conversation, ScriptedBackend, each, naming, silent
from tests.dataplane.wire import Ended, Message, Wire, get, more, ok, post, wait_until


@dataclass
class Held:
    """A backend script that answers with its name once released."""

    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, conversation: Conversation) -> None:
        async def handler(conversation: Conversation, request: Message) -> None:
            await self.release.wait()
            await conversation.send(ok(conversation.backend.name.encode()))

        await each(handler)(conversation)


async def ask(harness: Harness, seen: Counter[str], stopping: asyncio.Event, raw: bytes) -> None:
    """One request after the other, on one connection."""
    client = await harness.client()
    while not stopping.is_set():
        await client.send(raw)
        answer = await client.answer()
        assert answer.status == 200
        assert answer.body.decode() == answer.backend
        seen[answer.backend] += 1


async def test_reloads_under_load_lose_nothing(harness: Harness) -> None:
    """Splits, mirrors, backends and endpoints come and go under eight clients that never pause."""
    for name in ("v2", "v3", "v4"):
        harness.backend(name)
    everyone = dict(harness.specs)
    harness.use(route("v2"))
    seen: Counter[str] = Counter()
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for n in range(8):
            tasks.create_task(ask(harness, seen, stopping, post(b"%d" % n)))
        for n in range(30):
            harness.specs = {k: v for k, v in everyone.items() if k != ("v3", "v4")[n % 2]}
            other = ("v4", "v3")[n % 2]
            harness.use(route({"v2": 10_000 - 300 * n, other: 300 * n}, mirrors=(Mirror(other, 5000),)))
            await more(seen, 20)
        stopping.set()
    assert set(seen) == {"v2", "v3", "v4"}
    cells = [await harness.cell(name) for name in everyone]
    assert sum(c.requests for c in cells) == seen.total()
    assert [c.errors for c in cells] == [0, 0, 0]


async def test_weights_change_with_the_next_request(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v3")
    before = route({"v2": 10_000, "v3": 0})
    harness.use(before)
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).backend == "v2"
    after = reweigh(before.ledger, {"v2": 0, "v3": 10_000}, salt_of("churn"))
    harness.use(replace(before, ledger=after, roles=("champion", "challenger")))
    await client.send(get())
    assert (await client.answer()).backend == "v3"
    versions = {(c.backend, c.ledger_version) for c in harness.plane.recorder.take().cells}
    assert versions == {("v2", before.ledger.version), ("v3", after.version)}


async def test_requests_end_on_the_backend_they_began_with(harness: Harness) -> None:
    """Even if the reload removes it; and then its connections close."""
    held = Held()
    old = harness.backend("v2", held)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(b"x"))
    await wait_until(lambda: old.requests, "the backend is asked")
    del harness.specs["v2"]
    harness.backend("v3")
    harness.use(route("v3"))
    held.release.set()
    assert (await client.answer()).body == b"v2"
    await old.conversations[0].over()
    await client.send(post(b"x"))
    assert (await client.answer()).body == b"v3"


async def test_idle_connections_of_a_removed_backend_close(harness: Harness) -> None:
    old = harness.backend("v2")
    mirror = harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    await harness.quiet()
    del harness.specs["v2"], harness.specs["v4"]
    harness.backend("v3")
    harness.use(route("v3"))
    for backend in (old, mirror):
        await backend.conversations[0].over()


async def test_a_removed_endpoint_gets_no_more_requests(harness: Harness) -> None:
    first = harness.backend("v2")
    second = harness.another_endpoint("v2")
    harness.use(route("v2"))
    client = await harness.client()
    for _ in range(30):
        await client.send(get())
        await client.answer()
    assert first.requests
    assert second.requests
    harness.specs["v2"] = replace(harness.specs["v2"], endpoints=(endpoint(second.port),))
    harness.use(route("v2"))
    count = len(first.requests)
    for _ in range(10):
        await client.send(get())
        assert (await client.answer()).status == 200
    assert len(first.requests) == count
    await wait_until(lambda: all(c.ended for c in first.conversations), "its connections close")


async def test_connections_outlive_a_reload(harness: Harness) -> None:
    backend = harness.backend("v2")
    client = await harness.client()
    for _ in range(3):
        harness.use(route("v2"))
        await client.send(get())
        assert (await client.answer()).status == 200
    assert len(backend.conversations) == 1


# ── what a request in the middle of its upload meets ──────────────────────────────────────────────


async def half_sent(harness: Harness, body: bytes):
    """A client with half its request sent, and the other half."""
    client = await harness.client()
    raw = post(body)
    await client.send(raw[:-4])
    await wait_until(lambda: harness.accepted, "the request begins")
    await settle()
    return client, raw[-4:]


async def test_a_backend_is_removed_while_a_body_is_waited_for(harness: Harness) -> None:
    """Nothing was decided yet, so the new snapshot decides."""
    harness.backend("v2")
    harness.use(route("v2", sticky=sticky("json", "id")))
    client, rest = await half_sent(harness, b'{"id": 12345}')
    del harness.specs["v2"]
    harness.backend("v3")
    harness.use(route("v3", sticky=sticky("json", "id")))
    await client.send(rest)
    assert (await client.answer()).body == b"v3"


async def test_a_fallback_is_removed_while_it_may_be_needed(harness: Harness) -> None:
    """The request falls back as it would have when it began."""
    held = asyncio.Event()

    async def failing(conversation: Conversation) -> None:
        await conversation.request()
        await held.wait()
        conversation.close()

    backend = harness.backend("v3", failing)
    harness.backend("v2")
    harness.use(route("v3", fallback="v2", pure=True))
    client = await harness.client()
    await client.send(post(b"x"))
    await wait_until(lambda: backend.requests, "the backend is asked")
    del harness.specs["v2"]
    harness.use(route("v3"))
    held.set()
    assert (await client.answer()).body == b"v2"


async def test_a_mirror_is_removed_in_the_middle_of_an_upload(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4")))
    client, rest = await half_sent(harness, b"hello hello")
    del harness.specs["v4"]
    harness.use(route("v2"))
    await client.send(rest)
    assert (await client.answer()).body == b"v2"
    assert harness.mirrors("v4") == {"dropped_no_endpoint": 1}


async def test_a_backend_is_removed_in_the_middle_of_an_upload(harness: Harness) -> None:
    old = harness.backend("v2")
    harness.use(route("v2"))
    client, rest = await half_sent(harness, b"hello hello")
    del harness.specs["v2"]
    harness.backend("v3")
    harness.use(route("v3"))
    await client.send(rest)
    assert (await client.answer()).body == b"v2"
    await old.conversations[0].over()


# ── drain ─────────────────────────────────────────────────────────────────────────────────────────


async def draining(harness: Harness, seconds: float = 5.0) -> asyncio.Task[None]:
    task = asyncio.create_task(harness.plane.drain(seconds))
    await wait_until(lambda: harness.plane.draining)
    return task


async def test_a_drain_lets_requests_finish(harness: Harness) -> None:
    held = Held()
    backend = harness.backend("v2", held)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(b"x"))
    await wait_until(lambda: backend.requests, "the backend is asked")
    drain = await draining(harness)
    held.release.set()
    answer = await client.answer()
    assert (answer.body, answer.field("connection")) == (b"v2", b"close")
    assert await client.rest() == (b"", "closed")
    await drain
    assert not harness.plane.clients


async def test_a_drain_refuses_new_connections(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    await (await draining(harness))
    with pytest.raises(ConnectionRefusedError):
        await harness.client()


async def test_whoever_waits_at_the_door_is_let_in(harness: Harness) -> None:
    """The kernel has accepted them already, and would reset them."""
    harness.backend("v2")
    harness.use(route("v2"))
    clients = []
    for _ in range(5):
        sock = socket.create_connection(("127.0.0.1", harness.port))
        sock.sendall(get())
        clients.append(Wire(sock))
    harness.wires += clients
    drain = asyncio.create_task(harness.plane.drain(5))
    for client in clients:
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (200, b"close")
    await drain


async def test_whoever_says_nothing_does_not_hold_up_a_drain(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one let in last, nor one in the middle of a head; the head gets its 408."""
    monkeypatch.setattr("crossfade.dataplane.downstream.DRAIN_IDLE", 0.05)
    monkeypatch.setattr("crossfade.dataplane.listener.DRAIN_IDLE", 0.05)
    harness.backend("v2")
    harness.use(route("v2"))
    dripping = await harness.client()
    await dripping.send(b"GET / HT")
    await wait_until(lambda: any(c.buffer for c in harness.plane.clients))
    late = Wire(socket.create_connection(("127.0.0.1", harness.port)))
    harness.wires.append(late)
    drain = await draining(harness, 60)
    assert (await dripping.answer()).status == 408
    dripping.close()
    assert await late.rest() == (b"", "closed")
    async with asyncio.timeout(5):
        await drain


async def test_an_idle_client_may_send_a_last_request(harness: Harness) -> None:
    """It could not know; the answer says that it is the last one."""
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    drain = await draining(harness)
    await client.send(get())
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (200, b"close")
    await drain


async def test_an_idle_client_does_not_hold_up_a_drain(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.dataplane.downstream.DRAIN_IDLE", 0.05)
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    async with asyncio.timeout(5):
        await (await draining(harness, 60))
    assert await client.rest() == (b"", "closed")


async def test_a_client_whose_answer_began_before_does_not_hold_up_a_drain(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its head could not say that it is the last one, and its end comes after the idle ones were sent home."""
    monkeypatch.setattr("crossfade.dataplane.downstream.DRAIN_IDLE", 0.05)
    finishing = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await finishing.wait()
        await conversation.send(b"cd")

    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    idle = await harness.client()
    await client.send(get())
    head = await client.head()
    drain = await draining(harness, 60)
    await idle.rest()
    finishing.set()
    await client.body(head)
    assert head.body == b"abcd"
    async with asyncio.timeout(5):
        await drain


async def test_a_drain_ends_in_time(harness: Harness) -> None:
    """What is not finished by then is cut, and is nobody's fault."""
    backend = harness.backend("v2", silent)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await wait_until(lambda: backend.conversations and backend.conversations[0].received, "it is asked")
    await harness.plane.drain(0.1)
    with pytest.raises(Ended):
        await client.answer()
    cell = await harness.cell("v2")
    assert (cell.codes, cell.errors, cell.abandoned) == ({499: 1}, 0, 1)
    await backend.conversations[0].over()


async def test_pipelined_requests_are_answered_in_a_drain(harness: Harness) -> None:
    """Up to the one whose answer says that it is the last; what came behind it was never begun."""
    held = Held()
    backend: ScriptedBackend = harness.backend("v2", held)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get() * 3)
    await wait_until(lambda: backend.requests, "the backend is asked")
    drain = await draining(harness)
    held.release.set()
    assert (await client.answer()).field("connection") == b"close"
    assert await client.rest() == (b"", "closed")
    client.close()
    await drain
    assert len(harness.accepted) == 1


async def test_an_error_in_a_drain_closes_as_well(harness: Harness) -> None:
    harness.refusing("v2")
    harness.backend("v3", naming)
    harness.use(route("v2"))
    client = await harness.client()
    await wait_until(lambda: harness.plane.clients)
    drain = await draining(harness)
    await client.send(get())
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (502, b"close")
    await drain
