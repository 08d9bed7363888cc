"""Answers without a body (204, 304, to HEAD): nothing that frames a body is invented, and the next answer begins where it should."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.routing.snapshot import Cors, OwnAnswer
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import answering
from tests.dataplane.test_own_routes import own
from tests.dataplane.wire import Message, get, ok

OLD = b"Date: Sat, 21 Nov 2026 00:00:00 GMT\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n"
NOT_MODIFIED = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n'
END = b"\r\n"
LENGTH, ZERO, CHUNKED = b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"
CHANGED: dict[str, Any] = {
    "fields_set": (("x-set", "1"), ("cache-control", "no-store")),
    "fields_removed": ("server", "etag"),
    "cors": Cors(("*",), ("*",)),
}
GET, HEAD = get(), get().replace(b"GET", b"HEAD", 1)
OF_1_0 = b"GET /predict HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
HEAD_OF_1_0 = OF_1_0.replace(b"GET", b"HEAD")


def framing(answer: Message) -> tuple[bytes | None, bytes | None]:
    return answer.field("content-length"), answer.field("transfer-encoding")


async def asked_twice(harness: Harness, raw: bytes, sent: bytes, changed: bool) -> Message:
    """Both answers on one connection of each side."""
    backend = harness.backend("v2", answering(sent))
    harness.use(route("v2", **(CHANGED if changed else {})))
    client = await harness.client()
    await client.send(raw + raw)
    first, second = [await client.head() for _ in range(2)]
    assert (first.first, framing(first)) == (second.first, framing(second))
    assert (client.buffer, len(backend.conversations)) == (b"", 1)
    assert len(first.all("date")) == 1
    if raw in (GET, HEAD):
        assert first.field("connection") is None
    else:
        assert first.field("connection") == b"keep-alive"
    if changed:
        assert (first.field("x-set"), first.field("etag")) == (b"1", None)
    await harness.quiet()
    return first


@pytest.mark.parametrize("changed", [False, True], ids=["as it is", "changed"])
@pytest.mark.parametrize("raw", [GET, HEAD, OF_1_0, HEAD_OF_1_0], ids=["GET", "HEAD", "1.0", "HEAD 1.0"])
@pytest.mark.parametrize("framed", [b"", ZERO, LENGTH, CHUNKED], ids=["bare", "0", "5", "chunked"])
@pytest.mark.parametrize("dated", [b"", OLD], ids=["undated", "dated"])
async def test_a_204_has_nothing_that_frames_a_body(
    harness: Harness, raw: bytes, framed: bytes, dated: bytes, changed: bool
) -> None:
    """RFC 9110 section 8.6 and RFC 9112 section 6.1: neither of the two fields, whatever the model sends."""
    answer = await asked_twice(harness, raw, NO_CONTENT + framed + dated + END, changed)
    assert (answer.status, framing(answer)) == (204, (None, None))


@pytest.mark.parametrize("changed", [False, True], ids=["as it is", "changed"])
@pytest.mark.parametrize("raw", [GET, HEAD, OF_1_0], ids=["GET", "HEAD", "1.0"])
@pytest.mark.parametrize("framed", [b"", LENGTH, CHUNKED], ids=["bare", "5", "chunked"])
async def test_a_304_says_the_length_that_the_model_says_and_no_other(
    harness: Harness, raw: bytes, framed: bytes, changed: bool
) -> None:
    """RFC 9110 section 8.6: the length of what a 200 would have had."""
    answer = await asked_twice(harness, raw, NOT_MODIFIED + framed + END, changed)
    assert (answer.status, framing(answer)) == (304, (b"5" if framed == LENGTH else None, None))


@pytest.mark.parametrize("changed", [False, True], ids=["as it is", "changed"])
@pytest.mark.parametrize("raw", [HEAD, HEAD_OF_1_0], ids=["1.1", "1.0"])
@pytest.mark.parametrize("framed", [b"", LENGTH, CHUNKED], ids=["bare", "5", "chunked"])
async def test_an_answer_to_head_says_the_length_that_the_model_says(
    harness: Harness, raw: bytes, framed: bytes, changed: bool
) -> None:
    answer = await asked_twice(harness, raw, b"HTTP/1.1 200 OK\r\n" + framed + END, changed)
    assert (answer.status, framing(answer)[0]) == (200, b"5" if framed == LENGTH else None)
    assert framing(answer)[1] is None


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("raw", [GET, HEAD, OF_1_0], ids=["GET", "HEAD", "1.0"])
async def test_a_fixed_answer_without_a_body_is_framed_the_same(
    harness: Harness, raw: bytes, status: int
) -> None:
    harness.use(own(OwnAnswer(status), fields_set=(("x-set", "1"),)))
    client = await harness.client()
    await client.send(raw + raw)
    for _ in range(2):
        answer = await client.head()
        assert (answer.status, framing(answer), answer.field("x-set")) == (status, (None, None), b"1")
        assert len(answer.all("date")) == 1
    assert client.buffer == b""


async def test_a_205_has_a_length(harness: Harness) -> None:
    """It has no body, but a client finds its end by the length or the chunks (RFC 9110 section 15.3.6)."""
    harness.backend("v2", answering(b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"))
    harness.use(route("v2", **CHANGED))
    client = await harness.client()
    await client.send(GET + GET)
    for _ in range(2):
        assert (await client.answer()).field("content-length") == b"0"


# ── HTTP/1.0 ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (b"", False),
        (b"Connection: keep-alive\r\n", True),
        (b"Connection: Keep-Alive, x\r\n", True),
        (b"Connection: keep-alive, close\r\n", False),
        (b"Connection: close\r\nConnection: keep-alive\r\n", False),
        (b"Keep-Alive: timeout=5\r\n", False),
        (b"Connection: upgrade\r\nUpgrade: h2c\r\n", False),
    ],
)
@pytest.mark.parametrize(
    "script", [ok(b"x"), NO_CONTENT + END, NOT_MODIFIED + END, b"own"], ids=["200", "204", "304", "own"]
)
async def test_an_http_1_0_client_keeps_its_connection_where_it_asks_for_that(
    harness: Harness, options: bytes, kept: bool, script: bytes
) -> None:
    harness.backend("v2", answering(script))
    harness.use(own(OwnAnswer(200, b"own")) if script == b"own" else route("v2"))
    client = await harness.client()
    raw = b"GET /predict HTTP/1.0\r\n" + options + b"\r\n"
    await client.send(raw + raw)
    for _ in range(2 if kept else 1):
        answer = await client.answer()
        assert answer.field("connection") == (b"keep-alive" if kept else b"close")
    if not kept:
        assert await client.rest() == (b"", "closed")


async def test_an_upload_of_an_http_1_0_client_keeps_its_connection(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    raw = b"POST /predict HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"
    await client.send(raw + raw.replace(b"Content-Length: 5\r\n\r\nhello", b"\r\n"))
    for _ in range(2):
        assert (await client.answer()).body == b"v2"
    assert [request.body for request in backend.requests] == [b"hello", b""]


async def test_chunks_of_an_http_1_0_client_are_refused(harness: Harness) -> None:
    """RFC 9112 section 6.1: its framing is faulty."""
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(
        b"POST /predict HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (400, b"close")
    assert await client.rest() == (b"", "closed")
