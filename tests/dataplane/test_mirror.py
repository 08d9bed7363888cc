"""Copies: marked, identical, counted; they never delay, change or fail what the client sees (law 7)."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from crossfade.routing.ledger import BUCKETS
from crossfade.routing.snapshot import Match
from tests.dataplane.plane import Harness, connecting_slowly, mirrored, route, settle
from tests.dataplane.scripted import Conversation, Script, answering, closing, each, silent
from tests.dataplane.wire import Message, chunked, get, ok, post, wait_until

BODY = bytes(range(256)) * 3
SOON = 0.1
CODED = b"POST /predict HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("raw", [get(), post(BODY), CODED + chunked(BODY[:300], BODY[300:])])
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


async def test_copies_are_counted_as_shadow(harness: Harness) -> None:
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
    assert len(harness.backends["v4"].conversations) == 1, "copies keep their connections, too"


async def test_a_sample_is_copied(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_several_mirrors(harness: Harness) -> None:
    for name in ("v2", "v3", "v4"):
        harness.backend(name)
    harness.use(route("v2", mirrors=mirrored("v3") + mirrored("v4")))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).body == b"v2"
    await harness.quiet()
    assert (harness.mirrors("v3"), harness.mirrors("v4")) == ({"sent": 1}, {"sent": 1})


# ── a mirror that misbehaves ──────────────────────────────────────────────────────────────────────


async def never_reading(conversation: Conversation) -> None:
    await asyncio.Event().wait()


MISBEHAVING: dict[str, tuple[Script, int]] = {
    "closes": (closing(b""), 502),
    "garbage": (closing(b"garbage\r\n\r\n"), 502),
    "truncates": (closing(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), 502),
    "stalls": (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), 504),
    "hangs": (silent, 504),
    "never reads": (never_reading, 504),
}


@pytest.mark.parametrize("script, status", MISBEHAVING.values(), ids=MISBEHAVING)
async def test_a_mirror_that_misbehaves(harness: Harness, script: Script, status: int) -> None:
    """The client has its answer before anything comes of the copy."""
    harness.backend("v2")
    harness.backend("v4", script, first_byte_timeout=SOON, idle_timeout=SOON)
    harness.use(route("v2", mirrors=mirrored("v4"), inspect_limit=8 * 1024 * 1024))
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


async def test_a_mirror_that_refuses_connections(harness: Harness) -> None:
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


async def test_the_client_is_answered_while_the_copy_waits(harness: Harness) -> None:
    """In this order: the copy arrives, the client is answered (many times), the copy is answered."""
    order: list[str] = []
    answered = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        order.append("copy arrives")
        await answered.wait()
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
    answered.set()
    await harness.quiet()
    assert order.index("client answered") < order.index("copy answered")
    assert harness.mirrors("v4") == {"sent": 21}


async def test_copies_use_connections_of_their_own(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that also serves the split does not lose its in-flight places or connections to copies."""
    harness.backend("v2")
    harness.backend("v3", silent, max_in_flight=1)
    harness.use(
        route("v2", name="main", mirrors=mirrored("v3")),
    )
    client = await harness.client()
    for _ in range(3):
        await client.send(get())
        assert (await client.answer()).body == b"v2"
    await wait_until(lambda: len(harness.backends["v3"].conversations) == 3, "all copies are under way")
    assert harness.plane.in_flight() == {"v2": 0, "v3": 0}


# ── budgets ───────────────────────────────────────────────────────────────────────────────────────


async def test_copies_in_flight_are_limited(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.dataplane.mirror.IN_FLIGHT_LIMIT", 2)
    answered = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await answered.wait()
        await conversation.send(ok(b"v4"))

    harness.backend("v2")
    harness.backend("v4", each(handler))
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    for _ in range(5):
        await client.send(get())
        await client.answer()
    assert harness.mirrors("v4") == {"dropped_in_flight": 3}
    answered.set()
    await harness.quiet()
    assert harness.mirrors("v4") == {"dropped_in_flight": 3, "sent": 2}
    await client.send(get())
    await client.answer()
    await harness.quiet()
    assert harness.mirrors("v4")["sent"] == 3, "there is room again"


async def test_bytes_held_are_limited(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.dataplane.mirror.BYTES_LIMIT", 5000)
    harness.backend("v2")
    harness.backend("v4", silent, first_byte_timeout=SOON)
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    for _ in range(4):
        await client.send(post(b"x" * 2000))
        assert (await client.answer()).status == 200
    assert harness.mirrors("v4") == {"dropped_bytes": 2}
    await harness.quiet()
    assert harness.mirrors("v4") == {"dropped_bytes": 2, "failed": 2}


@pytest.mark.parametrize("coded", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("over", [0, 1])
async def test_bodies_over_the_inspect_limit_are_not_copied(
    harness: Harness, coded: bool, pieces: int, over: int
) -> None:
    """However they arrive; nobody would have kept them."""
    harness.backend("v2")
    harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4"), inspect_limit=len(BODY)))
    client = await harness.client()
    body = BODY + b"x" * over
    raw = CODED + chunked(body) if coded else post(body)
    step = -(-len(raw) // pieces)
    for n in range(0, len(raw), step):
        await client.send(raw[n : n + step])
        await settle()
    assert (await client.answer()).status == 200
    await harness.quiet()
    assert harness.backends["v2"].requests[0].body == body
    assert harness.mirrors("v4") == ({"dropped_body_size": 1} if over else {"sent": 1})
    assert [r.body for r in harness.backends["v4"].requests] == ([] if over else [body])


async def test_the_limit_is_that_of_the_route_that_takes_the_request(harness: Harness) -> None:
    """Another route wanted to look into the body and gave up; this one copies it, and in whole."""
    backend = harness.backend("v2")
    harness.backend("v4")
    harness.use(
        route("v2", name="small", match=Match(json=(("a", 1),)), inspect_limit=len(BODY) // 2),
        route("v2", name="large", mirrors=mirrored("v4")),
    )
    client = await harness.client()
    await client.send(get())
    await client.answer()
    raw = post(BODY)
    await client.send(raw[:-100])
    await wait_until(lambda: BODY[:500] in backend.conversations[0].received, "it is on its way")
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
    await wait_until(lambda: harness.plane.active, "it waits for a connection")
    await client.send(raw[-10:])
    (exchange,) = harness.plane.active
    await wait_until(lambda: exchange.request_done, "the body is here")
    opening.set()
    assert (await client.answer()).status == 200
    await harness.quiet()
    assert harness.mirrors("v4") == {"sent": 1}
    assert harness.backends["v4"].requests[0].body == BODY


async def test_a_mirror_without_endpoints(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v4")
    harness.down("v4")
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).status == 200
    assert harness.mirrors("v4") == {"dropped_no_endpoint": 1}
    assert await harness.shadow("v4") is None


async def test_a_drain_drops_copies_and_blames_nobody(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v4", silent)
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    await harness.plane.drain(0)
    assert harness.mirrors("v4") == {"dropped_drain": 1}
    assert await harness.shadow("v4") is None


async def test_the_answer_to_a_copy_may_be_large(harness: Harness) -> None:
    """It is read and dropped, whatever its size and framing."""
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
