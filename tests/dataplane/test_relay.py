"""Requests and answers pass unchanged with each framing, and in pieces of any size."""

from __future__ import annotations

import re

import pytest

from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.scripted import Conversation, answering, closing, each
from tests.dataplane.wire import Message, chunked, get, ok, post, wait_until

BODY = bytes(range(256)) * 3

ANSWERS = {
    "length": (ok(BODY), BODY),
    "empty": (ok(b""), b""),
    "one chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY), BODY),
    "chunks with extensions and trailers": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2;a=b\r\nhe\r\n003\r\nllo\r\n0\r\nX-T: 1\r\n\r\n",
        b"hello",
    ),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "not modified": (b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 768\r\n\r\n', b""),
    "error": (b"HTTP/1.1 529 Overloaded\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy", b"busy"),
}
REQUESTS = {
    "no body": (get(), b""),
    "length": (post(BODY), BODY),
    "empty body": (post(b""), b""),
    "chunked": (
        b"POST /predict HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY, b"x"),
        BODY + b"x",
    ),
    "GET with a body": (b"GET /predict HTTP/1.1\r\nHost: models\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("raw, body", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_passes_unchanged_and_keeps_both_connections(
    harness: Harness, raw: bytes, body: bytes, bytewise: bool
) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await (conversation.send_bytewise(raw) if bytewise else conversation.send(raw))

    backend = harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    for _ in range(2):
        await client.send(get())
        answer = await client.answer()
        assert answer.first == raw.partition(b"\r\n")[0]
        assert answer.body == body
        assert client.buffer == b""
    await harness.quiet()
    assert len(backend.conversations) == 1, "the second exchange reuses both connections"


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
async def test_an_answer_until_close_reaches_the_client_in_chunks(harness: Harness, bytewise: bool) -> None:
    """With chunks, the client can tell the end of the answer from a cut."""

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        raw = b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n" + BODY
        await (conversation.send_bytewise(raw) if bytewise else conversation.send(raw))
        conversation.close()

    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    for _ in range(2):
        await client.send(get())
        answer = await client.answer()
        assert (answer.field("transfer-encoding"), answer.body) == (b"chunked", BODY)
    assert len(harness.backends["v2"].conversations) == 2


@pytest.mark.parametrize("framing", [b"Content-Length: 768", b"Transfer-Encoding: chunked", b"X-None: 1"])
async def test_an_answer_to_head_has_no_body_and_keeps_the_connection_in_sync(
    harness: Harness, framing: bytes
) -> None:
    backend = harness.backend("v2", answering(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"))
    harness.use(route("v2"))
    client = await harness.client()
    for _ in range(3):
        await client.send(get().replace(b"GET", b"HEAD"))
        assert (await client.answer(to="HEAD")).status == 200
        assert client.buffer == b""
    assert len(backend.conversations) == 1


@pytest.mark.parametrize("delivery", ["whole", "bytewise", "pipelined"])
@pytest.mark.parametrize("raw, body", REQUESTS.values(), ids=REQUESTS)
async def test_a_request_passes_unchanged(harness: Harness, raw: bytes, body: bytes, delivery: str) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    if delivery == "bytewise":
        await client.send_bytewise(raw)
    else:
        await client.send(raw + (get("/next") if delivery == "pipelined" else b""))
    assert (await client.answer()).body == b"v2"
    if delivery == "pipelined":
        assert (await client.answer()).body == b"v2"
        assert backend.requests[1].first == b"GET /next HTTP/1.1"
    assert backend.requests[0].first == raw.partition(b"\r\n")[0]
    assert backend.requests[0].body == body
    assert len(backend.conversations) == 1


async def test_pipelined_requests_are_answered_in_order(harness: Harness) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(ok(request.first.split(b" ")[1] + request.body))

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    raw = [get("/1"), post(b"-a", "/2"), get("/3"), post(b"-b", "/4"), b"\r\n", get("/5")]
    await client.send(b"".join(raw))
    answers = [(await client.answer()).body for _ in range(5)]
    assert answers == [b"/1", b"/2-a", b"/3", b"/4-b", b"/5"]


@pytest.mark.parametrize("empty_lines", [1, 2, 3])
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
async def test_empty_lines_before_a_request_are_skipped(
    harness: Harness, empty_lines: int, bytewise: bool
) -> None:
    """The result does not depend on the pieces in which the lines arrive (law 11)."""
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    raw = b"\r\n" * empty_lines + get()
    await (client.send_bytewise(raw) if bytewise else client.send(raw))
    assert (await client.answer()).status == 200


async def test_the_proxy_changes_only_its_own_fields_of_an_answer(harness: Harness) -> None:
    head = (
        b"HTTP/1.1 299 Fine by me\r\nDate: now\r\nX-B: 2\r\nX-A: 1\r\nX-B: 1\r\n"
        b"set-cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\nServer: \xe9\r\n"
    )
    harness.backend("v2", answering(head + b"\r\nok"))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get(fields=[b"X-Request-Id: mine-1"]))
    await client.answer()
    assert client.received == head + b"x-request-id: mine-1\r\nx-crossfade-backend: v2\r\n\r\nok"


async def test_hop_by_hop_fields_of_an_answer_are_removed(harness: Harness) -> None:
    raw = (
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"x-crossfade-backend: other\r\nx-request-id: theirs\r\nContent-Length: 0\r\n\r\n"
    )
    harness.backend("v2", answering(raw))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get(fields=[b"x-request-id: ours"]))
    answer = await client.answer()
    names = [name for name, _ in answer.fields]
    assert names == [b"Content-Length", b"Date", b"x-request-id", b"x-crossfade-backend"]
    assert (answer.field("x-request-id"), answer.backend) == (b"ours", "v2")


@pytest.mark.parametrize(
    ("status", "named"), [(b"426 Upgrade Required", [b"TLS/1.3, websocket"]), (b"200 OK", [])]
)
async def test_a_426_names_the_protocols_that_the_model_demands(
    harness: Harness, status: bytes, named: list[bytes]
) -> None:
    answer = (
        b"HTTP/1.1 %b\r\nConnection: Upgrade\r\nUpgrade: TLS/1.3, websocket\r\nContent-Length: 4\r\n\r\nmust"
        % status
    )
    harness.backend("v2", answering(answer))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    received = await client.answer()
    assert received.body == b"must"
    assert received.all("upgrade") == named
    assert received.all("connection") == [b"Upgrade" for _ in named]


async def test_the_forwarded_request_has_exactly_these_bytes(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(
        b"POST /v2/models%2Fa/infer?x=1&x=%20 HTTP/1.1\r\nX-B: 2\r\nHost: Models.Example:80\r\nx-a: \xe9\r\n"
        b"X-B: 1\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Crossfade-Backend: v9\r\n"
        b"x_crossfade_mirror: 1\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n"
        b"x-request-id: abc\r\ntraceparent: 00-1-2-01\r\nExpect: 100-continue\r\n\r\nhi"
    )
    await client.answer()
    assert backend.conversations[0].received == (
        b"POST /v2/models%2Fa/infer?x=1&x=%20 HTTP/1.1\r\nHost: Models.Example:80\r\nX-B: 2\r\nx-a: \xe9\r\n"
        b"X-B: 1\r\ntraceparent: 00-1-2-01\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
        b'Forwarded: for=127.0.0.1;proto=http;host="Models.Example:80"\r\n'
        b"X-Forwarded-Host: Models.Example:80\r\nx-request-id: abc\r\nContent-Length: 2\r\n\r\nhi"
    )


@pytest.mark.parametrize("sent", [None, b"", b"two words", b"x" * 129])
async def test_a_missing_or_malformed_request_id_is_replaced(harness: Harness, sent: bytes | None) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    ids = []
    for _ in range(2):
        await client.send(get(fields=[] if sent is None else [b"x-request-id: " + sent]))
        answer = await client.answer()
        ids.append(answer.field("x-request-id"))
        assert backend.requests[-1].all("x-request-id") == answer.all("x-request-id") == ids[-1:]
    assert ids[0] != ids[1]
    assert re.fullmatch(rb"[0-9a-f]{32}", ids[0] or b"")


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.mark.parametrize("begins", [False, True])
async def test_the_traceparent_of_a_client_is_passed_on(harness: Harness, begins: bool) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"), begins_traces=begins)
    client = await harness.client()
    await client.send(get(fields=[b"traceparent: " + TRACE, b"tracestate: a=b"]))
    await client.answer()
    assert backend.requests[0].all("traceparent") == [TRACE]
    assert backend.requests[0].all("tracestate") == [b"a=b"]


async def test_no_trace_is_begun_by_default(harness: Harness) -> None:
    """The model's own sampler decides, as without a proxy."""
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    assert backend.requests[0].all("traceparent") == []


async def test_a_trace_that_the_proxy_begins_is_sampled_and_shared_with_copies(harness: Harness) -> None:
    backend, copies = harness.backend("v2"), harness.backend("v3")
    harness.use(route("v2", mirrors=mirrored("v3")), begins_traces=True)
    client = await harness.client()
    await client.send(get(fields=[b"x-request-id: not-a-trace-id"]))
    await client.answer()
    await wait_until(lambda: copies.requests)
    (trace,) = backend.requests[0].all("traceparent")
    assert re.fullmatch(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01", trace)
    assert copies.requests[0].all("traceparent") == [trace]


async def test_a_reload_changes_whether_traces_are_begun(harness: Harness) -> None:
    backend = harness.backend("v2")
    client = await harness.client()
    for begins in (False, True, False):
        harness.use(route("v2"), begins_traces=begins)
        await client.send(get())
        await client.answer()
        assert len(backend.requests[-1].all("traceparent")) == begins


async def test_an_early_complete_answer_ends_both_connections(harness: Harness) -> None:
    """The answer reaches the client during the upload. Neither connection is used again."""

    async def script(conversation: Conversation) -> None:
        request = await conversation.head()
        conversation.requests.append(request)
        await conversation.send(b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno")
        await conversation.watch()

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc")
    answer = await client.answer()
    assert (answer.status, answer.body, answer.field("connection")) == (413, b"no", b"close")
    await client.send(b"x" * 1000)
    assert await client.rest() == (b"", "closed")
    await harness.quiet()
    assert (await harness.cell("v2")).codes == {413: 1}
    next_client = await harness.client()
    await next_client.send(post(b"x"))
    assert (await next_client.answer()).status == 413
    assert len(backend.conversations) == 2


async def test_an_upload_and_its_answer_stream_at_the_same_time(harness: Harness) -> None:
    """Both bodies arrive complete."""

    async def script(conversation: Conversation) -> None:
        request = await conversation.head()
        await conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            size = int(await conversation.until(b"\r\n"), 16)
            piece = await conversation.exactly(size + 2)
            await conversation.send(b"%x\r\n%b" % (size, piece))
        assert await conversation.until(b"0\r\n\r\n")
        await conversation.send(b"0\r\n\r\n")
        conversation.requests.append(request)

    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    head = await client.head()
    assert (head.status, head.field("connection")) == (200, b"close")
    for piece in (b"one", b"two", b"three"):
        await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert await client.exactly(len(piece) + 5) == b"%x\r\n%b\r\n" % (len(piece), piece)
    await client.send(b"0\r\n\r\n")
    assert await client.rest() == (b"0\r\n\r\n", "closed")


async def test_connection_close_ends_the_client_and_the_backend_connection(harness: Harness) -> None:
    backend = harness.backend("v2", closing(ok(b"bye", [b"Connection: close"])))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get(fields=[b"Connection: close"]))
    answer = await client.answer()
    assert (answer.body, answer.field("connection")) == (b"bye", b"close")
    assert await client.rest() == (b"", "closed")
    next_client = await harness.client()
    await next_client.send(get())
    assert (await next_client.answer()).body == b"bye"
    assert len(backend.conversations) == 2
