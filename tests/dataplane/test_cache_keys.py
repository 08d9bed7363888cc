"""What makes another request for the response cache, and what of an exchange stays its own beside a hit."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from crossfade.routing.snapshot import Cors, Match
from tests.dataplane.caching import CACHE, CHUNKED, WORD, ask, cached, did, numbered, words
from tests.dataplane.plane import Harness, sticky
from tests.dataplane.scripted import Conversation, answering
from tests.dataplane.test_assigned_cookie import ASSIGN
from tests.dataplane.wire import chunked, get, ok, post

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
