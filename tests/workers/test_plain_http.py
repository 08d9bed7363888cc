"""A client that speaks plain HTTP on a port with TLS: what it gets, in one piece or byte by byte."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import uvloop

from crossfade.workers.messages import Certificate
from crossfade.workers.plain_http import answer_to
from crossfade.workers.tls import Credentials
from tests.certificates import Authority


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    return Credentials(Certificate(*Authority(tmp_path).files("localhost")))


async def asked(credentials: Credentials, parts: list[bytes], end: bool = False) -> bytes:
    """What a client that sends these parts gets until it is all there."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("no handshake was made")

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=credentials.context)
    async with server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.001)
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return head + await reader.readexactly(size)
        finally:
            writer.close()


REQUEST = b"GET /predict?a=%20b HTTP/1.1\r\nHost: localhost:8443\r\n\r\n"


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("bytewise", [False, True])
def test_a_get_is_redirected_to_the_same_port(credentials: Credentials, loop, bytewise) -> None:
    parts = [bytes((byte,)) for byte in REQUEST] if bytewise else [REQUEST]
    answer = loop(asked(credentials, parts))
    assert answer.startswith(b"HTTP/1.1 308 Permanent Redirect\r\n")
    assert b"\r\nLocation: https://localhost:8443/predict?a=%20b\r\n" in answer
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run])
@pytest.mark.parametrize(
    "request_",
    [
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000),
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /" + b"x" * 9000,
    ],
)
def test_any_other_request_learns_that_the_port_speaks_tls(credentials: Credentials, loop, request_) -> None:
    answer = loop(asked(credentials, [request_]))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"This port speaks TLS" in answer
    assert b"\r\nx-crossfade-error: downstream/parse\r\n" in answer


@pytest.mark.parametrize("noise", [b"\x16\x03\x01\x00\x05hello", bytes(10), b"get / HTTP/1.1\r\n\r\n"])
def test_bytes_that_are_neither_end_the_connection(credentials: Credentials, noise: bytes) -> None:
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        uvloop.run(asked(credentials, [noise]))


def test_a_client_that_sends_on_and_on_is_cut(credentials: Credentials) -> None:
    async def pour() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0, ssl=credentials.context)
        async with server, asyncio.timeout(10):
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            with pytest.raises(ConnectionError):
                while True:
                    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
                    await writer.drain()
                    await asyncio.sleep(0)
            writer.close()

    uvloop.run(pour())


def test_nothing_of_the_request_can_break_the_answer() -> None:
    for target in (b"*", b"//evil.test/x", b"/a\tb"):
        answer = answer_to(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"400" in answer[:13] or b"Location: https://x" + target in answer


def test_a_handshake_is_made_as_before(credentials: Credentials, tmp_path: Path) -> None:
    async def talk() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())

        trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=credentials.context)
        async with server, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname(), ssl=trusting, server_hostname="localhost"
            )
            writer.write(b"hello\n")
            line = await reader.readline()
            writer.close()
            return line

    assert uvloop.run(talk()) == asyncio.run(talk()) == b"hello\n"
