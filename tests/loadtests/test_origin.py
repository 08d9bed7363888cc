from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from loadtests.client import requests_of, run_load
from loadtests.pace import Pace
from loadtests.peers.origin import LARGE, SMALL
from loadtests.ports import free_ports
from loadtests.processes import child, wait_until_answering
from loadtests.work import EVENT_GAP, EVENTS, WORKS, Work, work_named

POST = b"POST /predict HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 5\r\n\r\nhello"
GET = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
ECHO = b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of origin `a`, started as in the bench."""
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("origin") / "log"
    argv = [sys.executable, "-m", "loadtests.peers.origin", f"a={port}"]
    with child(argv, frozenset(), log) as process:
        wait_until_answering(process, port, log)
        yield port


async def exchange(port: int, parts: list[bytes], answers: int) -> list[tuple[str, bytes]]:
    """(x-origin, body) of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    for part in parts:
        writer.write(part)
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
    "parts",
    [
        [WHOLE],
        [WHOLE[i : i + 1] for i in range(len(WHOLE))],
        [POST[:-1], POST[-1:] + GET[:3], GET[3:] + POST],
    ],
    ids=["together", "byte by byte", "across"],
)
async def test_requests_in_any_parts_are_answered_in_order(port: int, parts: list[bytes]) -> None:
    answers = await exchange(port, parts, 3)
    assert answers == [("a", SMALL), ("a", LARGE), ("a", SMALL)]


async def test_echo_answers_with_the_head_of_the_request(port: int) -> None:
    assert await exchange(port, [ECHO], 1) == [("a", ECHO[:-4])]


@pytest.mark.parametrize("work", WORKS[:2], ids=lambda work: work.name)
async def test_the_client_counts_the_answers(port: int, work: Work) -> None:
    found = json.loads(await run_load(port, work, connections=3, seconds=0.2))
    assert found["requests"] > 10 and found["errors"] == 0
    assert 0 < found["p50_us"] <= found["p99_us"]
    assert found["seconds"] >= 0.2


@pytest.mark.parametrize("name", ["json", "large", "sse"])
def test_every_request_at_a_fixed_rate_is_sent_and_measured(port: int, name: str) -> None:
    pace = Pace(port, work_named(name), rate=200, total=60)
    pace.run()
    assert (len(pace.times), pace.errors) == (60, 0)
    found = json.loads(pace.as_line())
    assert (found["requests"], found["seconds"]) == (60, 0.3)
    assert 0 < found["p50_us"] <= found["p99_us"]


def test_the_latency_of_a_stream_is_the_time_to_the_first_event(port: int) -> None:
    pace = Pace(port, work_named("sse"), rate=50, total=5)
    pace.run()
    assert min(pace.times) < EVENTS * EVENT_GAP / 2


def test_latency_counts_from_the_due_time() -> None:
    """A stall delays all requests that are due during the stall, not only the one in flight."""
    stall = 0.4
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve_with_stall, args=(server, stall, 20))
        thread.start()
        pace = Pace(server.getsockname()[1], work_named("large"), rate=100, total=20, connections=1)
        pace.run()
        thread.join()
    assert (len(pace.times), pace.errors) == (20, 0)
    assert sum(time > stall / 4 for time in pace.times) >= 10


def serve_with_stall(server: socket.socket, stall: float, count: int) -> None:
    """Answers `count` requests on one connection; the first answer is late."""
    client, _ = server.accept()
    with client:
        for n in range(count):
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += client.recv(65536)
            if n == 0:
                threading.Event().wait(stall)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_a_connection_that_is_closed_early_counts_as_an_error_and_is_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=close_early, args=(server,))
        thread.start()
        pace = Pace(server.getsockname()[1], work_named("large"), rate=100, total=3, connections=1)
        pace.run()
        thread.join()
    assert (len(pace.times), pace.errors) == (2, 1)


def close_early(server: socket.socket) -> None:
    """Closes the first connection without an answer, and the second after two answers."""
    client, _ = server.accept()
    with client:
        client.recv(65536)
    serve_with_stall(server, 0, 2)


class Unavailable(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(503)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"no")

    def log_message(self, *_: object) -> None:
        pass


def test_the_client_counts_a_503_as_an_error() -> None:
    with HTTPServer(("127.0.0.1", 0), Unavailable) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        found = json.loads(asyncio.run(run_load(server.server_port, WORKS[1], connections=1, seconds=0.1)))
        server.shutdown()
        thread.join()
    assert found["requests"] > 0 and found["errors"] == found["requests"]


def test_every_customer_has_its_own_request() -> None:
    requests = requests_of(WORKS[0], 1)
    assert len(set(requests)) == len(requests) == 1000
    assert all(request.endswith(WORKS[0].body) for request in requests)


def test_bodies_have_the_size_in_their_title() -> None:
    assert f"{len(WORKS[0].body)} B" in WORKS[0].title
    assert len(LARGE) == 100_000 and "100 kB" in WORKS[1].title
