"""A prediction log loses no row to a full or locked disk or a takeover, and serving waits for none of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

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
    prediction: {score: p}
    feedback: {horizon: 7d}
"""
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


class Asking:
    """Clients that ask all the time, and the ids of their requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ids: set[str] = set()
        self.failures: list[str] = []

    async def ask(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
            while True:
                async with session.post(
                    f"{self.url}/predict", json={"customer_id": len(self.ids)}
                ) as response:
                    if response.status != 200:
                        self.failures.append(f"{response.status} {await response.text()}")
                    self.ids.add(response.headers["x-request-id"])
                await asyncio.sleep(0.005)

    async def more(self, requests: int) -> None:
        goal = len(self.ids) + requests
        await wait_until(lambda: len(self.ids) >= goal, lambda: f"{requests} answers; {self.failures[:3]}")


@contextlib.asynccontextmanager
async def asking(proxy: Proxy) -> AsyncIterator[Asking]:
    """Ends after the requests under way have been answered."""
    made = Asking(proxy.url)
    tasks = [asyncio.create_task(made.ask()) for _ in range(4)]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert made.failures == []


async def ids_in(folder: Path, where: str = "TRUE") -> list[str]:
    found = await logged(folder, f"SELECT CAST(request_id AS TEXT) FROM prediction WHERE {where}")
    return [each for (each,) in found]


async def metric(proxy: Proxy, name: str) -> float:
    page = await proxy.get("/metrics")
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(f"{name}{{"))


async def all_are_written(folder: Path, asked: Asking) -> None:
    async def written() -> bool:
        return asked.ids <= set(await ids_in(folder))

    await wait_until(written, "each answered request is in the log")
    found = await ids_in(folder)
    assert len(found) == len(set(found))


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    made = Model('{"p":0.25}')
    async with running(made):
        yield made


async def test_rows_wait_while_the_disk_is_full(tmp_path: Path, model: Model) -> None:
    proxy = Proxy(tmp_path, CONFIG % model.port)
    async with running(proxy):
        async with asking(proxy) as asked:
            await asked.more(50)
            resource.prlimit(proxy.child.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

            async def said() -> bool:
                return await metric(proxy, "crossfade_prediction_log_writable") == 0

            await wait_until(said, "the log cannot be written")
            await asked.more(200)
            resource.prlimit(proxy.child.pid, resource.RLIMIT_FSIZE, UNLIMITED)
            await asked.more(50)
        await all_are_written(tmp_path, asked)
        assert await metric(proxy, "crossfade_prediction_log_writable") == 1
        assert await metric(proxy, "crossfade_prediction_log_dropped_total") == 0
        assert "the prediction log of route churn is written again" in proxy.output


async def test_rows_wait_while_another_program_holds_the_log(tmp_path: Path, model: Model) -> None:
    proxy = Proxy(tmp_path, CONFIG % model.port)
    async with running(proxy):
        async with asking(proxy) as asked:
            await asked.more(50)
            holder = await asyncio.create_subprocess_exec(
                sys.executable, "-c", LOCK, str(tmp_path / "state.db.predictions" / "churn.db"),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert holder.stdout is not None and holder.stdin is not None
            await holder.stdout.readline()
            await asked.more(200)
            status = await proxy.get("/api/v1/status")
            assert status["store_ok"]
            holder.stdin.close()
            await holder.wait()
        await all_are_written(tmp_path, asked)


async def test_without_an_observer_there_are_rows_without_outputs(tmp_path: Path, model: Model) -> None:
    proxy = Proxy(tmp_path, CONFIG % model.port)
    async with running(proxy):
        async with asking(proxy) as asked:
            await asked.more(50)
            before = len(asked.ids)
            await wait_until(lambda: kill_observer(proxy.child.pid), "the observer to be killed")

            async def read_again() -> bool:
                found = await ids_in(
                    tmp_path, f"score = 0.25 AND seq > (SELECT min(seq) + {before} FROM prediction)"
                )
                return len(found) > 50

            await wait_until(read_again, "outputs come again")
        await all_are_written(tmp_path, asked)


def kill_observer(parent: int) -> bool:
    """The child of this process that reads answers."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"observer" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                os.kill(int(pid), signal.SIGKILL)
                return True
    return False


@pytest.mark.parametrize("workers", [2, 0])
async def test_a_takeover_loses_no_row(tmp_path: Path, model: Model, workers: int) -> None:
    proxy = Proxy(tmp_path, CONFIG % model.port, workers)
    async with running(proxy):
        async with asking(proxy) as asked:
            await asked.more(100)
            assert await proxy.take_over() == 0, proxy.output
            await asked.more(100)
        await all_are_written(tmp_path, asked)
        assert await metric(proxy, "crossfade_prediction_log_dropped_total") == 0


async def test_a_drain_loses_no_row(tmp_path: Path, model: Model) -> None:
    proxy = Proxy(tmp_path, CONFIG % model.port)
    async with running(proxy):
        async with asking(proxy) as asked:
            await asked.more(100)
        await proxy.stop()
        assert asked.ids <= set(await ids_in(tmp_path))


async def test_workers_keep_their_rows_while_nobody_decides(tmp_path: Path, model: Model) -> None:
    """A killed control process has lost what it had not written, and no more; nothing is twice in the log."""
    proxy = Proxy(tmp_path, CONFIG % model.port)
    async with running(proxy):
        async with asking(proxy) as asked:
            await asked.more(50)
            await proxy.stop(signal.SIGKILL)
            before = set(asked.ids)
            await asked.more(300)
            alone = asked.ids - before
            await proxy.start()
            await asked.more(50)

        async def written() -> bool:
            return alone <= set(await ids_in(tmp_path))

        await wait_until(written, "the rows of the time without a control process")
        found = await ids_in(tmp_path)
        assert len(found) == len(set(found))
        assert await logged(tmp_path, "PRAGMA integrity_check") == [("ok",)]
