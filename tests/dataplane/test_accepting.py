"""Over TLS a turn of the loop accepts several connections; a drain closes all that accept, and waits for handshakes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct

import pytest

from crossfade.dataplane import listener
from crossfade.dataplane.listener import TLS_ACCEPTS
from tests.certificates import Authority
from tests.dataplane.plane import Harness, route
from tests.dataplane.wire import get

WAITING = 2 * TLS_ACCEPTS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def sock(harness: Harness, authority: Authority) -> socket.socket:
    """The proxy accepts from it over TLS."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=WAITING)
    sock.setblocking(False)
    await harness.plane.listen(sock, authority.server("127.0.0.1"))
    return sock


def not_accepted(sock: socket.socket) -> int:
    """Connections of a listening socket that wait: tcpi_unacked in Linux's tcp.h."""
    return int(struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28), 24)[0])


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def answer_of(client: socket.socket, authority: Authority) -> bytes:
    context = ssl.create_default_context(cafile=authority.file)
    with context.wrap_socket(client, server_hostname="127.0.0.1") as tls:
        tls.sendall(get())
        return tls.recv(4096)


async def test_a_turn_accepts_several_connections_over_tls(sock: socket.socket) -> None:
    clients = [socket.create_connection(sock.getsockname()) for _ in range(WAITING)]
    before = not_accepted(sock)
    await turns(2)  # the loop looks at a new socket in the second
    after = not_accepted(sock)
    for client in clients:
        client.close()
    assert before == WAITING
    assert after <= WAITING - TLS_ACCEPTS


async def test_a_drain_closes_all_that_accept(harness: Harness, sock: socket.socket) -> None:
    name = sock.getsockname()
    await harness.plane.drain(0.1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(name)


async def test_a_drain_waits_for_a_handshake_that_has_begun(
    harness: Harness, sock: socket.socket, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "DRAIN_IDLE", 60.0)
    harness.backend("v1")
    harness.use(route("v1"))
    client = socket.create_connection(sock.getsockname())
    await turns(3)
    assert not not_accepted(sock)
    draining = asyncio.create_task(harness.plane.drain(60))
    await asyncio.sleep(0.1)
    assert not draining.done()
    answered = await asyncio.to_thread(answer_of, client, authority)
    assert answered.startswith(b"HTTP/1.1 200")
    harness.plane.end_drain_within(0)
    await draining


async def test_a_silent_connection_does_not_hold_up_a_drain(harness: Harness, sock: socket.socket) -> None:
    with socket.create_connection(sock.getsockname()), socket.create_connection(sock.getsockname()):
        await harness.plane.drain(30)  # accepts them itself, as no turn has passed
    assert harness.plane.loop.time() < harness.plane.drain_end
