"""A batch through a proxy that is busy, refuses, breaks off, or is away."""

from __future__ import annotations

import asyncio
import csv
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from crossfade_backends.batch import main
from crossfade_backends.batch_proxy import Pace
from loadtests.ports import free_port
from tests.backends.test_batch import customers, read, write

Answer = Callable[[str, int], web.Response]


def scored(score: float = 0.25, **more: object) -> web.Response:
    return web.json_response({"churn_probability": score, "risk_level": "low", "model_version": "v2"} | more)


class Busy:
    """A server in a thread of its own. `answer`: customer and how often it asked → response. `most`: requests at once."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: Counter[str] = Counter()
        self.now = self.most = 0
        self.port = 0
        self.started = threading.Event()
        self.ended = asyncio.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self.serve()))

    async def serve(self) -> None:
        app = web.Application()
        app.router.add_post("/predict", self.predict)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self.started.set()
        await self.ended.wait()
        await runner.cleanup()

    async def predict(self, request: web.Request) -> web.Response:
        customer = (await request.json())["customer_id"]
        self.asked[customer] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.002)
            return self.answer(customer, self.asked[customer])
        finally:
            self.now -= 1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/predict"


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Busy]]:
    servers = []

    def start(answer: Answer) -> Busy:
        server = Busy(answer)
        servers.append(server)
        server.thread.start()
        assert server.started.wait(30)
        return server

    yield start
    for server in servers:
        server.loop.call_soon_threadsafe(server.ended.set)
        server.thread.join()
        server.loop.close()


def batch(server: Busy, folder: Path, rows: list[dict[str, Any]], *more: str) -> int:
    source = write(folder / "in.csv", rows)
    return main([str(source), str(folder / "out.ndjson"), "--via", server.url, *more])


def test_a_busy_proxy_is_asked_again_and_more_slowly_and_no_row_is_lost(serve, tmp_path):
    def answer(customer: str, times: int) -> web.Response:
        if times == 1 and customer.endswith(("3", "7")):
            return web.Response(status=429 if customer.endswith("3") else 503, headers={"Retry-After": "0"})
        return scored()

    server = serve(answer)
    assert batch(server, tmp_path, customers(100), "--at-once", "16") == 0
    found = read(tmp_path / "out.ndjson")
    assert [row["customer_id"] for row in found] == [row["customer_id"] for row in customers(100)]
    assert server.asked.total() == 120
    assert 1 < server.most <= 16


def test_what_the_model_refuses_is_a_bad_row_and_what_fails_is_asked_again(serve, tmp_path):
    answers = {
        "C000000": lambda times: web.Response(status=422, text="no such plan"),
        "C000001": lambda times: web.Response(status=500, text="out of memory"),
        "C000002": lambda times: web.Response(status=502) if times < 3 else scored(),
        "C000003": lambda times: web.Response(text="<html>"),
        "C000004": lambda times: scored(2.0),
        "C000005": lambda times: scored(1.0, model_version="", risk_level=""),
    }
    server = serve(lambda customer, times: answers[customer](times))
    assert batch(server, tmp_path, customers(6)) == 0
    bad = {row["input"]["customer_id"]: row["reason"] for row in read(tmp_path / "out.ndjson.bad.ndjson")}
    assert bad["C000000"] == "HTTP 422: no such plan"
    assert bad["C000001"] == "HTTP 500: out of memory"
    assert bad["C000003"].startswith("the answer cannot be read: ")
    assert bad["C000004"] == "the answer has the probability 2.0"
    assert [row["customer_id"] for row in read(tmp_path / "out.ndjson")] == ["C000002", "C000005"]
    assert [row["risk_level"] for row in read(tmp_path / "out.ndjson")] == ["low", "high"]
    assert (server.asked["C000000"], server.asked["C000001"], server.asked["C000002"]) == (1, 4, 3)


def test_a_proxy_that_is_away_is_said_and_the_run_goes_on_later(serve, tmp_path, capsys):
    source = write(tmp_path / "in.csv", customers(5))
    url = f"http://127.0.0.1:{free_port()}/predict"
    arguments = [str(source), str(tmp_path / "out.csv"), "--via", url, "--give-up", "0.2"]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {url}: no answer for 0.2 s (")
    assert said.endswith("the same command goes on from here\n")
    assert (tmp_path / "out.csv.partial").exists()


def test_chunks_that_are_done_are_not_asked_again(serve, tmp_path):
    away = threading.Event()

    def answer(customer: str, times: int) -> web.Response:
        if customer >= "C000020":
            away.set()
        return web.Response(status=503, headers={"Retry-After": "0"}) if away.is_set() else scored()

    server = serve(answer)
    more = ("--chunk", "10", "--give-up", "0.3")
    assert batch(server, tmp_path, customers(30), *more) == 1
    asked = dict(server.asked)
    server.answer = lambda customer, times: scored()
    arguments = [str(tmp_path / "in.csv"), str(tmp_path / "out.ndjson"), "--via", server.url, *more]
    assert main(arguments) == 0
    done = {json.loads(line)["customer_id"] for line in (tmp_path / "out.ndjson").read_text().splitlines()}
    assert len(done) == 30
    assert all(server.asked[c] == asked[c] == 1 for c in done if c < "C000010"), "the first chunk was done"


def test_the_pace_grows_by_one_for_all_that_are_under_way_and_is_halved_once_a_second():
    pace = Pace(64)
    for _ in range(100):
        pace.succeeded()
    grown = pace.limit
    assert 10 < grown < 20
    for _ in range(10):
        pace.slow_down(100.0, 0.5)
    assert (pace.limit, pace.not_before) == (grown / 2, 100.5)
    pace.slow_down(101.0, 1e9)
    assert (pace.limit, pace.not_before) == (grown / 4, 161.0)
    for second in range(102, 120):
        pace.slow_down(float(second), 0)
    assert pace.limit == 1
    for _ in range(100_000):
        pace.succeeded()
    assert pace.limit == 64


def test_csv_and_the_proxy_have_the_same_columns(serve, tmp_path):
    server = serve(lambda customer, times: scored())
    source = write(tmp_path / "in.csv", customers(2))
    assert main([str(source), str(tmp_path / "out.csv"), "--via", server.url]) == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["model_version"] for row in csv.DictReader(file)] == ["v2", "v2"]
