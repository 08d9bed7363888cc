"""An answer that a model sends before it has read the upload reaches the client, whatever becomes of the upload."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from crossfade.dataplane.owner import Owner
from crossfade.dataplane.upstream import Upstream
from crossfade.errors import Stage
from crossfade.http1.request_head import parse_request
from crossfade.http1.response_head import ResponseHead
from crossfade.routing.snapshot import Endpoint, Tls
from tests.build import interpreted
from tests.certificates import Authority
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation
from tests.dataplane.wire import GUARD, Wire

SIZE = 3 * 1024 * 1024
UPLOADS = 20
TOO_BIG = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 7\r\n\r\ntoo big"
UNTIL_CLOSE = b"HTTP/1.0 413 Payload Too Large\r\n\r\ntoo big"
CHUNKED = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ntoo big\r\n0\r\n\r\n"


async def answer_and_close(conversation: Conversation, raw: bytes) -> None:
    """Unread bytes of the upload make the kernel send a reset."""
    await conversation.head()
    await conversation.send(raw)
    conversation.close()


async def answer_and_reset(conversation: Conversation, raw: bytes) -> None:
    await conversation.until(b"\r\n\r\n")
    await conversation.send(raw)
    conversation.reset()


async def answer_and_half_close(conversation: Conversation, raw: bytes) -> None:
    await conversation.head()
    await conversation.send(raw)
    conversation.half_close()
    await asyncio.sleep(0.01)
    conversation.close()


async def upload(client: Wire) -> int:
    """As most clients do: send all, and read then; look for an answer if sending fails."""
    head = b"POST /predict HTTP/1.1\r\nHost: models\r\nContent-Length: %d\r\n\r\n" % SIZE
    with contextlib.suppress(OSError):
        await client.send(head)
        await client.pour(b"z" * SIZE)
    answer = await client.answer()
    assert answer.body == b"too big", answer
    return answer.status


Ending = Callable[[Conversation, bytes], Awaitable[None]]
ENDS = {"close": answer_and_close, "reset": answer_and_reset, "half-close": answer_and_half_close}


async def test_an_early_answer_that_ends_with_the_connection_reaches_the_client(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await answer_and_half_close(conversation, UNTIL_CLOSE)

    harness.backend("v2", script)
    harness.use(route("v2"))
    for _ in range(UPLOADS):
        client = await harness.client()
        assert await upload(client) == 413
        client.close()
    assert (await harness.cell("v2")).failures == {}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("raw, status", [(TOO_BIG, 413), (CHUNKED, 503)], ids=["413", "503"])
async def test_an_early_answer_reaches_the_client(
    harness: Harness, end: Ending, raw: bytes, status: int
) -> None:
    async def script(conversation: Conversation) -> None:
        await end(conversation, raw)

    harness.backend("v2", script)
    harness.use(route("v2"))
    got: Counter[int] = Counter()
    for _ in range(UPLOADS):
        client = await harness.client()
        got[await upload(client)] += 1
        client.close()
    assert got == {status: UPLOADS}
    cell = await harness.cell("v2")
    assert cell.failures == ({"status": UPLOADS} if status == 503 else {}), "the model is not blamed"


def answer_over_tls(listener: socket.socket, context: ssl.SSLContext) -> None:
    """In a thread of its own, as a model is a process of its own: it closes while the proxy is writing."""
    with contextlib.suppress(OSError):
        while True:
            plain, _ = listener.accept()
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(4096)
                connection.sendall(TOO_BIG)


async def test_an_early_answer_over_tls_reaches_the_client(harness: Harness, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        Thread(target=answer_over_tls, args=(listener, authority.server("127.0.0.1")), daemon=True).start()
        at = Endpoint("127.0.0.1", port, f"127.0.0.1:{port}", True, f"https://127.0.0.1:{port}", tls=True)
        harness.replica("v2", at, tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        for _ in range(UPLOADS):
            client = await harness.client()
            assert await upload(client) == 413
            client.close()
        assert (await harness.cell("v2")).failures == {}
        listener.shutdown(socket.SHUT_RDWR)


def end_over_tls(listener: socket.socket, context: ssl.SSLContext, done: Event) -> None:
    plain, _ = listener.accept()
    with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
        connection.recv(4096)
        connection.shutdown(socket.SHUT_WR)
        done.wait(6 * GUARD)


async def test_a_backend_that_ends_without_an_answer_is_not_waited_for_over_tls(
    harness: Harness, tmp_path: Path
) -> None:
    authority, done = Authority(tmp_path), Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        context = authority.server("127.0.0.1")
        Thread(target=end_over_tls, args=(listener, context, done), daemon=True).start()
        at = Endpoint("127.0.0.1", port, f"127.0.0.1:{port}", True, f"https://127.0.0.1:{port}", tls=True)
        harness.replica("v2", at, tls=Tls(ca=authority.file), first_byte_timeout=3600.0)
        harness.use(route("v2"))
        client = await harness.client()
        await client.send(
            b"POST /predict HTTP/1.1\r\nHost: models\r\nContent-Length: %d\r\n\r\n" % (4 * SIZE)
        )
        pouring = asyncio.create_task(client.pour(b"z" * (4 * SIZE)))
        answer = await client.answer()
        assert answer.status == 502
        pouring.cancel()
        done.set()


class Recorded(Owner):
    """Keeps what a connection reports."""

    def __init__(self) -> None:
        self.head = parse_request(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
        self.request_id = self.trace = self.forwarded_lines = self.trailers = self.answer_trailers = b""
        self.request_done = self.expecting = False
        self.reported: list[object] = []

    def on_response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        self.reported.append(head.status)

    def on_upstream_failed(self, stage: Stage) -> None:
        self.reported.append(stage)


class Lost(asyncio.Transport):
    """A transport whose write has failed."""

    def write(self, data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        pass


@interpreted
@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("streams", [False, True])
async def test_bytes_that_came_before_the_request_are_no_answer_to_it(
    harness: Harness, reused: bool, streams: bool
) -> None:
    """A backend that closes an idle connection may say why (408). The next request did not cause that answer."""
    harness.backend("v2")
    harness.use(route("v2"))
    (endpoint,) = harness.plane.backends["v2"].endpoints.values()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        theirs.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        theirs.close()
        upstream = Upstream(endpoint)
        upstream.connection_made(Lost({"socket": ours}))
        upstream.reused = reused
        owner = Recorded()
        upstream.ask(owner, b"x")
        if streams:
            upstream.send(b"y", False, b"")
        upstream.connection_lost(BrokenPipeError())
    assert owner.reported == [408 if streams or not reused else Stage.STALE]
    assert endpoint.idle == []


async def test_a_backend_that_ends_without_an_answer_is_not_waited_for(harness: Harness) -> None:
    """It reads no more of the upload, so the proxy could wait until a timeout to write the rest."""

    answered = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        conversation.half_close()
        await answered.wait()

    harness.backend("v2", script, receive_buffer=4096, first_byte_timeout=3600.0)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"POST /predict HTTP/1.1\r\nHost: models\r\nContent-Length: %d\r\n\r\n" % SIZE)
    pouring = asyncio.create_task(client.pour(b"z" * SIZE))
    answer = await client.answer()
    assert (answer.status, answer.error) == (502, b"upstream/reset")
    pouring.cancel()
    answered.set()
