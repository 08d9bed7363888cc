"""How a signal ends the proxy: not ready, then serving for the delay, then a drain in which the admin API answers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.scenarios.harness import Proxy, running, wait_until


class SlowModel:
    """It answers /slow when `release` is set, and all else at once."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"/slow" in head:
                    self.waiting += 1
                    await self.release.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def model() -> AsyncIterator[tuple[SlowModel, int]]:
    model = SlowModel()
    server = await asyncio.start_server(model.answer, "127.0.0.1", 0)
    async with server:
        yield model, server.sockets[0].getsockname()[1]
        model.release.set()


def proxy_with(drain: str, port: int, folder: Path, workers: int) -> Proxy:
    made = Proxy(
        folder,
        f"backends: {{v2: {{endpoints: http://127.0.0.1:{port}, health: false}}}}\n"
        "routes: [{name: churn, match: {prefix: /}, split: {v2: 100%}}]\n",
        workers,
    )
    made.file.write_text(made.file.read_text().replace("drain: 5s", f"drain: {drain}"))
    return made


async def refused(proxy: Proxy) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def not_ready(proxy: Proxy) -> bool:
    status, answer = await proxy.call("GET", "/readyz")
    return status == 503 and answer["detail"] == "draining"


async def begin_slow(session: aiohttp.ClientSession, proxy: Proxy, model: SlowModel) -> asyncio.Task[int]:
    async def ask() -> int:
        async with session.get(f"{proxy.url}/slow") as response:
            await response.read()
            return response.status

    task = asyncio.create_task(ask())
    await wait_until(lambda: model.waiting, "the model has the request")
    return task


async def admin_answers(proxy: Proxy) -> None:
    assert (await proxy.call("GET", "/healthz"))[0] == 200
    assert await not_ready(proxy)
    assert "crossfade_requests_total" in await proxy.get("/metrics")
    assert (await proxy.get("/api/v1/status"))["routes"]


@pytest.mark.parametrize("workers", [0, 2])
async def test_after_a_term_it_serves_for_the_delay_and_the_admin_port_answers_to_the_end(
    tmp_path: Path, model: tuple[SlowModel, int], workers: int
) -> None:
    slow, port = model
    proxy = proxy_with("{delay: 3s, timeout: 60s}", port, tmp_path, workers)
    async with running(proxy), aiohttp.ClientSession() as session:
        async with session.get(proxy.url) as response:
            assert "connection" not in response.headers
        under_way = await begin_slow(session, proxy, slow)
        proxy.child.send_signal(signal.SIGTERM)
        await wait_until(lambda: not_ready(proxy), "it is not ready")
        assert "serving for 3 s more" in proxy.output
        for _ in range(5):
            async with session.get(proxy.url) as response:
                assert response.status == 200
                assert response.headers["connection"] == "close", "the client goes elsewhere"
            await admin_answers(proxy)
        await wait_until(lambda: refused(proxy), "the drain has begun")
        for _ in range(3):
            await admin_answers(proxy)
            assert not under_way.done()
            await asyncio.sleep(0.2)
        text = await proxy.get("/metrics")
        assert any(x.startswith("crossfade_in_flight") and x.endswith(" 1.0") for x in text.splitlines())
        slow.release.set()
        assert await under_way == 200
        assert await proxy.child.wait() == 0, proxy.output
    assert (tmp_path / "state.db.lock").read_text() == ""


@pytest.mark.parametrize("workers", [0, 1])
async def test_an_int_waits_for_no_delay_and_a_second_signal_for_nothing(
    tmp_path: Path, model: tuple[SlowModel, int], workers: int
) -> None:
    slow, port = model
    proxy = proxy_with("{delay: 1000s, timeout: 1000s}", port, tmp_path, workers)
    async with running(proxy), aiohttp.ClientSession() as session:
        under_way = await begin_slow(session, proxy, slow)
        proxy.child.send_signal(signal.SIGINT)
        await wait_until(lambda: refused(proxy), "it drains")
        await admin_answers(proxy)
        assert not under_way.done()
        proxy.child.send_signal(signal.SIGINT)
        assert await proxy.child.wait() == 0, proxy.output
        with pytest.raises(aiohttp.ClientError):
            await under_way
        assert "SIGINT again: ending at once" in proxy.output
    assert (tmp_path / "state.db.lock").read_text() == ""


async def test_a_second_term_ends_the_delay_too(tmp_path: Path, model: tuple[SlowModel, int]) -> None:
    slow, port = model
    proxy = proxy_with("{delay: 1000s, timeout: 1000s}", port, tmp_path, 2)
    async with running(proxy), aiohttp.ClientSession() as session:
        under_way = await begin_slow(session, proxy, slow)
        proxy.child.send_signal(signal.SIGTERM)
        await wait_until(lambda: not_ready(proxy), "it is not ready")
        proxy.child.send_signal(signal.SIGTERM)
        assert await proxy.child.wait() == 0, proxy.output
        with pytest.raises(aiohttp.ClientError):
            await under_way


async def test_nobody_takes_over_from_a_proxy_that_ends(tmp_path: Path, model: tuple[SlowModel, int]) -> None:
    """It goes on to its end, and the other one says why it did not start."""
    slow, port = model
    proxy = proxy_with("{delay: 1000s, timeout: 60s}", port, tmp_path, 1)
    async with running(proxy), aiohttp.ClientSession() as session:
        under_way = await begin_slow(session, proxy, slow)
        proxy.child.send_signal(signal.SIGTERM)
        await wait_until(lambda: not_ready(proxy), "it is not ready")
        first = proxy.child
        proxy.module = ("crossfade", "run", "--takeover", str(proxy.file))
        await super(Proxy, proxy).start()
        second, proxy.child = proxy.child, first
        assert await second.wait() == 1
        assert "cannot leave: it is starting or ending" in proxy.output
        slow.release.set()
        assert await under_way == 200
        first.send_signal(signal.SIGTERM)
        assert await first.wait() == 0, proxy.output


async def test_a_worker_that_gets_a_term_in_the_delay_is_not_replaced(
    tmp_path: Path, model: tuple[SlowModel, int]
) -> None:
    """A service manager sends the signal to all processes at once."""
    slow, port = model
    proxy = proxy_with("{delay: 1s, timeout: 60s}", port, tmp_path, 2)
    async with running(proxy), aiohttp.ClientSession() as session:
        under_way = await begin_slow(session, proxy, slow)
        status = await proxy.get("/api/v1/status")
        proxy.child.send_signal(signal.SIGTERM)
        await wait_until(lambda: not_ready(proxy), "it is not ready")
        for worker in status["workers"]:
            os.kill(worker["pid"], signal.SIGTERM)
        async with session.get(proxy.url) as response:
            assert response.status == 200
        await wait_until(lambda: refused(proxy), "the drain has begun")
        slow.release.set()
        assert await under_way == 200
        assert await proxy.child.wait() == 0, proxy.output
        assert "starting another" not in proxy.output
