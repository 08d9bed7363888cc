"""A worker that was busy reads what has arrived before it looks at deadlines: no model is blamed for the proxy's delay."""

from __future__ import annotations

import contextlib
import socket
from threading import Thread
from time import monotonic, sleep

import pytest

from tests.dataplane.plane import Harness, endpoint, route
from tests.dataplane.wire import get, ok, wait_until

PROMPT, TIMEOUT, LAG = 0.1, 0.3, 0.7  # seconds


def answer_promptly(listener: socket.socket) -> None:
    """In a thread of its own: the test keeps the event loop busy."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                sleep(PROMPT)
                connection.sendall(ok(b"in time"))
                connection.recv(4096)


def be_busy(sock: socket.socket) -> None:
    sock.recv(1)
    end = monotonic() + LAG
    while monotonic() < end:
        pass


@pytest.mark.parametrize("pure", [False, True])
async def test_an_answer_that_came_in_time_is_no_timeout(harness: Harness, pure: bool) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with socket.create_server(("127.0.0.1", 0)) as listener, ours, theirs:
        Thread(target=answer_promptly, args=(listener,), daemon=True).start()
        harness.replica("v2", endpoint(listener.getsockname()[1]), first_byte_timeout=TIMEOUT)
        harness.use(route("v2", pure=pure))
        client = await harness.client()
        await client.send(get())
        await wait_until(lambda: any(e.upstream is not None for e in harness.plane.active))
        harness.plane.loop.add_reader(ours, be_busy, ours)  # as any other connection that is read
        theirs.send(b"x")
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"in time")
        assert (await harness.cell("v2")).failures == {}
        harness.plane.loop.remove_reader(ours)
        harness.plane.close_idle(float("inf"))
        listener.shutdown(socket.SHUT_RDWR)
