"""Queries to a server, a made one and a real one: one number, or what it is instead."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from crossfade.config.model import Config
from crossfade.control.prometheus_poller import PrometheusPoller, read_answer
from crossfade.rollout.external import Reading
from loadtests.ports import free_port
from tests.scenarios.harness import wait_until

from .harness import CANARY, HEAD, Harness, loaded

CHECKED = CANARY.replace(
    "      checks:",
    '      checks:\n        - {metric: prometheus, name: gpu, query: "max(gpu)", max: 0.5}',
)


def config(url: str, yaml: str = CHECKED, more: str = "interval: 50ms, timeout: 1s") -> Config:
    return loaded(yaml, HEAD + f"\nprometheus: {{url: '{url}', {more}}}\n").config


def answer(result: Any, kind: str = "vector", status: str = "success", **more: Any) -> dict[str, Any]:
    return {"status": status, "data": {"resultType": kind, "result": result}, **more}


def sample(value: str) -> dict[str, Any]:
    return {"metric": {}, "value": [1.0, value]}


@pytest.mark.parametrize(
    ("said", "value", "trouble"),
    [
        (answer([sample("0.25")]), 0.25, ""),
        (answer([1.0, "7"], "scalar"), 7.0, ""),
        (answer([]), None, "no data"),
        (answer([sample("NaN")]), None, "NaN"),
        (answer([sample("+Inf")]), None, "+Inf"),
        (answer([sample("1"), sample("2")]), None, "2 series"),
        (answer([], "matrix"), None, "a matrix"),
        (answer([1.0, "x"], "string"), None, "a string"),
        ({"status": "error", "errorType": "bad_data", "error": "parse error"}, None, "an error: parse error"),
        ({"status": "error"}, None, "an error: of no known kind"),
        ({"status": "success"}, None, "not the answer of a Prometheus server"),
        (answer([sample("seven")]), None, "not the answer of a Prometheus server"),
        (answer([{"metric": {}}]), None, "not the answer of a Prometheus server"),
        (answer(None), None, "not the answer of a Prometheus server"),
        ([], None, "not the answer of a Prometheus server"),
    ],
)
def test_a_response_is_one_number_or_the_reason_why_not(said: Any, value: float | None, trouble: str):
    assert read_answer(3.0, json.dumps(said).encode()) == Reading(3.0, value, trouble)


DEEP = b'{"status": ' + b"[" * 100_000


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"status": "success"', DEEP])
def test_a_body_that_is_no_json_gives_no_number(body: bytes):
    assert read_answer(3.0, body).trouble == "not the answer of a Prometheus server"


class Server:
    """Answers as it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.port = free_port()
        self.value = "0.25"
        self.asked: list[str] = []
        self.silent = asyncio.Event()
        self.silent.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/prefix/"

    async def serve(self, request: web.Request) -> web.Response:
        assert request.path == "/prefix/api/v1/query"
        self.asked.append(request.query["query"])
        await self.silent.wait()
        return web.json_response(answer([sample(self.value)]))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_get("/{any:.*}", made.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", made.port).start()
    yield made
    made.silent.set()
    await runner.cleanup()


@pytest.fixture
async def poller() -> AsyncIterator[PrometheusPoller]:
    made = PrometheusPoller(time.time)
    yield made
    await made.close()


def reading(poller: PrometheusPoller, query: str = "max(gpu)") -> Reading | None:
    return poller.readings(time.time()).get(query)


def trouble_of(poller: PrometheusPoller) -> str:
    found = reading(poller)
    return found.trouble if found else ""


async def test_a_query_is_sent_at_its_interval(server: Server, poller: PrometheusPoller):
    poller.configure(config(server.url))
    await wait_until(lambda: reading(poller), "a first reading")
    assert poller.latest["max(gpu)"].value == 0.25
    server.value = "0.75"
    await wait_until(lambda: poller.latest["max(gpu)"].value == 0.75, "a newer one")
    assert set(server.asked) == {"max(gpu)"}


async def test_a_timeout_gives_a_reading_without_a_number(server: Server, poller: PrometheusPoller):
    server.silent.clear()
    poller.configure(config(server.url, more="interval: 50ms, timeout: 50ms"))
    assert reading(poller) is None
    await wait_until(lambda: trouble_of(poller) == "no answer within 0.05s", "the timeout")
    server.silent.set()
    await wait_until(lambda: trouble_of(poller) == "", "an answer")


async def test_a_connection_error_does_not_show_the_url(poller: PrometheusPoller):
    poller.configure(config(f"http://who:secret@127.0.0.1:{free_port()}"))
    await wait_until(lambda: trouble_of(poller).startswith("the server cannot be asked"), "the error")
    assert "secret" not in trouble_of(poller)


WHOLE = json.dumps(answer([sample("0.25")])).encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(WHOLE)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
REFUSED = json.dumps({"status": "error", "error": "parse error"}).encode()


@pytest.mark.parametrize(
    ("pieces", "value", "trouble"),
    [
        ([OK + b"\r\n" + WHOLE], 0.25, ""),
        ([OK + b"\r\n" + WHOLE[:30], WHOLE[30:]], 0.25, ""),
        ([OK + b"\r\n", *(WHOLE[at : at + 1] for at in range(len(WHOLE)))], 0.25, ""),
        ([CHUNKED, *(b"1\r\n%c\r\n" % byte for byte in WHOLE), b"0\r\n\r\n"], 0.25, ""),
        ([MOVED], None, "a redirect (HTTP status 302), which is not followed"),
        (
            [OK + b"\r\n" + WHOLE[:30], b""],
            None,
            "the server cannot be asked (it closed the connection before the end of its answer)",
        ),
        ([b""], None, "the server cannot be asked (it closed the connection before the end of its answer)"),
        ([CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"], None, "no answer within 0.3s"),
        (
            [CHUNKED, *[b"10000\r\n" + b" " * 65536 + b"\r\n"] * 17],
            None,
            "an answer of more than 1048576 bytes",
        ),
        (
            [OK + b"Content-Encoding: gzip\r\n\r\n" + WHOLE],
            None,
            "a compressed answer, which was not asked for",
        ),
        ([b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops"], None, "HTTP status 502"),
        (
            [b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(REFUSED) + REFUSED],
            None,
            "an error: parse error",
        ),
        ([b"SSH-2.0-OpenSSH\r\n"], None, "the server cannot be asked (ClientResponseError)"),
    ],
)
async def test_an_answer_on_the_wire_is_read_whole_or_it_is_said_why_not(
    poller: PrometheusPoller, pieces: list[bytes], value: float | None, trouble: str
):
    """An empty piece closes the connection. Each piece arrives alone."""
    heads: list[bytes] = []
    serving: set[asyncio.Task[None] | None] = set()

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            if not piece:
                return
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
        await reader.read()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        with contextlib.suppress(ConnectionError):  # who has read enough closes
            await send(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    limit = "300ms" if "within" in trouble else "1m"  # where an answer comes, a busy machine may be late
    asked = config(f"http://who:secret@127.0.0.1:{port}", more=f"interval: 9s, timeout: {limit}").prometheus
    assert asked is not None
    async with server:
        found = await poller.ask(asked, "max(gpu)")
        assert (found.value, found.trouble) == (value, trouble)
        assert not any(b"elsewhere" in head for head in heads), "no redirect is followed"
        await poller.session.close()
        await asyncio.gather(*filter(None, serving))


async def test_the_reason_of_a_connection_error_is_told(poller: PrometheusPoller):
    server = config(f"http://127.0.0.1:{free_port()}").prometheus
    assert server is not None
    assert (await poller.ask(server, "q")).trouble == "the server cannot be asked (connection refused)"


async def test_a_reading_becomes_stale(server: Server, poller: PrometheusPoller):
    poller.configure(config(server.url, more="interval: 10s, timeout: 1s"))
    await wait_until(lambda: reading(poller), "a reading")
    now = poller.latest["max(gpu)"].at
    assert poller.readings(now + 31)["max(gpu)"].value == 0.25
    late = poller.readings(now + 31.1)["max(gpu)"]
    assert (late.value, late.trouble) == (None, "stale: the server has not answered for too long")


async def test_a_reload_changes_the_queries_and_the_server(server: Server, poller: PrometheusPoller):
    poller.configure(config("http://127.0.0.1:1"))
    await wait_until(lambda: trouble_of(poller), "trouble")
    poller.configure(config(server.url))
    assert reading(poller) is None
    await wait_until(lambda: reading(poller), "another server's answer")
    poller.configure(config(server.url, CHECKED.replace("max(gpu)", "min(gpu)")))
    await wait_until(lambda: reading(poller, "min(gpu)"), "another query's answer")
    assert set(poller.polling.tasks) == set(poller.latest) == {"min(gpu)"}
    poller.configure(loaded().config)
    assert (poller.polling.tasks, poller.readings(time.time())) == ({}, {})


PROMETHEUS = shutil.which("prometheus")


@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed")
async def test_a_real_server(poller: PrometheusPoller, tmp_path):
    port = free_port()
    (tmp_path / "prometheus.yml").write_text("{}")
    process = await asyncio.create_subprocess_exec(
        str(PROMETHEUS), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}", stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    queries = {
        "vector(0.25)": (0.25, ""),
        "scalar(vector(3))": (3.0, ""),
        "nothing_of_this_name": (None, "no data"),
        "vector(0) / 0": (None, "NaN"),
        "vector(1) / 0": (None, "+Inf"),
        'label_replace(vector(1), "a", "b", "", "") or vector(2)': (None, "2 series"),
        "vector(1)[5m:1m]": (None, "a matrix"),
        "sum(": (None, "an error"),
    }
    checks = "".join(f"        - {{metric: prometheus, query: '{q}', max: 0.5}}\n" for q in queries)
    try:
        poller.configure(config(f"http://127.0.0.1:{port}", CANARY + checks, "interval: 50ms"))
        await wait_until(
            lambda: (found := reading(poller, "vector(0.25)")) is not None and found.value == 0.25,
            "prometheus answers",
        )
        for query, (value, trouble) in queries.items():
            found = await poller.ask(config(f"http://127.0.0.1:{port}").prometheus, query)  # type: ignore[arg-type]
            assert (found.value, found.trouble[: len(trouble) or None]) == (value, trouble), query
    finally:
        process.terminate()
        await process.wait()


async def checked(*answers: Reading | None) -> Harness:
    """A rollout whose query was answered so at each look, for as long as a step takes."""
    harness = Harness()
    await harness.load(CHECKED, HEAD + "\nprometheus: {url: http://h}\n")
    for given in answers:
        for _ in range(14):
            harness.controller.readings = lambda now, given=given: (  # type: ignore[misc]
                {} if given is None else {"max(gpu)": Reading(now, given.value, given.trouble)}
            )
            await harness.tick(400)
    return harness


async def test_a_rollout_advances_by_readings_within_the_limit():
    harness = await checked(Reading(0, 0.1))
    assert harness.rollout.step == 1
    assert "prometheus gpu <= 0.5" in [v.check for v in harness.rollout.verdicts]


@pytest.mark.parametrize("lacking", [None, Reading(0, None, "no data"), Reading(0, None, "3 series")])
async def test_a_rollout_waits_while_a_reading_has_no_number(lacking: Reading | None):
    harness = await checked(lacking, lacking)
    assert (harness.rollout.phase, harness.rollout.step) == ("progressing", 0)
    assert harness.rollout.waiting_for.startswith("prometheus gpu <= 0.5 (")


@pytest.mark.parametrize("phase", ["aborted", "rolled_back"])
async def test_a_reading_above_the_limit_aborts_or_rolls_back(phase: str):
    well = [Reading(0, 0.1)] * (1 if phase == "aborted" else 2)
    harness = await checked(*well, Reading(0, 0.9))
    assert (harness.rollout.phase, harness.weights) == (phase, {"v2": 10_000})
    last = (await harness.views.why("churn")).decision
    assert last is not None
    assert (
        last.reason == "prometheus gpu <= 0.5: 2 query results in a row are beyond the limit of 0.5: 0.9, 0.9"
    )
    assert last.evidence["given"]["external"]["max(gpu)"]["value"] == 0.9


async def test_one_reading_above_the_limit_holds_and_aborts_nothing():
    harness = Harness()
    await harness.load(CHECKED, HEAD + "\nprometheus: {url: http://h}\n")
    peak = harness.now + 5
    harness.controller.readings = lambda now: {"max(gpu)": Reading(now, 0.9 if now == peak else 0.1)}
    await harness.run(20)
    assert harness.rollout.phase == "progressing"
    assert harness.rollout.step == 1
