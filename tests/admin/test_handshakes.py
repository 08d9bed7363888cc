"""The admin port with TLS: connections whose handshake does not end are few, and in nobody's way."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crossfade.admin import connections, handshakes
from crossfade.admin.access import Access
from crossfade.admin.api import admin_app
from crossfade.admin.connections import AdminSite, admin_runner
from crossfade.config.admin import AdminConfig
from crossfade.workers.messages import Certificate
from crossfade.workers.tls import context_of
from tests.admin.site import Reloads
from tests.certificates import Authority
from tests.control.harness import Harness

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Port:
    def __init__(
        self, sock: socket.socket, site: AdminSite, trusting: ssl.SSLContext, known: list[AdminConfig]
    ) -> None:
        self.known = known  # one configuration
        self.number = sock.getsockname()[1]
        self.site = site
        self.trusting = trusting

    @property
    def shaking(self) -> int:
        assert self.site.handshakes is not None
        return len(self.site.handshakes.shaking)

    async def silent(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.number)

    async def answer(self) -> bytes:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.number, ssl=self.trusting, server_hostname="localhost"
        )
        writer.write(GET)
        found = await reader.read()
        writer.close()
        return found


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    authority, harness, known = Authority(tmp_path), Harness(), [AdminConfig()]
    access = Access(lambda: known[0])
    runner = admin_runner(admin_app(harness.controller, Reloads(harness), access))
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    site = AdminSite(runner, sock, context_of(Certificate(*authority.files("localhost"))))
    await site.start()
    yield Port(sock, site, ssl.create_default_context(cafile=authority.file), known)
    await runner.cleanup()
    harness.store.close()


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_request_over_tls(port: Port) -> None:
    assert (await port.answer()).startswith(b"HTTP/1.1 200 OK\r\n")
    await until(lambda: port.shaking == 0)
    await until(lambda: not port.site.connections.open)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 4)


@pytest.mark.usefixtures("few")
async def test_silent_connections_are_bounded_and_the_oldest_makes_room(port: Port) -> None:
    silent = [await port.silent() for _ in range(10)]
    await until(lambda: port.shaking == 4)
    for reader, _ in silent[:6]:
        assert await reader.read() == b""
    assert (await port.answer()).startswith(b"HTTP/1.1 200 OK\r\n")
    for _, writer in silent:
        writer.close()
    await until(lambda: port.shaking == 0)


async def test_a_handshake_that_does_not_end_is_ended(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "HANDSHAKE_TIME", 0.1)
    reader, writer = await port.silent()
    writer.write(b"\x16\x03\x01")
    assert await reader.read() == b""
    await until(lambda: port.shaking == 0)
    writer.close()


async def test_plain_http_is_told_that_this_is_tls(port: Port) -> None:
    reader, writer = await port.silent()
    writer.write(b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.read(12)) == b"HTTP/1.1 400"
    writer.close()


@pytest.mark.parametrize("said", [b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 70000, b""])
async def test_what_is_no_tls_ends_the_connection(port: Port, said: bytes) -> None:
    _, writer = await port.silent()
    writer.write(said)
    writer.close()
    await until(lambda: port.shaking == 0)
    assert (await port.answer()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_stop_ends_handshakes(port: Port) -> None:
    reader, writer = await port.silent()
    await until(lambda: port.shaking == 1)
    await port.site.stop()
    assert await reader.read() == b""
    with pytest.raises(OSError):
        await port.silent()
    writer.close()


@pytest.mark.parametrize(("scheme", "status"), [("https", b"404"), ("http", b"403")])
async def test_a_page_that_came_without_tls_is_another_page(port: Port, scheme: str, status: bytes) -> None:
    """Somebody on the way could have put anything into it."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port.number, ssl=port.trusting, server_hostname="localhost"
    )
    origin = f"Origin: {scheme}://localhost:1\r\n".encode()
    writer.write(b"GET /nothing HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n" + origin + b"\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 " + status)
    writer.close()


async def test_the_cookie_of_a_login_over_tls_is_secure(port: Port) -> None:
    port.known[:] = [AdminConfig(token="0123456789abcdef")]
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port.number, ssl=port.trusting, server_hostname="localhost"
    )
    body = b'{"token": "0123456789abcdef"}'
    writer.write(
        b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 ") and b"; Secure" in answer
    writer.close()
