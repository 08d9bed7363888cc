"""Which answers the response cache keeps, for how long, and what empties it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.routing.snapshot import Cache, Rewrite, Route, with_drained
from tests.dataplane.caching import CACHE, CHUNKED, HOUR, WORD, ask, cached, did, holding, numbered, words
from tests.dataplane.plane import Harness
from tests.dataplane.scripted import Conversation, answering, closing, each
from tests.dataplane.wire import Message, get, ok, post, wait_until

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
