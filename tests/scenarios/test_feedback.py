"""Feedback to a running proxy: joined to real requests, and kill -9 while it comes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp

from crossfade.control.prediction_logs import PredictionLogs
from tests.control.prediction_rows import Predicted, add_predictions
from tests.scenarios.harness import TIMEOUT, Model, Proxy, running, wait_until
from tests.scenarios.prediction_log import logged

CONFIG = """
backends:
  v2: {endpoints: ["http://127.0.0.1:%d"], health: false}
routes:
  - name: churn
    match: {path: /predict}
    sticky: {json: customer_id}
    split: {v2: 100%%}
    feedback: {horizon: 7d}
"""
NDJSON = {"Content-Type": "application/x-ndjson"}
ROWS = "SELECT CAST(p.request_id AS TEXT), f.name, f.value FROM feedback f JOIN prediction p USING (seq)"
PREDICTIONS, CALL = 24_000, 2000


def label_of(n: int) -> int:
    return n * 7 % 5


def lines(numbers: Iterable[int]) -> bytes:
    rows = ({"request_id": f"r{n}", "label": label_of(n)} for n in numbers)
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class Sender:
    """Clients that post calls one after another. `taken`: the first rows of calls that were answered with 202."""

    def __init__(self, proxy: Proxy) -> None:
        self.url = f"http://127.0.0.1:{proxy.admin_port}/api/v1/feedback"
        self.taken: dict[int, dict[str, Any]] = {}

    async def post(self, session: aiohttp.ClientSession, start: int) -> None:
        try:
            body = lines(range(start, start + CALL))
            async with session.post(self.url, data=body, headers=NDJSON) as response:
                answer = await response.json(content_type=None)
                assert response.status == 202, answer
                self.taken[start] = answer
        except aiohttp.ClientError:
            pass  # the proxy was killed

    async def post_all(self, starts: Iterable[int]) -> None:
        left = iter(starts)

        async def client() -> None:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
                for start in left:
                    await self.post(session, start)

        await asyncio.gather(client(), client())


async def fill(folder: Path) -> None:
    """The log of an earlier run of the proxy."""
    logs, now = PredictionLogs(folder / "state.db.predictions"), time.time()
    rows = [Predicted(f"r{n}", now) for n in range(PREDICTIONS)]
    await logs.write("churn", lambda connection: add_predictions(connection, rows))
    await logs.close()


async def stored(folder: Path) -> int:
    return int((await logged(folder, "SELECT count(*) FROM feedback"))[0][0])


async def test_kill_9_in_the_midst_of_feedback_loses_no_accepted_row_and_counts_none_twice(
    tmp_path: Path,
) -> None:
    model = Model("v2")
    proxy = Proxy(tmp_path, CONFIG % model.port, workers=1)
    await fill(tmp_path)
    calls = range(0, PREDICTIONS, CALL)
    answered: set[int] = set()
    async with running(model, proxy):
        for kill_at in (PREDICTIONS // 4, PREDICTIONS // 2, PREDICTIONS * 3 // 4):
            sender = Sender(proxy)
            sending = asyncio.ensure_future(
                sender.post_all(start for start in calls if start not in answered)
            )

            async def enough(rows: int = kill_at) -> bool:
                return await stored(tmp_path) >= rows

            await wait_until(enough, "some of the rows are stored")
            await proxy.stop(signal.SIGKILL)
            await sending
            answered |= set(sender.taken)
            assert len(answered) < len(calls)
            known = {request_id for request_id, *_ in await logged(tmp_path, ROWS)}
            assert {f"r{n}" for start in answered for n in range(start, start + CALL)} <= known
            await proxy.start()
        before = await stored(tmp_path)
        last = Sender(proxy)
        await last.post_all(calls)
        assert all(last.taken[start]["duplicate"] == CALL for start in answered)
        assert sum(answer["accepted"] for answer in last.taken.values()) == PREDICTIONS - before
        rows = await logged(tmp_path, ROWS)
        assert len(rows) == PREDICTIONS
        assert {request_id: value for request_id, _, value in rows} == {
            f"r{n}": label_of(n) for n in range(PREDICTIONS)
        }


async def test_a_takeover_in_the_midst_of_feedback_loses_no_accepted_row(tmp_path: Path) -> None:
    """Each call is answered by one of the two proxies, or gets no answer; one of them writes at a time."""
    model = Model("v2")
    proxy = Proxy(tmp_path, CONFIG % model.port, workers=1)
    await fill(tmp_path)
    calls = range(0, PREDICTIONS, CALL)
    async with running(model, proxy):
        sender = Sender(proxy)
        following = asyncio.ensure_future(proxy.take_over())
        while not following.done():
            left = [start for start in calls if start not in sender.taken]
            await sender.post_all(left[:2] or calls[:2])
        assert await following == 0
        known = {request_id for request_id, *_ in await logged(tmp_path, ROWS)}
        assert {f"r{n}" for start in sender.taken for n in range(start, start + CALL)} <= known
        await sender.post_all(calls)
        assert {(i, value) for i, _, value in await logged(tmp_path, ROWS)} == {
            (f"r{n}", label_of(n)) for n in range(PREDICTIONS)
        }


async def test_a_file_of_feedback_is_joined_to_requests_by_id_and_by_key(tmp_path: Path) -> None:
    """Labels are sent as soon as answers are there: some overtake the reports of the workers."""
    model = Model("v2")
    proxy = Proxy(tmp_path, CONFIG % model.port)
    async with running(model, proxy), aiohttp.ClientSession() as session:
        ids = {}
        for customer in range(50):
            async with session.post(f"{proxy.url}/predict", json={"customer_id": customer}) as response:
                ids[customer] = response.headers["x-request-id"]
        done = time.time()
        by_id = tmp_path / "labels.csv"
        by_id.write_text("request_id,label\n" + "".join(f"{i},{customer}\n" for customer, i in ids.items()))
        by_key = tmp_path / "revenue.ndjson"
        rows = [
            {"route": "churn", "key": customer, "at": done, "name": "revenue", "value": customer / 4}
            for customer in ids
        ]
        by_key.write_text("\n".join(map(json.dumps, rows)))
        for file in (by_id, by_key):
            assert await send(proxy, file) in (0, 6)  # 6: they wait for their predictions
        wanted = {
            (i, name): value
            for customer, i in ids.items()
            for name, value in (("label", customer), ("revenue", customer / 4))
        }

        found: dict[tuple[str, str], Any] = {}

        async def joined() -> bool:
            found.update({(i, name): value for i, name, value in await logged(tmp_path, ROWS)})
            return found == wanted

        await wait_until(
            joined, lambda: f"all rows are joined: {wanted.items() - found.items()} {proxy.output}"
        )
        assert await send(proxy, by_id) == 0
        page = await proxy.get("/metrics")
        assert 'crossfade_feedback_total{name="label",outcome="duplicate",route="churn"} 50.0' in page


async def send(proxy: Proxy, file: Path) -> int:
    words = ("-m", "crossfade", "feedback", str(file), "--admin", f"http://127.0.0.1:{proxy.admin_port}")
    child = await asyncio.create_subprocess_exec(sys.executable, *words, env=dict(os.environ))
    return await asyncio.wait_for(child.wait(), TIMEOUT)
