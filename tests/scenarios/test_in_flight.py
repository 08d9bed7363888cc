"""`max_in_flight` is exact over all workers: never more requests at the model, and no 503 while fewer are there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtests.ports import free_port
from tests.scenarios.harness import Proxy, running, wait_until

REQUEST = b"GET /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Gpu:
    """A model that answers each request when it is told to, and knows how many it has and had at once."""

    def __init__(self) -> None:
        self.port = free_port()
        self.here = self.most = self.total = 0
        self.open = asyncio.Event()

    async def run(self) -> asyncio.Server:
        return await asyncio.start_server(self.serve, "127.0.0.1", self.port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.here += 1
                self.total += 1
                self.most = max(self.most, self.here)
                left = asyncio.create_task(reader.read(1))
                opened = asyncio.create_task(self.open.wait())
                done, _ = await asyncio.wait((left, opened), return_when=asyncio.FIRST_COMPLETED)
                self.here -= 1
                left.cancel()
                opened.cancel()
                if left in done:
                    break
                await asyncio.sleep(0)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                break
        writer.close()


@pytest.fixture
async def gpu() -> AsyncIterator[Gpu]:
    model = Gpu()
    async with await model.run():
        yield model
        model.open.set()


def limited(gpu: Gpu, limit: int, more: str = "") -> str:
    return (
        f"backends:\n  gpu:\n    endpoints: [http://127.0.0.1:{gpu.port}]\n    health: false\n"
        f"    max_in_flight: {limit}\n{more}"
        "routes:\n  - name: churn\n    match: {path: /predict}\n    split: {gpu: 100%}\n"
    )


async def ask(proxy: Proxy) -> int:
    """The status; 0 if the connection was cut."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(REQUEST)
        answer = await reader.read()
        writer.close()
    except OSError:
        return 0
    return int(answer[9:12] or 0)


class Asking:
    """Requests at the same time, each on a connection of its own."""

    def __init__(self, proxy: Proxy, count: int) -> None:
        self.tasks = [asyncio.create_task(ask(proxy)) for _ in range(count)]

    def ended(self) -> int:
        return sum(task.done() for task in self.tasks)

    async def statuses(self) -> Counter[int]:
        return Counter(await asyncio.gather(*self.tasks))


async def fill(proxy: Proxy, gpu: Gpu, limit: int, more: int) -> Asking:
    """More requests than the limit allows: `limit` are at the model, the others are refused."""
    asking = Asking(proxy, limit + more)
    await wait_until(lambda: asking.ended() == more, "the surplus is refused")
    await wait_until(lambda: gpu.here == limit, "the others are at the model")
    return asking


async def busiest(proxy: Proxy, requests: int) -> int:
    """The process of the worker with most of so many requests at the model. On a busy machine another may have none."""

    async def reported() -> list[tuple[int, int]]:
        workers = (await proxy.get("/api/v1/status"))["workers"]
        found = [(worker["in_flight"].get("gpu", 0), worker["pid"]) for worker in workers]
        return found if sum(n for n, _ in found) == requests else []

    return int(max(await wait_until(reported, "all workers have told"))[1])


@pytest.mark.parametrize(("workers", "limits"), [(4, (100, 8, 2, 1)), (0, (3,))])
async def test_the_limit_holds_over_all_workers(
    tmp_path: Path, gpu: Gpu, workers: int, limits: tuple[int, ...]
) -> None:
    """Also a limit of which each worker holds a share in advance (100)."""
    proxy = Proxy(tmp_path, limited(gpu, limits[0]), workers)
    async with running(proxy):
        for limit in limits:
            proxy.write(limited(gpu, limit))
            assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200
            gpu.most = 0
            for _ in range(3):
                gpu.open.clear()
                asking = await fill(proxy, gpu, limit, 5)
                gpu.open.set()
                assert await asking.statuses() == {200: limit, 503: 5}
                assert gpu.most == limit
                assert await Asking(proxy, limit).statuses() == {200: limit}, "all places are free again"


async def test_a_worker_that_is_killed_gives_its_places_back(tmp_path: Path, gpu: Gpu) -> None:
    proxy = Proxy(tmp_path, limited(gpu, 8), 3)
    async with running(proxy):
        asking = await fill(proxy, gpu, 8, 2)
        os.kill(await busiest(proxy, 8), signal.SIGKILL)
        cut = await wait_until(lambda: 8 - gpu.here, "its connections are closed")

        async def is_there() -> bool:
            asked = Asking(proxy, 1)
            await wait_until(lambda: asked.ended() or gpu.total > total, "it has an answer or a place")
            return gpu.total > total

        total = gpu.total
        await wait_until(is_there, "a place of the worker that died")
        gpu.open.set()
        assert (await asking.statuses())[0] >= cut  # they are closed one after the other
        assert gpu.most == 8
        for _ in range(3):
            assert await Asking(proxy, 8).statuses() == {200: 8}


