"""Backends that fail before the first byte: which backend answers, which is charged, what is retried (design 4)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.build import interpreted
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, Script, answering, closing, each, naming, silent
from tests.dataplane.wire import Message, at_once, chunked, get, ok, post, wait_until

RAW = post(b"hello")
SHORT = 0.1  # seconds; a timeout that the test lets expire


async def reset(conversation: Conversation) -> None:
    await conversation.request()
    conversation.reset()


async def endless_head(conversation: Conversation) -> None:
    await conversation.request()
    await conversation.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await conversation.send(b"X-More: " + b"x" * 1000 + b"\r\n")


@dataclass
class Row:
    """A failing backend, and the status and stage that the client gets without a fallback."""

    script: Script
    status: int
    stage: str
    fallback: str = "pure"
    spec: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "closed": Row(closing(b""), 502, "reset"),
    "reset": Row(reset, 502, "reset"),
    "first byte timeout": Row(silent, 504, "first_byte_timeout", spec={"first_byte_timeout": SHORT}),
    "total timeout": Row(silent, 504, "total_timeout", "never", {"total_timeout": SHORT}),
    "garbage": Row(closing(b"\x00\xffnonsense\r\n\r\n"), 502, "protocol"),
    "half a head": Row(closing(b"HTTP/1.1 200 OK\r\nContent-"), 502, "protocol"),
    "two lengths": Row(
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"), 502, "protocol"
    ),
    "length and chunks": Row(
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        502,
        "protocol",
    ),
    "bare line feeds": Row(answering(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n"), 502, "protocol"),
    "chunks broken at once": Row(
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"), 502, "protocol"
    ),
    "head too large": Row(endless_head, 502, "protocol"),
    "switching protocols": Row(
        answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"), 502, "protocol"
    ),
    "answers 500": Row(answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\noh"), 500, "status"),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("pure", [False, True], ids=["not pure", "pure"])
async def test_a_failure_before_the_first_byte_falls_back_if_the_route_is_pure(
    harness: Harness, row: Row, pure: bool
) -> None:
    backend = harness.backend("v3", row.script, **row.spec)
    harness.backend("v2")
    harness.use(route("v3", fallback="v2", pure=pure))
    client = await harness.client()
    await client.send(RAW)
    answer = await client.answer()
    cell = await harness.cell("v3")
    fell_back = pure and row.fallback == "pure"
    if fell_back:
        assert (answer.status, answer.body, answer.backend) == (200, b"v2", "v2")
        assert answer.field("x-crossfade-assigned") == b"v3"
        assert harness.backends["v2"].requests[0].body == b"hello"
    else:
        assert answer.status == row.status
        assert answer.error == (None if row.stage == "status" else b"upstream/" + row.stage.encode())
        assert harness.backends["v2"].requests == []
    assert (cell.requests, cell.errors, cell.fell_back) == (1, 1, int(fell_back))
    assert cell.failures == {row.stage: 1}
    assert cell.recent == [True]
    assert (await harness.cell("v2")).requests == 0, "the outcome counts for the assigned backend"
    assert len(backend.conversations) == 1
    await client.send(RAW)
    assert (await client.answer()).status == answer.status, "the client's connection stays open"


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_without_a_fallback_the_client_gets_the_error(harness: Harness, row: Row) -> None:
    harness.backend("v3", row.script, **row.spec)
    harness.use(route("v3", pure=True))
    client = await harness.client()
    await client.send(RAW)
    answer = await client.answer()
    assert answer.status == row.status
    if row.stage != "status":
        assert answer.field("content-type") == b"application/problem+json"
        assert answer.field("x-request-id")
        assert b"127.0.0.1" not in answer.body
        assert b"hello" not in answer.body


# ── no request was sent: no endpoint, no connection ───────────────────────────────────────────────


@pytest.mark.parametrize("raw", [get(), RAW, post(b"x" * 300_000)], ids=["GET", "POST", "large POST"])
async def test_refused_connections_fall_back(harness: Harness, raw: bytes) -> None:
    """No byte was sent, so the fallback is safe even for a POST on a route that is not pure."""
    harness.refusing("v3")
    harness.backend("v2")
    harness.use(route("v3", fallback="v2"))
    client = await harness.client()
    await client.send(raw)
    answer = await client.answer()
    assert (answer.status, answer.backend) == (200, "v2")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.fell_back, cell.failures) == (1, 1, {"connect": 1})
    assert harness.backends["v2"].requests[0].body == raw.partition(b"\r\n\r\n")[2]


async def test_a_refused_connection_without_a_fallback_is_a_502(harness: Harness) -> None:
    harness.refusing("v3")
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(RAW)
    answer = await client.answer()
    assert (answer.status, answer.error) == (502, b"upstream/connect")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.failures, cell.codes) == (1, {"connect": 1}, {502: 1})


@interpreted
async def test_a_refused_connection_is_retried_on_another_endpoint_without_an_error(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.dataplane.exchange.pick", lambda choices, draw: choices[0])
    harness.refusing("v3")
    harness.another_endpoint("v3")
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(RAW)
    assert (await client.answer()).body == b"v3"
    cell = await harness.cell("v3")
    assert (cell.errors, cell.failures) == (0, {"connect": 1})


@pytest.mark.parametrize(
    "fallback, status, error",
    [
        (naming, 200, None),
        (closing(b""), 502, b"upstream/reset"),
        (answering(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), 503, None),
    ],
)
async def test_a_failure_of_the_fallback_is_passed_to_the_client(
    harness: Harness, fallback: Script, status: int, error: bytes | None
) -> None:
    """The error counts for the assigned backend only, and there is no third attempt."""
    harness.backend("v3", closing(b""))
    harness.backend("v2", fallback)
    harness.use(route("v3", fallback="v2", pure=True))
    client = await harness.client()
    await client.send(RAW)
    answer = await client.answer()
    assert (answer.status, answer.error) == (status, error)
    assert (await harness.cell("v3")).errors == 1
    assert (await harness.cell("v2")).requests == 0
    assert [len(b.requests) for b in harness.backends.values()] == [1, 1]


async def test_a_backend_is_not_its_own_fallback(harness: Harness) -> None:
    backend = harness.backend("v2", closing(b""))
    harness.use(route("v2", fallback="v2", pure=True))
    client = await harness.client()
    await client.send(RAW)
    assert (await client.answer()).status == 502
    assert len(backend.requests) == 1


# ── overload ──────────────────────────────────────────────────────────────────────────────────────


async def test_overload_is_refused_at_once_and_is_no_error(harness: Harness) -> None:
    released = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await released.wait()
        await conversation.send(ok(b"v2"))

    harness.backend("v2", each(handler), max_in_flight=2)
    harness.use(route("v2"))
    clients = [await harness.client() for _ in range(3)]
    for client in clients[:2]:
        await client.send(RAW)
    await wait_until(lambda: len(harness.backends["v2"].requests) == 2)
    await clients[2].send(RAW)
    answer = await clients[2].answer()
    assert (answer.status, answer.error) == (503, b"internal/overload")
    assert answer.field("retry-after") == b"1"
    released.set()
    assert [(await client.answer()).status for client in clients[:2]] == [200, 200]
    await clients[2].send(RAW)
    assert (await clients[2].answer()).status == 200, "the limit has room again"
    cell = await harness.cell("v2")
    assert (cell.requests, cell.errors, cell.failures) == (4, 0, {"overload": 1})


# ── retries ───────────────────────────────────────────────────────────────────────────────────────


def closing_on_the_second_request(first: int) -> Script:
    """The first `first` connections answer one request and close on the second."""

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(ok(b"first"))
        if conversation.number < first:
            await conversation.request()
            conversation.close()
            return
        await each(lambda c, _: c.send(ok(b"again")))(conversation)

    return script


@pytest.mark.parametrize(
    "raw, pure, status, requests",
    [(get(), False, 200, 3), (RAW, False, 502, 2), (RAW, True, 200, 3)],
    ids=["GET", "POST", "pure POST"],
)
async def test_a_closed_reused_connection_is_retried_if_the_request_may_be_repeated(
    harness: Harness, raw: bytes, pure: bool, status: int, requests: int
) -> None:
    backend = harness.backend("v2", closing_on_the_second_request(1))
    harness.use(route("v2", pure=pure))
    client = await harness.client()
    await client.send(raw)
    assert (await client.answer()).status == 200
    await client.send(raw)
    assert (await client.answer()).status == status
    assert len(backend.requests) == requests
    cell = await harness.cell("v2")
    assert (cell.requests, cell.errors) == (2, 0 if status == 200 else 1)
    assert cell.failures == {"stale_connection": 1}


@pytest.mark.parametrize(
    "raw, pure, status",
    [(get(), False, 200), (RAW, False, 502), (RAW, True, 200)],
    ids=["GET", "POST", "pure POST"],
)
async def test_a_closed_new_connection_is_retried_on_another_endpoint(
    harness: Harness, raw: bytes, pure: bool, status: int
) -> None:
    """The endpoint closes after accept. Another endpoint gets the request if the request may be repeated."""
    harness.backend("v2", closing(b""))
    harness.another_endpoint("v2")
    harness.use(route("v2", pure=pure))
    statuses = set()
    for _ in range(20):  # enough that each endpoint is drawn first at least once
        client = await harness.client()
        await client.send(raw)
        statuses.add((await client.answer()).status)
    assert statuses == {200, status}


async def test_a_retry_opens_a_new_connection(harness: Harness) -> None:
    """A restart of the backend closes all pooled connections, so a retry over a pooled one would fail too."""
    pooled = 5
    backend = harness.backend("v2", closing_on_the_second_request(pooled))
    harness.use(route("v2"))
    clients = [await harness.client() for _ in range(pooled)]
    for client in clients:
        await client.send(get())
    for client in clients:
        await client.answer()
    assert len(backend.conversations) == pooled
    await clients[0].send(get())
    assert (await clients[0].answer()).status == 200
    assert len(backend.conversations) == pooled + 1


async def test_no_retry_with_zero_retry_attempts(harness: Harness) -> None:
    harness.backend("v2", closing_on_the_second_request(1))
    harness.use(route("v2", retry_attempts=0))
    client = await harness.client()
    for status in (200, 502):
        await client.send(get())
        assert (await client.answer()).status == status


async def test_a_body_over_the_replay_limit_is_not_repeated(harness: Harness) -> None:
    backend = harness.backend("v2", closing_on_the_second_request(1))
    harness.use(route("v2", pure=True, replay_limit=10))
    client = await harness.client()
    await client.send(RAW)
    await client.answer()
    raw = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 10, b"y")
    await client.send(raw[:-5])
    await at_once(lambda: harness.accepted[-1].kept == 11)
    await client.send(raw[-5:])
    assert (await client.answer()).status == 502
    assert len(backend.requests) == 2


async def test_repeats_are_bounded_by_the_retry_budget(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the budget is used up by repeats in flight, a further failure is passed to the client."""
    monkeypatch.setattr("crossfade.dataplane.retry_policy.FLOOR", 2)
    released = asyncio.Event()

    async def slow(conversation: Conversation, request: Message) -> None:
        await released.wait()
        await conversation.send(ok(b"v2"))

    harness.backend("v3", answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\noh"))
    harness.backend("v2", each(slow))
    harness.use(route("v3", fallback="v2", pure=True, retry_budget=0.0))
    clients = [await harness.client() for _ in range(4)]
    for client in clients[:2]:
        await client.send(RAW)
    await wait_until(lambda: len(harness.backends["v2"].requests) == 2)
    for client in clients[2:]:
        await client.send(RAW)
        assert (await client.answer()).status == 500
    released.set()
    for client in clients[:2]:
        assert (await client.answer()).status == 200
    cell = await harness.cell("v3")
    assert (cell.requests, cell.errors, cell.fell_back) == (4, 4, 2)
    await clients[3].send(RAW)
    assert (await clients[3].answer()).status == 200, "the limit has room again"


async def test_a_closed_reused_connection_of_the_fallback_is_retried(harness: Harness) -> None:
    """The fallback backend has its own retry attempt."""
    harness.backend("v3", closing(b""))
    harness.backend("v2", closing_on_the_second_request(1))
    harness.use(route("v3", fallback="v2", pure=True))
    client = await harness.client()
    for _ in range(2):
        await client.send(RAW)
        assert (await client.answer()).status == 200
    assert (await harness.cell("v3")).failures == {"reset": 2, "stale_connection": 1}


async def test_the_total_timeout_covers_all_attempts(harness: Harness) -> None:
    """A fallback does not restart the total timeout."""
    harness.backend("v3", answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"), total_timeout=SHORT)
    harness.backend("v2", silent)
    harness.use(route("v3", fallback="v2", pure=True))
    client = await harness.client()
    await client.send(RAW)
    answer = await client.answer()
    assert (answer.status, answer.error) == (504, b"upstream/total_timeout")
    assert (await harness.cell("v3")).failures == {"status": 1, "total_timeout": 1}
