"""Hits of the response cache over sockets: each is what the model answered, however it is asked, and is counted apart."""

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
from crossfade.routing.snapshot import CACHED, AccessLog, Rate, Sticky
from tests.dataplane.caching import CHUNKED, WORD, ask, cached, did, holding, numbered, words
from tests.dataplane.plane import SNAPSHOT, Harness, mirrored, route
from tests.dataplane.scripted import Conversation, answering, each
from tests.dataplane.wire import Message, chunked, get, ok, post, wait_until


async def quick(conversation: Conversation, request: Message) -> None:
    await conversation.send(ok(b"quick"))


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