@pytest.mark.parametrize("workers", [2, 0])
async def test_the_workers_of_both_proxies_share_the_limit_in_a_takeover(
    tmp_path: Path, gpu: Gpu, workers: int
) -> None:
    proxy = Proxy(tmp_path, limited(gpu, 4), workers)
    async with running(proxy):
        asking = await fill(proxy, gpu, 4, 1)
        taking = asyncio.create_task(proxy.take_over())
        if workers:
            await taking  # the old workers still wait for the model
        else:
            await asyncio.sleep(0.5)
        assert await Asking(proxy, 6).statuses() == {503: 6}, "the old workers have all places"
        gpu.open.set()
        assert await asking.statuses() == {200: 4, 503: 1}
        assert await taking == 0
        for _ in range(3):
            assert await Asking(proxy, 4).statuses() == {200: 4}
        assert gpu.most == 4


async def test_workers_whose_control_process_died_share_the_limit_with_the_next(
    tmp_path: Path, gpu: Gpu
) -> None:
    proxy = Proxy(tmp_path, limited(gpu, 4), 2)
    async with running(proxy):
        asking = await fill(proxy, gpu, 4, 1)
        await proxy.stop(signal.SIGKILL)
        await proxy.start()
        assert await Asking(proxy, 6).statuses() == {503: 6}, "the old workers have all places"
        gpu.open.set()
        assert await asking.statuses() == {200: 4, 503: 1}
        assert await Asking(proxy, 4).statuses() == {200: 4}
        assert gpu.most == 4


QUEUE = "    queue: {max: 20, timeout: 30s}\n"


async def queue_length(proxy: Proxy) -> int:
    return int((await proxy.get("/api/v1/backends/gpu"))["queued"])


async def test_what_waits_is_served_whichever_worker_gives_its_place_back(tmp_path: Path, gpu: Gpu) -> None:
    proxy = Proxy(tmp_path, limited(gpu, 2, QUEUE), 3)
    async with running(proxy):
        asking = Asking(proxy, 30)
        await wait_until(lambda: asking.ended() == 8, "eight find no room in the queue")

        async def are_waiting() -> bool:
            return await queue_length(proxy) == 20

        await wait_until(are_waiting, "20 wait")
        gpu.open.set()
        assert await asking.statuses() == {200: 22, 503: 8}
        assert gpu.most == 2

        async def are_counted() -> bool:
            metrics = (await proxy.call("GET", "/metrics"))[1]
            counted = 'crossfade_queued_total{backend="gpu",outcome="sent"} 20.0' in metrics
            return counted and 'crossfade_queue_wait_seconds_count{backend="gpu"} 20.0' in metrics

        await wait_until(are_counted, "their waits are counted")


async def test_places_of_a_worker_that_is_killed_go_to_those_that_wait(tmp_path: Path, gpu: Gpu) -> None:
    proxy = Proxy(tmp_path, limited(gpu, 6, QUEUE), 3)
    async with running(proxy):
        asking = Asking(proxy, 18)
        await wait_until(lambda: gpu.total == 6, "six are at the model")

        async def are_waiting() -> bool:
            return await queue_length(proxy) == 12

        await wait_until(are_waiting, "the others wait")
        os.kill(await busiest(proxy, 6), signal.SIGKILL)
        await wait_until(lambda: asking.ended(), "its clients are cut")
        await wait_until(lambda: gpu.here == 6, "all places are in use again")
        gpu.open.set()
        statuses = await asking.statuses()
        assert set(statuses) <= {200, 0}
        assert gpu.most == 6


async def test_a_reload_changes_the_limit(tmp_path: Path, gpu: Gpu) -> None:
    proxy = Proxy(tmp_path, limited(gpu, 2), 3)
    async with running(proxy):
        first = await fill(proxy, gpu, 2, 3)
        proxy.write(limited(gpu, 5))
        assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200
        second = Asking(proxy, 6)
        await wait_until(lambda: second.ended() == 3 and gpu.here == 5, "three more are at the model")
        proxy.write(limited(gpu, 1))
        assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200
        assert await Asking(proxy, 3).statuses() == {503: 3}
        gpu.open.set()
        assert await first.statuses() == {200: 2, 503: 3}
        assert await second.statuses() == {200: 3, 503: 3}
        gpu.open.clear()
        last = await fill(proxy, gpu, 1, 3)
        gpu.open.set()
        assert await last.statuses() == {200: 1, 503: 3}
        assert gpu.most == 5
