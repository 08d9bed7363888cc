"""Bodies above 64 KiB on routes that read them: the field is found as the body passes, and little of it is held."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.dataplane.downstream import Downstream
from crossfade.dataplane.inspection import WHOLE
from crossfade.routing.ledger import BUCKETS
from crossfade.routing.snapshot import Match, Sticky
from tests.dataplane.plane import Harness, route, settle, sticky
from tests.dataplane.scripted import Conversation, naming
from tests.dataplane.wire import Wire, chunked, get, post, wait_until

MIB = 1024 * 1024
CHAT = "/v1/chat/completions"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: models\r\n"
LARGE = Match(path=CHAT, json=(("model", "large-1"),))


def front(size: int, value: bytes = b'"large-1"', name: bytes = b"model") -> bytes:
    """The field, and then a prompt of this many bytes."""
    return b'{"%b": %b, "messages": [{"role": "user", "content": "%b"}]}' % (name, value, b"w" * size)


def back(size: int, value: bytes = b'"large-1"', name: bytes = b"model") -> bytes:
    return b'{"messages": [{"role": "user", "content": "%b"}], "%b": %b}' % (b"w" * size, name, value)


def raw(body: bytes, is_chunked: bool) -> bytes:
    if not is_chunked:
        return post(body, CHAT)
    return (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body[: len(body) // 3], body[len(body) // 3 :])
    )


def unread(harness: Harness) -> dict[str, int]:
    return harness.plane.recorder.table.unread


def two_models(harness: Harness, **options: Any) -> None:
    for name in ("small", "large"):
        harness.backend(name)
    harness.use(
        route("small", name="small", match=Match(path=CHAT, json=(("model", "small-1"),)), **options),
        route("large", name="large", match=LARGE, **options),
    )


async def read_part(conversation: Conversation) -> None:
    await conversation.head()
    await conversation.watch()


async def send_in(client: Wire, data: bytes, piece: int) -> None:
    for start in range(0, len(data), piece):
        await client.send(data[start : start + piece])
        if start < 20 * piece:
            await settle(3)


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("piece", [997, 70_000, 2 * MIB])
@pytest.mark.parametrize(
    "body", [front(66_000), back(66_000), back(900_000)], ids=["front", "back", "far back"]
)
async def test_a_field_of_a_long_body_chooses_the_route(
    harness: Harness, body: bytes, piece: int, is_chunked: bool
) -> None:
    two_models(harness)
    client = await harness.client()
    await send_in(client, raw(body, is_chunked), piece)
    answer = await client.answer()
    assert (answer.status, answer.backend) == (200, "large")
    (request,) = harness.backends["large"].requests
    assert request.body == body
    assert unread(harness) == {}


async def test_a_body_is_sent_byte_by_byte_around_the_length_from_which_it_is_scanned(
    harness: Harness,
) -> None:
    two_models(harness)
    body = back(WHOLE - len(back(0)) + 3)
    client = await harness.client()
    sent = raw(body, True)
    await client.send(sent[:-60])
    await client.send_bytewise(sent[-60:])
    assert (await client.answer()).backend == "large"
    assert harness.backends["large"].requests[0].body == body


@pytest.mark.parametrize("size", [100, WHOLE - 200, WHOLE, 3 * WHOLE])
async def test_a_customer_with_long_bodies_keeps_the_backend(harness: Harness, size: int) -> None:
    for name in ("v2", "v3"):
        harness.backend(name, naming)
    harness.use(route({"v2": BUCKETS // 2, "v3": BUCKETS // 2}, sticky=sticky("json", "customer_id")))
    client = await harness.client()
    for customer in range(8):
        backends = set()
        for make in (front, back):
            for body in (
                make(10, b"%d" % customer, b"customer_id"),
                make(size, b'"%d"' % customer, b"customer_id"),
            ):
                await client.send(post(body))
                backends.add((await client.answer()).backend)
        assert len(backends) == 1
    cells = harness.plane.recorder.table.cells.values()
    assert sum(cell.unkeyed for cell in cells) == 0


async def test_a_body_of_50_mib_goes_on_once_its_field_is_found(harness: Harness) -> None:
    """The first part is at the backend before the rest is sent; nothing is held."""

    async def read_part(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.watch()

    backend = harness.backend("large", read_part)
    harness.use(route("large", match=LARGE))
    client = await harness.client()
    await client.send(HEAD + b"Content-Length: %d\r\n\r\n" % (50 * MIB) + front(30_000)[:-3])
    await wait_until(lambda: backend.conversations and b"large-1" in backend.conversations[0].received)
    await client.send(b"w" * 200_000)
    await wait_until(lambda: len(backend.conversations[0].received) > 230_000)
    (exchange,) = harness.plane.active
    assert harness.plane.held_bytes == 0
    assert len(exchange.whole_body()) == 0, "too long to be sent again"
    client.reset()


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_a_field_behind_the_limit_is_413_with_the_reason(harness: Harness, is_chunked: bool) -> None:
    two_models(harness, inspect_limit=100_000)
    client = await harness.client()
    await client.send(raw(back(120_000), is_chunked))
    answer = await client.answer()
    assert (answer.status, answer.error) == (413, b"downstream/limits")
    assert b"The JSON field model was not found in the first 100000 bytes of the body." in answer.body
    assert unread(harness) == {"small:too_large": 1}
    assert harness.plane.recorder.table.refused == {"413:limits": 1}


async def test_a_sticky_key_behind_the_limit_is_413_where_another_key_is_not_there(harness: Harness) -> None:
    harness.backend("v2")
    keys = (Sticky("header", "x-user"), Sticky("json", "user"))
    harness.use(route("v2", sticky=keys, inspect_limit=80_000))
    client = await harness.client()
    await client.send(post(back(90_000, name=b"user"), fields=[b"X-User: u1"]))
    assert (await client.answer()).status == 200
    assert (await harness.cell("v2")).unkeyed == 0
    await client.send(post(back(90_000, name=b"user")))
    answer = await client.answer()
    assert (answer.status, b"JSON field user" in answer.body) == (413, True)


async def test_a_field_behind_the_limit_can_be_taken_for_absent(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2", sticky=sticky("json", "user"), inspect_limit=80_000, absent_beyond=True))
    client = await harness.client()
    body = back(200_000, name=b"user")
    await client.send(post(body))
    assert (await client.answer()).status == 200
    assert backend.requests[0].body == body
    assert (await harness.cell("v2")).unkeyed == 1
    assert unread(harness) == {"churn:too_large": 1}


async def test_a_field_that_comes_again_behind_the_route_is_400(harness: Harness) -> None:
    """The model would read the last value, the proxy has used the first. The backend is not blamed."""

    async def read_part(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.watch()

    backend = harness.backend("large", read_part)
    harness.use(route("large", match=LARGE))
    client = await harness.client()
    body = front(100_000)[:-1] + b', "x": NaN, "mod\\u0065l": "small-1"}'
    sent = post(body, CHAT)
    await client.send(sent[:90_000])
    await wait_until(lambda: backend.conversations and b"large-1" in backend.conversations[0].received)
    await client.send(sent[90_000:])
    answer = await client.answer()
    assert (answer.status, answer.error) == (400, b"downstream/parse")
    assert b"more than once" in answer.body
    cell = await harness.cell("large")
    assert (cell.requests, cell.errors, cell.abandoned) == (1, 0, 1)
    assert await backend.conversations[0].over()
    assert b"mod\\u0065l" not in backend.conversations[0].received


@pytest.mark.parametrize("piece", [5_000, MIB])
async def test_whether_a_field_comes_again_does_not_depend_on_the_pieces(
    harness: Harness, piece: int
) -> None:
    two_models(harness)
    client = await harness.client()
    await send_in(client, post(front(100_000)[:-1] + b', "model": "small-1"}', CHAT), piece)
    assert (await client.answer()).status == 400


async def test_of_two_fields_in_a_short_body_the_last_one_counts(harness: Harness) -> None:
    two_models(harness)
    client = await harness.client()
    await client.send(post(front(10)[:-1] + b', "model": "small-1"}', CHAT))
    assert (await client.answer()).backend == "small"


async def test_bodies_that_wait_for_their_route_have_a_limit_in_all(harness: Harness) -> None:
    harness.backend("large")
    harness.use(route("large", match=LARGE), held_bytes=150_000)
    first, second, short = [await harness.client() for _ in range(3)]
    body = post(back(200_000), CHAT)
    await first.send(body[:180_000])
    await wait_until(lambda: harness.plane.held_bytes > 100_000, "the first body waits")
    await second.send(body[:180_000])
    answer = await second.answer()
    assert (answer.status, answer.error, answer.field("retry-after")) == (503, b"internal/overload", b"1")
    assert b"Too many long request bodies are held." in answer.body
    assert unread(harness) == {"churn:no_room": 1}
    part = post(back(1000), CHAT)
    await short.send(part[:800])
    await settle()
    await short.send(part[800:])
    assert (await short.answer()).status == 200, "short bodies have room in any case"
    await first.send(body[180_000:])
    assert (await first.answer()).status == 200
    assert harness.plane.held_bytes == 0


async def test_a_client_that_leaves_gives_its_room_back(harness: Harness) -> None:
    harness.backend("large")
    harness.use(route("large", match=LARGE))
    client = await harness.client()
    await client.send(post(back(200_000), CHAT)[:180_000])
    await wait_until(lambda: harness.plane.held_bytes > 100_000, "the body waits")
    client.reset()
    await wait_until(lambda: harness.plane.held_bytes == 0, "the room is given back")


async def test_a_reload_changes_what_a_body_that_is_under_way_is_searched_for(harness: Harness) -> None:
    for name in ("v2", "v3"):
        harness.backend(name)
    harness.use(route("v2", match=Match(json=(("model", "large-1"),))))
    client = await harness.client()
    body = post(b'{"kind": "b", ' + back(100_000)[1:])
    await client.send(body[:90_000])
    await wait_until(lambda: harness.plane.held_bytes > 0)
    harness.use(route("v3", match=Match(json=(("kind", "b"),))))
    await client.send(body[90_000:])
    assert (await client.answer()).backend == "v3"


async def test_a_reload_to_a_route_without_fields_takes_a_body_that_is_under_way(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", match=LARGE))
    client = await harness.client()
    body = post(back(100_000), CHAT)
    await client.send(body[:90_000])
    await wait_until(lambda: harness.plane.held_bytes > 0)
    harness.use(route("v2"))
    await client.send(body[90_000:])
    assert (await client.answer()).status == 200
    assert harness.backends["v2"].requests[0].body == back(100_000)


async def test_a_reload_to_a_route_without_fields_ends_the_search_of_a_body(harness: Harness) -> None:
    """No route reads the field any more, so it may come twice; and nothing of the body is kept for the search."""
    backend = harness.backend("v2", read_part)
    harness.use(route("v2", match=LARGE))
    client = await harness.client()
    body = back(150_000)[:-1] + b', "model": "large-2"}'
    raw = post(body, CHAT)
    await client.send(raw[:90_000])
    await wait_until(lambda: harness.plane.held_bytes > 0)
    harness.use(route("v2"))
    await client.send(raw[90_000:120_000])
    await wait_until(lambda: backend.conversations and b"www" in backend.conversations[0].received)
    (exchange,) = harness.plane.active
    assert exchange.inspection is None or exchange.inspection.parts == []
    await client.send(raw[120_000:])
    await wait_until(lambda: backend.conversations[0].received.endswith(body[-120:]), "all of it is sent")


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_above_the_limit_of_all_routes_is_refused_before_its_field_is_found(
    harness: Harness, is_chunked: bool
) -> None:
    two_models(harness, body_limit=100_000)
    client = await harness.client()
    stated = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 200000"
    part = back(150_000)[:120_000]
    framing = chunked(part).removesuffix(b"0\r\n\r\n") if is_chunked else b"{"
    await client.send(HEAD + stated + b"\r\n\r\n" + framing)
    answer = await client.answer()
    assert (answer.status, b"larger than the limit" in answer.body) == (413, True)


async def test_the_fallback_gets_a_long_body_that_was_held(harness: Harness) -> None:
    harness.refusing("large")
    backend = harness.backend("v2")
    harness.use(route("large", match=LARGE, fallback="v2"))
    client = await harness.client()
    body = back(300_000)
    await client.send(post(body, CHAT))
    answer = await client.answer()
    assert (answer.status, answer.backend) == (200, "v2")
    assert backend.requests[0].body == body


async def test_a_short_body_that_is_deeper_than_the_decoder_goes_is_read(harness: Harness) -> None:
    two_models(harness)
    client = await harness.client()
    await client.send(post(b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b', "model": "large-1"}', CHAT))
    assert (await client.answer()).backend == "large"


async def test_a_long_body_that_is_not_json_goes_on_at_once(harness: Harness) -> None:
    backend = harness.backend("v2", read_part)
    harness.use(route("v2", sticky=sticky("json", "user")))
    client = await harness.client()
    await client.send(HEAD + b"Content-Length: 5000000\r\n\r\nmodel=large-1&x=")
    await wait_until(lambda: backend.conversations and b"model=large-1" in backend.conversations[0].received)
    assert unread(harness) == {"churn:not_json": 1}
    client.reset()


async def test_a_request_without_a_body_is_not_searched(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", sticky=sticky("json", "user")))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).status == 200


MANY_TOKENS = b'"":1,' * 100_000
ONE_TOKEN = b'"":"%b",' % (b"w" * len(MANY_TOKENS))


@pytest.mark.parametrize("filler, yields", [(MANY_TOKENS, True), (ONE_TOKEN, False)], ids=["many", "one"])
async def test_a_body_of_many_tokens_is_not_read_without_a_break(
    harness: Harness, filler: bytes, yields: bool
) -> None:
    """Event loops read several times from one connection before others have their turn, and this is much work."""
    harness.backend("v2")
    harness.use(route("v2", sticky=sticky("json", "id")))
    client = await harness.client()
    body = b"{" + filler + b'"id":1}'
    head, rest = post(body)[: -len(body)], body[-8:]
    await send_in(client, head + body[:-8], 65_536)
    (connection,) = harness.plane.clients
    assert isinstance(connection, Downstream)
    await wait_until(
        lambda: connection.exchange is not None and connection.exchange.kept == len(body) - len(rest),
        "the proxy has read all but the last bytes",
    )
    assert (connection.pauses > 0) is yields
    await client.send(rest)
    assert (await client.answer()).status == 200
