"""Bytes that cannot become a message are refused when they arrive, in requests and in answers; nobody waits for a timeout."""

from __future__ import annotations

import pytest

from crossfade.dataplane import upstream
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, Script, silent
from tests.dataplane.wire import Wire, get, post

CHUNKS = b"POST /predict HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n"
REQUESTS = {
    "throughout": b"GET / HTTP/1.1\nHost: x\n\n",
    "first line": b"GET / HTTP/1.1\nHost: x\r\n",
    "field": b"GET / HTTP/1.1\r\nHost: x\n",
    "last line": b"GET / HTTP/1.1\r\nHost: x\r\n\n",
    "empty line before": b"\nGET",
    "lone CR": b"GET / HTTP/1.1\r\nHost: x\rX",
    "NUL": b"GET / HTTP/1.1\r\nHost: x\x00",
    "method": b"G(T",
    "no version": b"GET /\r\n",
    "fold": b"GET / HTTP/1.1\r\nHost: x\r\n ",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n",
}
BODIES = {
    "size": b"5\nhello",
    "size of another base": b"g",
    "behind the data": b"5\r\nhello\n",
    "last chunk": b"0\n",
    "trailer": b"0\r\nX-A: 1\n",
    "trailers": b"0\r\nX-A: 1\r\n\n",
    "lone CR": b"5\rh",
}


async def send(wire: Wire, raw: bytes, bytewise: bool) -> None:
    await (wire.send_bytewise(raw) if bytewise else wire.send(raw))


async def expect_400(client: Wire) -> None:
    answer = await client.answer()
    assert (answer.status, answer.error) == (400, b"downstream/parse")
    assert await client.rest() == (b"", "closed")


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("raw", REQUESTS.values(), ids=REQUESTS)
async def test_a_head_that_cannot_become_a_request_gets_400_at_once(
    harness: Harness, raw: bytes, bytewise: bool
) -> None:
    harness.backend("v2")
    harness.use(route("v2"), head_timeout=3600.0)
    client = await harness.client()
    await send(client, raw, bytewise)
    await expect_400(client)
    assert harness.plane.recorder.take().refused == {"400:parse": 1}


async def test_it_gets_400_behind_another_request_too(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"), head_timeout=3600.0)
    client = await harness.client()
    await client.send(get() + b"GET / HTTP/1.1\nHost: x\n\n")
    assert (await client.answer()).status == 200
    await expect_400(client)


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_chunks_that_cannot_become_a_body_get_400_at_once(
    harness: Harness, body: bytes, bytewise: bool
) -> None:
    harness.backend("v2", silent)
    harness.use(route("v2"), keep_alive=3600.0)
    client = await harness.client()
    await send(client, CHUNKS + body, bytewise)
    await expect_400(client)


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "throughout": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "field": OK + b"Content-Length: 2\n",
    "last line": OK + b"Content-Length: 2\r\n\n",
    "empty line before": b"\r\n",
    "lone CR": OK + b"Content-Length: 2\rX",
    "NUL": b"HTTP/1.1 200 O\x00",
    "another protocol": b"SSH-2.0-OpenSSH",
    "another version": b"HTTP/2",
    "status": b"HTTP/1.1 2O",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n",
    "behind an interim answer": b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\n",
    "too long": OK + b"X: " + b"x" * upstream.HEAD_LIMIT,
}


def sending(raw: bytes, bytewise: bool) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await send(conversation, raw, bytewise)
        await conversation.watch()

    return script


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("raw", ANSWERS.values(), ids=ANSWERS)
async def test_a_head_that_cannot_become_an_answer_gives_502_at_once(
    harness: Harness, raw: bytes, bytewise: bool
) -> None:
    if bytewise and len(raw) > 1000:
        pytest.skip("as many segments as bytes take too long")
    harness.backend("v2", sending(raw, bytewise), first_byte_timeout=3600.0)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(b"x"))
    answer = await client.head()
    while answer.status < 200:
        answer = await client.head()
    assert (answer.status, answer.error) == (502, b"upstream/protocol")
    cell = await harness.cell("v2")
    assert (cell.failures, cell.errors) == ({"protocol": 1}, 1)


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_chunks_that_cannot_become_an_answer_end_it_at_once(
    harness: Harness, body: bytes, bytewise: bool
) -> None:
    """502 if the head has not gone to the client, else a reset."""
    raw = OK + b"Transfer-Encoding: chunked\r\n\r\n" + body
    harness.backend("v2", sending(raw, bytewise), idle_timeout=3600.0)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(b"x"))
    answer = await client.head()
    if bytewise:
        assert answer.status == 200
        assert (await client.rest())[1] == "reset"
    else:
        assert (answer.status, answer.error) == (502, b"upstream/protocol")
    assert (await harness.cell("v2")).errors == 1


async def test_whitespace_before_a_colon_is_removed_from_an_answer(harness: Harness) -> None:
    """RFC 9112 section 5.1 demands it of a proxy; in a request it gets 400."""
    harness.backend("v2", sending(OK + b"X-A : 1\r\nContent-Length \t: 2\r\n\r\nok", False))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"ok")
    assert (answer.field("x-a"), answer.field("content-length")) == (b"1", b"2")
