from __future__ import annotations

import asyncio
import json

import pytest

from loadtests.client import press, requests_of
from loadtests.peers.origin import LARGE, SMALL, start
from loadtests.ports import free_ports
from loadtests.work import WORKS

POST = b"POST /predict HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 5\r\n\r\nhello"
GET = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
ECHO = b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n"


async def exchange(port: int, pieces: list[bytes], answers: int) -> list[tuple[str, bytes]]:
    """(x-origin, body) of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    found = []
    for _ in range(answers):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        found.append((fields["X-Origin"], await reader.readexactly(int(fields["Content-Length"]))))
    writer.close()
    await writer.wait_closed()
    return found


WHOLE = POST + GET + POST


@pytest.mark.parametrize(
    "pieces",
    [
        [WHOLE],
        [WHOLE[i : i + 1] for i in range(len(WHOLE))],
        [POST[:-1], POST[-1:] + GET[:3], GET[3:] + POST],
    ],
    ids=["together", "byte by byte", "across"],
)
async def test_requests_in_any_pieces_are_answered_in_order(pieces: list[bytes]) -> None:
    (port,) = free_ports(1)
    async with await start("a", port):
        answers = await exchange(port, pieces, 3)
    assert answers == [("a", SMALL), ("a", LARGE), ("a", SMALL)]


async def test_echo_shows_the_head_that_arrived() -> None:
    (port,) = free_ports(1)
    async with await start("b", port):
        assert await exchange(port, [ECHO], 1) == [("b", ECHO[:-4])]


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
async def test_the_client_counts_what_is_answered(work) -> None:
    (port,) = free_ports(1)
    async with await start("a", port):
        found = json.loads(await press(port, work, connections=3, seconds=0.2))
    assert found["requests"] > 10 and found["errors"] == 0
    assert 0 < found["p50_us"] <= found["p99_us"]
    assert found["seconds"] >= 0.2


async def test_the_client_counts_refusals_as_errors() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = json.loads(await press(port, WORKS[1], connections=1, seconds=0.1))
    assert found["requests"] > 0 and found["errors"] == found["requests"]


def test_every_customer_has_a_request_of_its_own() -> None:
    requests = requests_of(WORKS[0], 1)
    assert len(set(requests)) == len(requests) == 1000
    assert all(request.endswith(WORKS[0].body) for request in requests)


def test_bodies_are_of_the_size_that_the_table_says() -> None:
    assert f"{len(WORKS[0].body)} B" in WORKS[0].title
    assert len(LARGE) == 100_000 and "100 kB" in WORKS[1].title
