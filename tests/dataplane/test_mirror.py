"""Copies are marked, identical to the request, and counted. They never delay, change or fail the client's answer (law 7)."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from crossfade.routing.ledger import BUCKETS
from crossfade.routing.snapshot import Match, Mirror
from tests.dataplane.plane import Harness, connecting_slowly, mirrored, route, settle
from tests.dataplane.scripted import Conversation, answering, each, silent
from tests.dataplane.wire import Message, chunked, get, ok, post, wait_until

BODY = bytes(range(256)) * 3
SHORT = 0.5  # seconds; a timeout that must expire, with room for a loaded machine
CHUNKED_HEAD = b"POST /predict HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("raw", [get(), post(BODY), CHUNKED_HEAD + chunked(BODY[:300], BODY[300:])])
async def test_a_copy_is_marked_and_identical(harness: Harness, raw: bytes, bytewise: bool) -> None:
    harness.backend("v2")
    harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    await (client.send_bytewise(raw) if bytewise else client.send(raw))
    answer = await client.answer()
    assert (answer.body, answer.backend, answer.field("x-crossfade-mirror")) == (b"v2", "v2", None)
    await harness.quiet()
    (original,), (copy,) = (harness.backends[name].requests for name in ("v2", "v4"))
    assert (copy.first, copy.body) == (original.first, original.body)
    assert copy.field("x-crossfade-mirror") == b"1"
    assert original.field("x-crossfade-mirror") is None
    assert copy.field("x-request-id") == original.field("x-request-id") == answer.field("x-request-id")
    assert copy.field("host") == b"models"
    assert harness.mirrors("v4") == {"sent": 1}


async def test_copies_are_counted_in_the_shadow_role(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v4", answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"))
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    for _ in range(3):
        await client.send(post(BODY))
        assert (await client.answer()).status == 200
    shadow = await harness.shadow("v4")
    assert shadow is not None
    assert (shadow.requests, shadow.errors, shadow.codes) == (3, 3, {500: 3})
    assert shadow.duration.count == 3
    champion = await harness.cell("v2")
    assert (champion.requests, champion.errors) == (3, 0)
    assert len(harness.backends["v4"].conversations) == 1, "copies reuse their connection"


async def test_the_configured_share_of_requests_is_copied(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.dataplane.mirror.random", Random(1).random)
    harness.backend("v2")
    harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4", BUCKETS // 4)))
    client = await harness.client()
    for _ in range(10):
        await client.send(get() * 40)
        for _ in range(40):
            assert (await client.answer()).body == b"v2"
    await harness.quiet()
    copies = harness.mirrors("v4")["sent"]
    assert 70 < copies < 130, "a quarter of 400, within 3.5 standard deviations"
    assert len(harness.backends["v4"].requests) == copies


async def test_each_mirror_of_a_route_gets_a_copy(harness: Harness) -> None:
    for name in ("v2", "v3", "v4"):
        harness.backend(name)
    harness.use(route("v2", mirrors=mirrored("v3") + mirrored("v4")))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).body == b"v2"
    await harness.quiet()
    assert (harness.mirrors("v3"), harness.mirrors("v4")) == ({"sent": 1}, {"sent": 1})


# ── limits ────────────────────────────────────────────────────────────────────────────────────────


async def test_copies_in_flight_are_limited(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.dataplane.mirror.IN_FLIGHT_LIMIT", 2)
    release = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await release.wait()
        await conversation.send(ok(b"v4"))

    harness.backend("v2")
    harness.backend("v4", each(handler))
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    for _ in range(5):
        await client.send(get())
        await client.answer()
    assert harness.mirrors("v4") == {"dropped_in_flight": 3}
    release.set()
    await harness.quiet()
    assert harness.mirrors("v4") == {"dropped_in_flight": 3, "sent": 2}
    await client.send(get())
    await client.answer()
    await harness.quiet()
    assert harness.mirrors("v4")["sent"] == 3, "a place is free again"


async def test_bytes_held_are_limited(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.dataplane.mirror.BYTES_LIMIT", 5000)
    harness.backend("v2")
    harness.backend("v4", silent, first_byte_timeout=2 * SHORT)
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    for _ in range(4):
        await client.send(post(b"x" * 2000))
        assert (await client.answer()).status == 200
    assert harness.mirrors("v4") == {"dropped_bytes": 2}
    await harness.quiet()
    assert harness.mirrors("v4") == {"dropped_bytes": 2, "failed": 2}


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("excess", [0, 1])
async def test_bodies_over_the_replay_limit_are_not_copied(
    harness: Harness, is_chunked: bool, pieces: int, excess: int
) -> None:
    """The limit holds for each framing and number of pieces."""
    harness.backend("v2")
    harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4"), replay_limit=len(BODY)))
    client = await harness.client()
    body = BODY + b"x" * excess
    raw = CHUNKED_HEAD + chunked(body) if is_chunked else post(body)
    step = -(-len(raw) // pieces)
    for n in range(0, len(raw), step):
        await client.send(raw[n : n + step])
        await settle()
    assert (await client.answer()).status == 200
    await harness.quiet()
    assert harness.backends["v2"].requests[0].body == body
    assert harness.mirrors("v4") == ({"dropped_body_size": 1} if excess else {"sent": 1})
    assert [r.body for r in harness.backends["v4"].requests] == ([] if excess else [body])


async def test_the_replay_limit_of_the_matched_route_counts_for_copies(harness: Harness) -> None:
    """The body is over the inspect limit of another route. The matched route still copies the whole body."""
    backend = harness.backend("v2")
    harness.backend("v4")
    harness.use(
        route(
            "v2",
            name="small",
            match=Match(json=(("a", 1),)),
            inspect_limit=len(BODY) // 2,
            absent_beyond=True,
        ),
        route("v2", name="large", mirrors=mirrored("v4")),
    )
    client = await harness.client()
    await client.send(get())
    await client.answer()
    raw = post(BODY)
    await client.send(raw[:-100])
    await wait_until(lambda: BODY[:500] in backend.conversations[0].received, "the first part is forwarded")
    await client.send(raw[-100:])
    assert (await client.answer()).status == 200
    await harness.quiet()
    assert harness.backends["v4"].requests[-1].body == BODY


async def test_a_body_that_ends_while_a_connection_is_opened_is_copied(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = connecting_slowly(monkeypatch)
    harness.backend("v2")
    harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    raw = post(BODY)
    await client.send(raw[:-10])
    await wait_until(lambda: harness.plane.active, "the exchange waits for a connection")
    await client.send(raw[-10:])
    (exchange,) = harness.plane.active
    await wait_until(lambda: exchange.request_done, "the body is complete")
    opening.set()
    assert (await client.answer()).status == 200
    await harness.quiet()
    assert harness.mirrors("v4") == {"sent": 1}
    assert harness.backends["v4"].requests[0].body == BODY


async def test_a_copy_to_a_mirror_without_endpoints_is_dropped(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v4")
    harness.down("v4")
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).status == 200
    assert harness.mirrors("v4") == {"dropped_no_endpoint": 1}
    assert await harness.shadow("v4") is None


async def test_a_drain_drops_copies_and_counts_no_failure(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v4", silent)
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    await harness.plane.drain(0)
    assert harness.mirrors("v4") == {"dropped_drain": 1}
    assert await harness.shadow("v4") is None


async def test_a_large_answer_to_a_copy_is_read_and_dropped(harness: Harness) -> None:
    harness.backend("v2")
    large = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 3_000_000, b"y")
    harness.backend("v4", answering(large))
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    for _ in range(2):
        await client.send(get())
        assert (await client.answer()).body == b"v2"
        await harness.quiet()
    assert harness.mirrors("v4") == {"sent": 2}
    assert len(harness.backends["v4"].conversations) == 1


async def test_only_the_copies_of_the_request_whose_client_left_are_taken_back(harness: Harness) -> None:
    """Those of mirrors that say so; other requests keep theirs."""
    harness.backend("v2", silent)
    released = asyncio.Event()

    async def slow(conversation: Conversation, request: Message) -> None:
        await released.wait()
        await conversation.send(ok(b""))

    for name in ("v3", "v4"):
        harness.backend(name, each(slow))
    own = Mirror("v4", BUCKETS, abandoned=False)
    harness.use(route("v2", mirrors=(*mirrored("v3"), own)))
    leaving, staying = await harness.client(), await harness.client()
    for client in (leaving, staying):
        await client.send(get())
    await wait_until(lambda: len(harness.plane.mirrors.copies) == 4, "the copies are in flight")
    leaving.close()
    await wait_until(lambda: harness.mirrors("v4"), "one copy ends")
    assert len(harness.plane.mirrors.copies) == 3
    released.set()
    staying.close()
    await harness.quiet()
    assert sum(harness.mirrors("v4").values()) == 2
    assert harness.mirrors("v4")["dropped_abandoned"] >= 1
    assert harness.mirrors("v3") == {"sent": 2}
    assert harness.plane.mirrors.tied == {}


async def test_a_copy_that_ends_after_its_client_s_answer_is_not_taken_back(harness: Harness) -> None:
    """Nor when the connection closes then."""
    harness.backend("v2")
    released = asyncio.Event()

    async def slow(conversation: Conversation, request: Message) -> None:
        await released.wait()
        await conversation.send(ok(b""))

    harness.backend("v4", each(slow))
    harness.use(route("v2", mirrors=(Mirror("v4", BUCKETS, abandoned=False),)))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).body == b"v2"
    client.close()
    await settle()
    released.set()
    await harness.quiet()
    assert (harness.mirrors("v4"), harness.plane.mirrors.tied) == ({"sent": 1}, {})
