"""Reloads: a new snapshot loses no request (law 9)."""

from __future__ import annotations

import asyncio
from collections import Counter

from msgspec.structs import replace

from crossfade.dataplane.listener import DataPlane
from crossfade.routing.ledger import reweigh, salt_of
from crossfade.routing.snapshot import Mirror
from crossfade.workers.worker import status_of
from tests.dataplane.plane import Harness, endpoint, mirrored, route, settle, sticky
from tests.dataplane.scripted import Conversation, Held
from tests.dataplane.wire import get, more, post, wait_until


async def send_until_stopped(
    harness: Harness, answers: Counter[str], stopping: asyncio.Event, raw: bytes
) -> None:
    """Send one request after the other on one connection, and count the backends."""
    client = await harness.client()
    while not stopping.is_set():
        await client.send(raw)
        answer = await client.answer()
        assert answer.status == 200
        assert answer.body.decode() == answer.backend
        answers[answer.backend] += 1


async def test_reloads_under_load_lose_no_request(harness: Harness) -> None:
    """Eight clients send without pause while 30 reloads change the split, the mirror and the backends."""
    for name in ("v2", "v3", "v4"):
        harness.backend(name)
    all_specs = dict(harness.specs)
    harness.use(route("v2"))
    answers: Counter[str] = Counter()
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for n in range(8):
            tasks.create_task(send_until_stopped(harness, answers, stopping, post(b"%d" % n)))
        for n in range(30):
            harness.specs = {k: v for k, v in all_specs.items() if k != ("v3", "v4")[n % 2]}
            other = ("v4", "v3")[n % 2]
            harness.use(route({"v2": 10_000 - 300 * n, other: 300 * n}, mirrors=(Mirror(other, 5000),)))
            await more(answers, 20)
        stopping.set()
    assert set(answers) == {"v2", "v3", "v4"}
    cells = [await harness.cell(name) for name in all_specs]
    assert sum(c.requests for c in cells) == answers.total()
    assert [c.errors for c in cells] == [0, 0, 0]


async def test_new_weights_apply_to_the_next_request(harness: Harness) -> None:
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


async def test_a_request_in_flight_ends_at_its_backend_after_the_backend_is_removed(harness: Harness) -> None:
    """Then the connections of the removed backend close."""
    held = Held()
    old = harness.backend("v2", held)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(b"x"))
    await wait_until(lambda: old.requests, "the request is at the backend")
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


async def test_a_reload_keeps_the_connections_of_unchanged_backends(harness: Harness) -> None:
    backend = harness.backend("v2")
    client = await harness.client()
    for _ in range(3):
        harness.use(route("v2"))
        await client.send(get())
        assert (await client.answer()).status == 200
    assert len(backend.conversations) == 1


# ── a reload during a request ─────────────────────────────────────────────────────────────────────


async def half_sent_request(harness: Harness, body: bytes):
    """A client that has sent all but four bytes of its request, and these bytes."""
    client = await harness.client()
    raw = post(body)
    await client.send(raw[:-4])
    await wait_until(lambda: harness.accepted, "the exchange begins")
    await settle()
    return client, raw[-4:]


async def test_a_request_not_yet_assigned_uses_the_new_snapshot(harness: Harness) -> None:
    """The key is in the body, so no backend is assigned before the body is complete."""
    harness.backend("v2")
    harness.use(route("v2", sticky=sticky("json", "id")))
    client, rest = await half_sent_request(harness, b'{"id": 12345}')
    del harness.specs["v2"]
    harness.backend("v3")
    harness.use(route("v3", sticky=sticky("json", "id")))
    await client.send(rest)
    assert (await client.answer()).body == b"v3"


async def test_a_removed_fallback_still_serves_the_requests_in_flight(harness: Harness) -> None:
    """A request keeps the fallback of the snapshot with which it began."""
    release = asyncio.Event()

    async def failing(conversation: Conversation) -> None:
        await conversation.request()
        await release.wait()
        conversation.close()

    backend = harness.backend("v3", failing)
    harness.backend("v2")
    harness.use(route("v3", fallback="v2", pure=True))
    client = await harness.client()
    await client.send(post(b"x"))
    await wait_until(lambda: backend.requests, "the request is at the backend")
    del harness.specs["v2"]
    harness.use(route("v3"))
    release.set()
    assert (await client.answer()).body == b"v2"


async def test_the_copy_to_a_mirror_removed_during_the_upload_is_dropped(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4")))
    client, rest = await half_sent_request(harness, b"hello hello")
    del harness.specs["v4"]
    harness.use(route("v2"))
    await client.send(rest)
    assert (await client.answer()).body == b"v2"
    assert harness.mirrors("v4") == {"dropped_no_endpoint": 1}


async def test_a_backend_removed_during_an_upload_still_answers_it(harness: Harness) -> None:
    old = harness.backend("v2")
    harness.use(route("v2"))
    client, rest = await half_sent_request(harness, b"hello hello")
    del harness.specs["v2"]
    harness.backend("v3")
    harness.use(route("v3"))
    await client.send(rest)
    assert (await client.answer()).body == b"v2"
    await old.conversations[0].over()


async def test_before_the_first_snapshot_a_sweep_and_a_report_find_nothing() -> None:
    plane = DataPlane()
    plane.sweep(plane.loop.time())
    assert (status_of(plane, 0).generation, plane.in_flight(), plane.take().cells) == (0, {}, [])
    await plane.drain(0)
