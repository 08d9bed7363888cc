"""The response cache over sockets: a hit is what the model answered, and nobody gets the answer of another request."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.quality.logged import exchanges_in
from crossfade.quality.prediction import Prediction
from crossfade.routing.override import make_token
from crossfade.routing.snapshot import (
    CACHED,
    AccessLog,
    Cache,
    Cors,
    Match,
    Rate,
    Rewrite,
    Route,
    Sticky,
    with_drained,
)
from tests.dataplane.plane import SNAPSHOT, Harness, mirrored, route, sticky
from tests.dataplane.scripted import Conversation, Script, ScriptedBackend, answering, closing, each
from tests.dataplane.test_assigned_cookie import ASSIGN
from tests.dataplane.wire import Message, Wire, chunked, get, ok, post, wait_until

HOUR = 3600.0
CACHE = Cache(HOUR, 1024 * 1024)
WORD = "x-crossfade-cache"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def cached(split: Any = "v2", cache: Cache = CACHE, **options: Any) -> Route:
    return route(split, pure=True, cache=cache, **options)


def numbered(harness: Harness, name: str = "v2", fields: tuple[bytes, ...] = ()) -> ScriptedBackend:
    """A model whose every answer is another one."""

    async def handler(conversation: Conversation, request: Message) -> None:
        n = len(conversation.backend.requests)
        await conversation.send(ok(b"%b %d" % (conversation.backend.name.encode(), n), fields))

    return harness.backend(name, each(handler))


def holding(may_answer: asyncio.Event) -> Script:
    async def handler(conversation: Conversation, request: Message) -> None:
        await may_answer.wait()
        await conversation.send(ok(b"%d" % len(conversation.backend.requests)))

    return each(handler)


async def quick(conversation: Conversation, request: Message) -> None:
    await conversation.send(ok(b"quick"))


async def ask(client: Wire, *requests: bytes, to: str = "GET") -> list[Message]:
    answers = []
    for request in requests:
        await client.send(request)
        answers.append(await client.answer(to=to))
    return answers


def words(answers: list[Message]) -> list[str]:
    return [(answer.field(WORD) or b"-").decode() for answer in answers]


def did(harness: Harness) -> dict[str, int]:
    return {
        what.partition(":")[2]: n
        for what, n in harness.plane.recorder.table.cache.items()
        if what.startswith("churn:")
    }


# ── a hit ─────────────────────────────────────────────────────────────────────────────────────


async def test_an_equal_request_gets_the_same_answer_without_the_model(harness: Harness) -> None:
    backend = numbered(harness, fields=(b"Content-Type: application/json", b'ETag: "a"'))
    harness.use(cached())
    client = await harness.client()
    first, second = await ask(client, post(b"ann"), post(b"ann"))
    assert words([first, second]) == ["miss", "hit"]
    assert (second.first, second.body, len(backend.requests)) == (first.first, b"v2 1", 1)
    assert (second.field("etag"), second.field("content-type")) == (b'"a"', b"application/json")
    assert second.backend == "v2"
    assert (first.field("age"), second.field("age")) == (None, b"0")
    assert first.field("x-request-id") != second.field("x-request-id")
    assert first.field("date") == second.field("date")
    assert did(harness) == {"miss": 1, "kept": 1, "hit": 1}


async def test_without_a_cache_nothing_is_kept_or_said(harness: Harness) -> None:
    backend = numbered(harness)
    harness.use(route("v2", pure=True))
    assert words(await ask(await harness.client(), post(b"ann"), post(b"ann"))) == ["-", "-"]
    assert (len(backend.requests), did(harness)) == (2, {})


ANSWERS = {
    "length": ok(b"hello"),
    "empty": ok(b""),
    "chunks": CHUNKED + chunked(b"he", b"llo"),
    "compressed": ok(b"\x1f\x8b\x00\xff", [b"Content-Encoding: gzip", b"Vary: Accept-Encoding"]),
    "large": ok(b"x" * 300_000),
    "own fields": ok(
        b"1", [b"x-crossfade-cache: hit", b"x-crossfade-backend: v9", b"X-Model: 7", b"X-Model: 8"]
    ),
    "fields of the connection": ok(b"1", [b"Connection: keep-alive, x-hop", b"x-hop: 1"]),
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("raw", ANSWERS.values(), ids=ANSWERS)
async def test_a_hit_equals_what_the_model_answered(harness: Harness, raw: bytes, bytewise: bool) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await (conversation.send_bytewise(raw) if bytewise and len(raw) < 999 else conversation.send(raw))

    backend = harness.backend("v2", each(handler))
    harness.use(cached())
    client = await harness.client()
    first, second = await ask(client, get(), get())
    assert words([first, second]) == ["miss", "hit"]
    changed = (WORD, "age", "x-request-id")
    assert [f for f in second.fields if f[0].lower().decode() not in changed] == [
        f for f in first.fields if f[0].lower().decode() not in changed
    ]
    assert (second.body, len(backend.requests), client.buffer) == (first.body, 1, b"")


async def test_a_hit_for_an_old_client_has_no_chunks_and_closes(harness: Harness) -> None:
    harness.backend("v2", answering(CHUNKED + chunked(b"he", b"llo")))
    harness.use(cached())
    assert words(await ask(await harness.client(), get())) == ["miss"]
    old = await harness.client()
    await old.send(get().replace(b"HTTP/1.1", b"HTTP/1.0"))
    raw, _ = await old.rest()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"x-crossfade-cache: hit" in head
    assert b"transfer-encoding" not in head.lower()
    assert b"Connection: close" in head
    assert body == b"hello"


async def test_the_connection_goes_on_behind_a_hit(harness: Harness) -> None:
    numbered(harness)
    harness.use(cached())
    client = await harness.client()
    await client.send(post(b"a") + post(b"a") + get("/other") + post(b"a"))
    assert words([await client.answer() for _ in range(4)]) == ["miss", "hit", "miss", "hit"]
    await client.send(post(b"a", fields=[b"Connection: close"]))
    assert (await client.answer()).field("connection") == b"close"


@pytest.mark.parametrize("delivery", ["head first", "bytewise", "chunks"])
async def test_a_body_in_parts_is_awaited(harness: Harness, delivery: str) -> None:
    backend = numbered(harness)
    harness.use(cached())
    client = await harness.client()
    await ask(client, post(b"ann-12345"))
    raw = post(b"ann-12345")
    if delivery == "bytewise":
        await client.send_bytewise(raw)
    elif delivery == "head first":
        head, body = raw[:-9], raw[-9:]
        await client.send(head)
        await wait_until(lambda: harness.plane.active, "the request has begun")
        await client.send(body)
    else:
        head = b"POST /predict HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send_bytewise(head + chunked(b"ann", b"-12345"))
    answer = await client.answer()
    assert (answer.field(WORD), answer.body, len(backend.requests)) == (b"hit", b"v2 1", 1)


async def test_a_client_that_waits_for_100_gets_its_hit(harness: Harness) -> None:
    backend = numbered(harness)
    harness.use(cached())
    client = await harness.client()
    await ask(client, post(b"ann"))
    raw = post(b"ann", fields=[b"Expect: 100-continue"])
    await client.send(raw[:-3])
    assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    await client.send(raw[-3:])
    assert ((await client.answer()).field(WORD), len(backend.requests)) == (b"hit", 1)


async def test_a_client_that_leaves_in_its_body_leaves_nothing(harness: Harness) -> None:
    numbered(harness)
    harness.use(cached())
    client = await harness.client()
    await client.send(post(b"ann")[:-1])
    await wait_until(lambda: harness.plane.active, "the request has begun")
    client.close()
    await harness.quiet()
    assert did(harness) == {}


# ── what makes another request ────────────────────────────────────────────────────────────────

OTHERS = {
    "body": post(b"bob"),
    "path": post(b"ann", "/Predict"),
    "query": post(b"ann", "/predict?a=1"),
    "method": get().replace(b"GET", b"HEAD"),
    "host": post(b"ann").replace(b"Host: models", b"Host: other"),
    "content type": post(b"ann", fields=[b"Content-Type: text/csv"]),
    "content coding": post(b"ann", fields=[b"Content-Encoding: gzip"]),
    "accepted type": post(b"ann", fields=[b"Accept: text/event-stream"]),
    "accepted coding": post(b"ann", fields=[b"Accept-Encoding: gzip"]),
    "accepted language": post(b"ann", fields=[b"Accept-Language: de"]),
    "origin": post(b"ann", fields=[b"Origin: https://a"]),
    "field of the key": post(b"ann", fields=[b"X-Tenant: b"]),
    "the same field twice": post(b"ann", fields=[b"X-Tenant: ", b"X-Tenant: "]),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
async def test_another_request_gets_its_own_answer(harness: Harness, other: bytes) -> None:
    backend = numbered(harness)
    harness.use(cached(cache=replace(CACHE, fields=("x-tenant",))))
    client = await harness.client()
    await ask(client, post(b"ann"))
    is_head = other.startswith(b"HEAD")
    (first, second) = await ask(client, other, other, to="HEAD" if is_head else "POST")
    assert words([first, second]) == ["miss", "hit"]
    assert first.body == second.body == (b"" if is_head else b"v2 2")
    assert len(backend.requests) == 2
    assert first.field("content-length") == second.field("content-length")


async def test_a_field_that_no_answer_depends_on_makes_no_difference(harness: Harness) -> None:
    backend = numbered(harness)
    harness.use(cached())
    client = await harness.client()
    same = [b"User-Agent: b", b"x-request-id: one", b"traceparent: 00-%b-%b-01" % (b"a" * 32, b"b" * 16)]
    _, hit = await ask(client, post(b"ann"), post(b"ann", fields=same))
    assert (hit.field(WORD), hit.field("x-request-id"), len(backend.requests)) == (b"hit", b"one", 1)


PASSING = {
    "no-store": [b"Cache-Control: no-store"],
    "range": [b"Range: bytes=0-1"],
    "condition": [b'If-None-Match: "a"'],
    "date condition": [b"If-Modified-Since: Sat, 01 Jan 2022 00:00:00 GMT"],
    "credentials": [b"Authorization: Bearer x"],
    "cookie": [b"Cookie: session=1"],
}


@pytest.mark.parametrize("fields", PASSING.values(), ids=PASSING)
async def test_a_request_of_its_own_passes_by(harness: Harness, fields: list[bytes]) -> None:
    """It neither gets an answer that is kept nor leaves one."""
    backend = numbered(harness)
    harness.use(cached())
    client = await harness.client()
    its = get(fields=fields)
    assert words(await ask(client, its, get(), its, get())) == ["-", "miss", "-", "hit"]
    assert len(backend.requests) == 3
    assert did(harness)["bypass"] == 2


async def test_other_methods_pass_by(harness: Harness) -> None:
    backend = numbered(harness)
    harness.use(cached())
    client = await harness.client()
    put = post(b"a").replace(b"POST", b"PUT")
    assert words(await ask(client, put, put)) == ["-", "-"]
    assert len(backend.requests) == 2


async def test_credentials_in_the_key_have_answers_of_their_own(harness: Harness) -> None:
    numbered(harness)
    harness.use(cached(cache=replace(CACHE, fields=("authorization", "cookie"))))
    client = await harness.client()
    a, b = ([b"Authorization: %b" % name, b"Cookie: s=1"] for name in (b"a", b"b"))
    answers = await ask(client, get(fields=a), get(fields=b), get(fields=a), get(fields=b))
    assert [answer.body for answer in answers] == [b"v2 1", b"v2 2", b"v2 1", b"v2 2"]


async def test_without_the_body_in_the_key_a_request_with_one_passes_by(harness: Harness) -> None:
    numbered(harness)
    harness.use(cached(cache=replace(CACHE, body=False, fields=("x-tenant",))))
    client = await harness.client()
    assert words(await ask(client, post(b"a"), post(b"b"), get(), get())) == ["-", "-", "miss", "hit"]


async def test_a_client_can_ask_for_a_newer_answer_and_the_next_gets_it(harness: Harness) -> None:
    numbered(harness)
    harness.use(cached())
    client = await harness.client()
    for fields in ([b"Cache-Control: no-cache"], [b"Cache-Control: max-age=0"], [b"Pragma: no-cache"]):
        before, new, after = await ask(client, get(), get(fields=fields), get())
        assert words([new, after]) == ["miss", "hit"]
        assert before.body != new.body == after.body


async def test_a_body_above_the_replay_limit_passes_by_unharmed(harness: Harness) -> None:
    backend = numbered(harness)
    harness.use(cached(replay_limit=1000))
    client = await harness.client()
    body = bytes(range(250)) * 8
    in_chunks = b"POST /predict HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(
        *[body[at : at + 100] for at in range(0, len(body), 100)]
    )
    await client.send(post(body))
    assert (await client.answer()).field(WORD) is None
    await client.send_bytewise(in_chunks)
    assert (await client.answer()).field(WORD) is None
    assert [request.body for request in backend.requests] == [body, body]


async def test_a_body_that_will_be_too_long_is_not_awaited(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(ok(b"early"))
        await conversation.watch()

    harness.backend("v2", script)
    harness.use(cached(replay_limit=1000))
    client = await harness.client()
    await client.send(post(bytes(1001))[:-1])
    assert (await client.answer()).body == b"early"


async def test_a_request_with_trailers_passes_by(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        for _ in range(2):
            message = await conversation.head()
            conversation.requests.append(message)
            await conversation.until(b"X-Sum: 1\r\n\r\n")
            await conversation.send(ok(b"v2"))
        await conversation.watch()

    backend = harness.backend("v2", script)
    harness.use(cached())
    head = b"POST /predict HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = head + b"3\r\nann\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert words(await ask(await harness.client(), raw, raw)) == ["-", "-"]
    assert len(backend.requests) == 2


async def test_a_client_that_takes_trailers_gets_them_each_time(harness: Harness) -> None:
    harness.backend("v2", answering(CHUNKED + b"1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"))
    harness.use(cached())
    client = await harness.client()
    for _ in range(2):
        await client.send(get(fields=[b"TE: trailers", b"Connection: TE"]))
        assert (await client.head()).field(WORD) is None
        assert (await client.until(b"\r\n\r\n")).endswith(b"\r\n0\r\nX-Sum: 1\r\n\r\n")
    first, second = await ask(client, get(), get())
    assert (words([first, second]), second.body) == (["miss", "hit"], b"x")


# ── what is not given again ───────────────────────────────────────────────────────────────────

NOT_KEPT = {
    "error": b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    "rejection": b"HTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n",
    "created": b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "part": b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\nx",
    "no-store": ok(b"1", [b"Cache-Control: no-store"]),
    "private": ok(b"1", [b"Cache-Control: private, max-age=60"]),
    "no-cache": ok(b"1", [b"cache-control: No-Cache"]),
    "stale": ok(b"1", [b"Cache-Control: max-age=0"]),
    "stale for shared caches": ok(b"1", [b"Cache-Control: max-age=60, s-maxage=0"]),
    "too old": ok(b"1", [b"Cache-Control: max-age=60", b"Age: 61"]),
    "expired": ok(b"1", [b"Expires: 0"]),
    "cookie": ok(b"1", [b"Set-Cookie: session=ann"]),
    "varies by user agent": ok(b"1", [b"Vary: Accept, User-Agent"]),
    "varies by anything": ok(b"1", [b"Vary: *"]),
    "events": ok(b"data: 1\n\n", [b"Content-Type: text/event-stream; charset=utf-8"]),
    "lines": ok(b"{}\n", [b"Content-Type: application/x-ndjson"]),
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("raw", NOT_KEPT.values(), ids=NOT_KEPT)
async def test_an_answer_that_is_not_for_others_is_not_kept(
    harness: Harness, raw: bytes, bytewise: bool
) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await (conversation.send_bytewise(raw) if bytewise else conversation.send(raw))

    backend = harness.backend("v2", each(handler))
    harness.use(cached())
    client = await harness.client()
    assert words(await ask(client, get(), get())) == ["miss", "miss"]
    assert (len(backend.requests), did(harness)) == (2, {"miss": 2})


async def test_an_answer_until_close_is_not_kept(harness: Harness) -> None:
    """Nothing says that it is whole."""
    harness.backend("v2", closing(b"HTTP/1.1 200 OK\r\n\r\nhello"))
    harness.use(cached())
    assert words(await ask(await harness.client(), get(), get())) == ["miss", "miss"]


@pytest.mark.parametrize("cut", [ok(b"hello")[:-1], CHUNKED + b"5\r\nhello\r\n"], ids=["length", "chunks"])
async def test_an_answer_that_breaks_off_is_not_kept(harness: Harness, cut: bytes) -> None:
    backend = harness.backend("v2", closing(cut))
    harness.use(cached(retry_attempts=0))
    for _ in range(2):
        client = await harness.client()
        await client.send(get())
        await client.rest()
    await harness.quiet()
    assert (len(backend.requests), did(harness)) == (2, {"miss": 2})


async def test_an_answer_whose_client_leaves_is_not_kept_in_part(harness: Harness) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(ok(b"hello")[:-1])
        await conversation.watch()

    harness.backend("v2", each(handler))
    harness.use(cached())
    client = await harness.client()
    await client.send(get())
    await client.until(b"hell")
    client.reset()
    await harness.quiet()
    assert did(harness) == {"miss": 1}
    assert harness.plane.caches["churn"].gathered == 0


async def test_the_answer_of_a_fallback_is_not_kept(harness: Harness) -> None:
    harness.backend("v2", answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"))
    spare = numbered(harness, "v1")
    harness.use(cached(fallback="v1"))
    client = await harness.client()
    answers = await ask(client, get(), get())
    assert words(answers) == ["miss", "miss"]
    assert [answer.field("x-crossfade-assigned") for answer in answers] == [b"v2", b"v2"]
    assert len(spare.requests) == 2


async def test_an_answer_above_the_limit_is_not_kept(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"x" * (1024 * 1024 + 1))))
    harness.use(cached(cache=Cache(HOUR, 64 * 1024 * 1024)))
    assert words(await ask(await harness.client(), get(), get())) == ["miss", "miss"]
    assert harness.plane.caches["churn"].gathered == 0


async def test_what_is_kept_is_bounded_and_the_oldest_leaves_first(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"x" * 300_000)))
    harness.use(cached())
    client = await harness.client()
    requests = [get(f"/{n}") for n in range(5)]
    assert words(await ask(client, *requests[:3], requests[0], *requests[3:])) == [
        *["miss"] * 3,
        "hit",
        *["miss"] * 2,
    ]
    assert words(await ask(client, requests[0], requests[4], requests[1])) == ["hit", "hit", "miss"]
    assert 900_000 < harness.plane.caches["churn"].size <= CACHE.max


async def test_after_its_time_the_model_is_asked_again(harness: Harness) -> None:
    backend = numbered(harness)
    harness.use(cached(cache=replace(CACHE, ttl=0.05)))
    client = await harness.client()
    await ask(client, get())
    asked = 1
    while len(backend.requests) == 1:
        await ask(client, get())
        asked += 1
    assert did(harness).get("hit", 0) == asked - 2
    assert did(harness)["miss"] == 2


async def test_the_age_counts_from_the_model_on(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"1", [b"Age: 7", b"Cache-Control: max-age=3000"])))
    harness.use(cached())
    first, second = await ask(await harness.client(), get(), get())
    assert (first.all("age"), words([second])) == ([b"7"], ["hit"])
    (age,) = second.all("age")
    assert 7 <= int(age) < 3000


# ── the fields of one's own exchange ──────────────────────────────────────────────────────────


async def test_a_hit_has_the_fields_of_its_route_and_its_own_origin(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"1", [b"Access-Control-Allow-Origin: *", b"Server: model"])))
    cors = Cors(("https://a", "https://b"), ("GET",))
    harness.use(cached(cors=cors, fields_set=(("x-set", "1"),), fields_removed=("server",)))
    client = await harness.client()
    for origin in (b"https://a", b"https://b", b"https://c"):
        for word in (b"miss", b"hit"):
            (answer,) = await ask(client, get(fields=[b"Origin: " + origin]))
            assert answer.field(WORD) == word
            assert answer.all("access-control-allow-origin") == ([] if origin == b"https://c" else [origin])
            assert (answer.field("x-set"), answer.field("server")) == (b"1", None)


async def test_each_visitor_gets_an_own_cookie_with_a_hit(harness: Harness) -> None:
    numbered(harness)
    harness.use(cached(sticky=(ASSIGN,)), cookie_secrets=("a secret for this test",))
    client = await harness.client()
    first, second = await ask(client, get(), get())
    assert words([first, second]) == ["miss", "hit"]
    cookies = [answer.field("set-cookie") or b"" for answer in (first, second)]
    assert cookies[0] != cookies[1]
    assert all(cookies)
    own = b"Cookie: " + cookies[1].partition(b";")[0]
    (third,) = await ask(client, get(fields=[own]))
    assert (words([third]), third.field("set-cookie")) == (["hit"], None)


async def test_two_customers_share_no_answer_where_a_field_names_them(harness: Harness) -> None:
    numbered(harness)
    harness.use(cached(sticky=sticky("header", "x-customer")))
    client = await harness.client()
    ann, bob = ([b"x-customer: " + name] for name in (b"ann", b"bob"))
    answers = await ask(client, get(fields=ann), get(fields=bob), get(fields=ann), get())
    assert [answer.body for answer in answers] == [b"v2 1", b"v2 2", b"v2 1", b"v2 3"]


async def test_two_customers_share_no_answer_where_a_cookie_names_them(harness: Harness) -> None:
    """The model may read any cookie, so all of them are part of the key."""
    numbered(harness)
    harness.use(cached(sticky=sticky("cookie", "id")))
    client = await harness.client()
    ann, bob, other = ([b"Cookie: " + text] for text in (b"id=ann", b"id=bob", b"id=ann; plan=b"))
    answers = await ask(client, *[get(fields=fields) for fields in (ann, bob, other, ann)])
    assert [answer.body for answer in answers] == [b"v2 1", b"v2 2", b"v2 3", b"v2 1"]


async def test_no_answer_crosses_from_one_version_to_the_other(harness: Harness) -> None:
    numbered(harness)
    numbered(harness, "v3")
    harness.use(cached({"v2": 5000, "v3": 5000}))
    client = await harness.client()
    answers = await ask(client, *[get()] * 40)
    assert {answer.backend for answer in answers} == {"v2", "v3"}
    assert all(answer.body == answer.backend.encode() + b" 1" for answer in answers)
    assert did(harness) == {"miss": 2, "kept": 2, "hit": 38}


async def test_two_routes_share_no_answer(harness: Harness) -> None:
    numbered(harness)
    a = cached(match=Match(headers=(("x-a", "1"),)), name="a")
    harness.use(a, cached())
    client = await harness.client()
    answers = await ask(client, get(fields=[b"x-a: 1"]), get())
    assert [answer.body for answer in answers] == [b"v2 1", b"v2 2"]


# ── what empties it ───────────────────────────────────────────────────────────────────────────


async def test_a_new_version_of_the_ledger_empties_the_cache(harness: Harness) -> None:
    """Also one that gives the same backends to all."""
    numbered(harness)
    before = cached()
    harness.use(before)
    client = await harness.client()
    await ask(client, get())
    for version in (2, 3):
        after = replace(before, ledger=replace(before.ledger, version=version))
        harness.use(after)
        answers = await ask(client, get(), get())
        assert [answer.body for answer in answers] == [b"v2 %d" % version] * 2


def other_cache(served: Route) -> Route:
    return replace(served, cache=replace(CACHE, ttl=HOUR / 2))


def other_fields(served: Route) -> Route:
    return replace(served, fields_set=(("x-set", "1"),))


@pytest.mark.parametrize("change", [other_cache, other_fields])
async def test_another_configuration_empties_the_cache(harness: Harness, change: Any) -> None:
    numbered(harness)
    harness.use(cached())
    client = await harness.client()
    await ask(client, get())
    harness.use(change(cached()))
    assert words(await ask(client, get())) == ["miss"]


async def test_another_model_behind_the_name_empties_the_cache(harness: Harness) -> None:
    numbered(harness)
    harness.use(cached())
    client = await harness.client()
    await ask(client, get())
    harness.specs["v2"] = replace(harness.specs["v2"], request=Rewrite(set=(("x-mode", "b"),)))
    harness.use(cached())
    assert words(await ask(client, get())) == ["miss"]
    harness.another_endpoint("v2")
    harness.use(cached())
    assert words(await ask(client, get())) == ["miss"]


async def test_an_outage_and_a_drain_do_not_empty_it(harness: Harness) -> None:
    """Answers are given while no model is up."""
    backend = numbered(harness)
    harness.use(cached())
    client = await harness.client()
    await ask(client, get())
    harness.down("v2")
    harness.use(cached())
    assert words(await ask(client, get())) == ["hit"]
    name = harness.specs["v2"].endpoints[0].name
    harness.plane.use(with_drained(harness.plane.snapshot, [("v2", name)]))
    assert words(await ask(client, get())) == ["hit"]
    assert len(backend.requests) == 1


async def test_an_answer_under_way_over_a_change_is_not_given_after_it(harness: Harness) -> None:
    may_answer = asyncio.Event()
    backend = harness.backend("v2", holding(may_answer))
    served = cached()
    harness.use(served)
    client = await harness.client()
    await client.send(get())
    await wait_until(lambda: backend.requests, "the model has the request")
    harness.use(replace(served, ledger=replace(served.ledger, version=2)))
    may_answer.set()
    assert (await client.answer()).body == b"1"
    answers = await ask(client, get(), get())
    assert (words(answers), [answer.body for answer in answers]) == (["miss", "hit"], [b"2", b"2"])


async def test_a_body_under_way_over_a_change_gets_no_answer_of_before(harness: Harness) -> None:
    numbered(harness)
    served = cached()
    harness.use(served)
    client = await harness.client()
    await ask(client, post(b"ann"))
    await client.send(post(b"ann")[:-1])
    await wait_until(lambda: harness.plane.active, "the request has begun")
    harness.use(replace(served, ledger=replace(served.ledger, version=2)))
    await client.send(b"n")
    answer = await client.answer()
    assert (answer.field(WORD), answer.body) == (b"miss", b"v2 2")


async def test_while_a_rollout_can_fail_each_request_asks_its_model(harness: Harness) -> None:
    backend = numbered(harness)
    harness.use(cached(guarded=True))
    client = await harness.client()
    assert words(await ask(client, get(), get())) == ["-", "-"]
    assert len(backend.requests) == 2


# ── what counts ───────────────────────────────────────────────────────────────────────────────


async def test_a_hit_is_counted_apart(harness: Harness) -> None:
    numbered(harness)
    harness.use(cached(limits={"v2": (("latency", 0.0),)}))
    await ask(await harness.client(), get(), get(), get())
    await harness.quiet()
    cells = {cell.role: cell for cell in harness.plane.recorder.table.cells.values()}
    assert {role: cell.requests for role, cell in cells.items()} == {"champion": 1, CACHED: 2}
    assert cells[CACHED].events == {}
    assert cells[CACHED].responses == {200: 2}


async def test_a_hit_is_not_mirrored_and_takes_no_place(harness: Harness) -> None:
    harness.backend("v2", each(quick), max_in_flight=1)
    shadow = numbered(harness, "v4")
    harness.use(cached(mirrors=mirrored("v4")))
    client = await harness.client()
    await ask(client, post(b"a"), post(b"a"))
    await client.send_bytewise(post(b"a"))
    await client.answer()
    await harness.quiet()
    assert len(shadow.requests) == 1
    assert harness.mirrors("v4") == {"sent": 1}


async def test_a_hit_is_a_row_of_the_prediction_log_with_its_own_id(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b'{"p": 0.25}')))
    harness.use(cached(logs=True, prediction=Prediction(("p",))))
    await ask(await harness.client(), get(fields=[b"x-request-id: one"]), get(fields=[b"x-request-id: two"]))
    await harness.quiet()
    rows = [row for batch in harness.recorder.logged.take() for row in exchanges_in(batch)]
    assert [(row.request_id, row.role, row.answered_by, row.status) for row in rows] == [
        (b"one", "champion", "v2", 200),
        (b"two", CACHED, "v2", 200),
    ]
    harness.read_answers()
    cells = {cell.role: cell for cell in harness.recorder.table.cells.values()}
    said = [(cells[role].answers, cells[role].unreadable) for role in (CACHED, "champion")]
    assert said == [(1, 0), (1, 0)], "what it said is in the log too"


async def test_hits_count_against_the_rate_of_their_client(harness: Harness) -> None:
    numbered(harness)
    harness.use(cached(rate=Rate(Sticky("client_ip"), 0.001, 2)))
    answers = await ask(await harness.client(), get(), get(), get())
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert words(answers) == ["miss", "hit", "-"]


async def test_a_tester_gets_the_model_itself(harness: Harness) -> None:
    backend = numbered(harness)
    secret = "correct horse battery staple"
    harness.use(cached(), override_secret=secret)
    client = await harness.client()
    token = make_token(secret, "churn", "v2", int(time.time()) + 86400)
    its = get(fields=[b"X-Crossfade-Override: " + token.encode()])
    assert words(await ask(client, get(), its, get())) == ["miss", "-", "hit"]
    assert len(backend.requests) == 2


async def test_the_access_log_says_who_answered(harness: Harness, tmp_path: Any) -> None:
    numbered(harness)
    harness.use(cached(), access_log=AccessLog(str(tmp_path / "log"), 1.0, False))
    await ask(await harness.client(), get(), get())
    await harness.quiet()
    harness.plane.use(replace(SNAPSHOT, generation=99))
    log = tmp_path / "log"
    await wait_until(lambda: log.exists() and log.read_text().count("\n") == 2, "both lines are written")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["role"], line["answered_by"], line["endpoint"] != "") for line in lines] == [
        ("champion", "v2", True),
        (CACHED, "v2", False),
    ]


async def test_a_drain_closes_behind_a_hit(harness: Harness) -> None:
    numbered(harness)
    harness.use(cached())
    client = await harness.client()
    await ask(client, get())
    harness.plane.draining = True
    (answer,) = await ask(client, get())
    assert (answer.field(WORD), answer.field("connection")) == (b"hit", b"close")


async def test_equal_requests_at_one_time_each_ask_the_model(harness: Harness) -> None:
    """They are not joined: a slow answer, or a client that leaves, would be that of all of them."""
    may_answer = asyncio.Event()
    backend = harness.backend("v2", holding(may_answer))
    harness.use(cached())
    clients = [await harness.client() for _ in range(3)]
    for client in clients:
        await client.send(get())
    await wait_until(lambda: len(backend.requests) == 3, "all have asked")
    may_answer.set()
    assert words([await client.answer() for client in clients]) == ["miss"] * 3
