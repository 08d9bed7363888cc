"""Signals and waiting requests in the middle of a takeover: behind `Leave`, and before the successor serves."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.scenarios.conftest import routing
from tests.scenarios.harness import TIMEOUT, Load, Model, Process, Proxy, running, wait_until
from tests.scenarios.test_proxy_killed import alive
from tests.scenarios.test_succession import HALF, children_of, workers_of


def has_the_state(pid: int) -> bool:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if str(descriptor.readlink()).endswith("state.db"):
                return True
    return False


async def left(proxy: Proxy) -> asyncio.subprocess.Process:
    """The first proxy. It has left the state to its successor, which is `proxy.child`, and is stopped before it serves.

    One of the two is always stopped, so the successor cannot get from `Leave` to `Serving`.
    """
    first = proxy.child
    proxy.module = ("crossfade", "run", "--takeover", str(proxy.file))
    await Process.start(proxy)
    second = proxy.child
    await wait_until(lambda: children_of(second.pid), "it has the sockets, and starts its workers")
    second.send_signal(signal.SIGSTOP)
    async with asyncio.timeout(TIMEOUT):
        while has_the_state(first.pid):
            first.send_signal(signal.SIGSTOP)
            second.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.2)
            second.send_signal(signal.SIGSTOP)
            first.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.2)
    assert first.returncode is None, proxy.output
    assert "hand-over done" not in proxy.output
    return first


async def test_a_holder_that_gets_a_term_behind_leave_finishes_the_takeover(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    async with running(proxy), Load(proxy.url) as load:
        old = await workers_of(proxy)
        await load.wait_for_answers(20)
        first = await left(proxy)
        for _ in range(2):
            first.send_signal(signal.SIGTERM)
            await load.wait_for_answers(50)
            assert first.returncode is None, "it waits for the successor"
        proxy.child.send_signal(signal.SIGCONT)
        assert await first.wait() == 0, proxy.output
        await wait_until(proxy.is_ready, "the successor is ready")
        await load.wait_for_answers(100)
        await wait_until(lambda: not any(map(alive, old)), "the old workers to exit")
        await load.wait_for_answers(20)
    assert load.failures == []


async def test_a_successor_that_gets_a_term_before_it_serves_is_not_missed(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    async with running(proxy), Load(proxy.url) as load:
        old = await workers_of(proxy)
        first = await left(proxy)
        successor, proxy.child = proxy.child, first
        successor.send_signal(signal.SIGTERM)
        await load.wait_for_answers(20)
        successor.send_signal(signal.SIGCONT)
        assert await successor.wait() == 0, proxy.output
        if (
            "hand-over done" in proxy.output
        ):  # on a busy machine its loop may serve before it reads the signal
            pytest.skip("the successor served before it saw the signal, so it drained as any proxy does")
        await wait_until(proxy.is_ready, "the running proxy goes on")
        assert await workers_of(proxy) == old
        await load.wait_for_answers(50)
    assert load.failures == []


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
async def test_a_holder_that_was_told_to_end_ends_when_its_successor_has_failed(
    tmp_path: Path, models: dict[str, Model], kind: signal.Signals
) -> None:
    """A service manager tells both; or the successor dies."""
    proxy = Proxy(tmp_path, routing(models, HALF))
    async with running(proxy):
        old = await workers_of(proxy)
        async with Load(proxy.url) as load:
            first = await left(proxy)
            successor, proxy.child = proxy.child, first
            first.send_signal(signal.SIGTERM)
            await load.wait_for_answers(50)
        assert (load.failures, first.returncode) == ([], None)
        successor.send_signal(kind)
        successor.send_signal(signal.SIGCONT)
        await successor.wait()
        assert await first.wait() == 0, proxy.output
        assert not any(map(alive, old))
    assert (tmp_path / "state.db.lock").read_text() == ""


# ── requests that wait ────────────────────────────────────────────────────────────────────────────


class OneAtATime:
    """A model that answers when `release` is set, and counts how many requests it has at a time."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.now = self.most = self.answered = self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.now += 1
                self.most = max(self.most, self.now)
                await self.release.wait()
                await asyncio.sleep(0.01)
                self.now -= 1
                self.answered += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.connections -= 1


@pytest.fixture
async def one_at_a_time() -> AsyncIterator[tuple[OneAtATime, int]]:
    made = OneAtATime()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    async with server:
        yield made, server.sockets[0].getsockname()[1]
        made.release.set()
        await wait_until(lambda: not made.connections, "its connections are closed")


@pytest.mark.parametrize("workers", [2, 0])
async def test_requests_that_wait_in_a_queue_are_answered_across_a_takeover(
    tmp_path: Path, one_at_a_time: tuple[OneAtATime, int], workers: int
) -> None:
    """Of the old workers and of the new ones, in places that they share: never two at the model."""
    slow, port = one_at_a_time
    proxy = Proxy(
        tmp_path,
        f"backends:\n  v2: {{endpoints: http://127.0.0.1:{port}, health: false, max_in_flight: 1, "
        "queue: {max: 1000, timeout: 60s}}\n"
        "routes: [{name: churn, match: {prefix: /}, split: {v2: 100%}}]\n",
        workers,
    )
    proxy.file.write_text(proxy.file.read_text().replace("drain: 5s", "drain: 60s"))

    async def ask() -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.get(proxy.url, timeout=aiohttp.ClientTimeout(60)) as response,
        ):
            await response.read()
            return response.status

    async def queued(count: int) -> bool:
        return bool((await proxy.get("/api/v1/backends/v2"))["queued"] >= count)

    async def eight_wait() -> bool:
        """In new workers; the old ones may accept a few before they are told to drain."""
        asking.append(tasks.create_task(ask()))
        return await queued(8)

    async with running(proxy), asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(ask()) for _ in range(12)]
        await wait_until(lambda: queued(11), "eleven wait")
        first = proxy.child
        proxy.module = ("crossfade", "run", "--takeover", str(proxy.file))
        await Process.start(proxy)
        await wait_until(lambda: "hand-over done" in proxy.output, "the successor serves")
        await wait_until(proxy.is_ready, "it is ready")
        await wait_until(eight_wait, "eight wait in new workers")
        assert (slow.answered, slow.now) == (0, 1)
        slow.release.set()
        assert {await task for task in asking} == {200}
        assert (slow.answered, slow.most) == (len(asking), 1)
        assert await first.wait() == 0
