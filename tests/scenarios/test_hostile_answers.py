"""Answers made to hurt the reader: clients get them unchanged, nothing grows or slows, and each is counted."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web

from loadtests.accounting import process_tree, processes
from loadtests.ports import free_port
from tests.scenarios.harness import Load, Proxy, running, wait_until

BOMB = gzip.compress(b'{"p": "' + b"0" * 70_000_000 + b'"}', compresslevel=9)[:65_000]
NESTED = b"[" * 30_000 + b"]" * 30_000
LARGE = b'{"p": 0.5, "pad": "' + b"x" * 20_000_000 + b'"}'
EVENT = b"data: " + b"x" * 1000 + b"\n\n"
BODIES = {
    "/bomb": (BOMB, {"Content-Encoding": "gzip"}, ("unreadable", "size")),
    "/nested": (NESTED, {}, ("unreadable",)),
    "/large": (LARGE, {}, ("body_size",)),
    "/bytes": (b"\xff\xfe\x00", {}, ("unreadable",)),
    "/numbers": (b'{"p": 1' + b"0" * 60_000 + b"}", {}, ("unreadable",)),
}


@contextlib.asynccontextmanager
async def hostile_backend() -> AsyncIterator[int]:
    async def answer(request: web.Request) -> web.Response:
        body, fields, _ = BODIES[request.path]
        return web.Response(body=body, headers={"Content-Type": "application/json", **fields})

    async def predict(request: web.Request) -> web.Response:
        return web.json_response({"p": 0.5})

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):
            while True:
                await response.write(EVENT * 20)
                await asyncio.sleep(0)
        return response

    app = web.Application()
    for path in BODIES:
        app.router.add_get(path, answer)
    app.router.add_get("/endless", endless)
    app.router.add_post("/predict", predict)
    runner, port = web.AppRunner(app, shutdown_timeout=0.1), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


def config(port: int) -> str:
    return f"""backends:
  v2: {{endpoints: [http://127.0.0.1:{port}], health: false}}
routes:
  - name: churn
    match: {{prefix: /}}
    split: {{v2: 100%}}
    prediction: {{protocol: auto, score: p}}
"""


def observer_pid(proxy: Proxy) -> int | None:
    """Of the process that reads answers; None if it does not run."""
    for pid in process_tree(proxy.child.pid, processes()):
        with contextlib.suppress(OSError):
            if b"observer" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
    return None


def peak_memory(pid: int) -> int:
    """In MiB."""
    (line,) = (s for s in Path(f"/proc/{pid}/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


async def dropped(proxy: Proxy) -> dict[str, float]:
    _, text = await proxy.call("GET", "/metrics")
    lines = [s for s in text.splitlines() if s.startswith("crossfade_observations_dropped_total{")]
    return {line.partition('reason="')[2].partition('"')[0]: float(line.split()[-1]) for line in lines}


async def are_dropped(proxy: Proxy, before: dict[str, float], reasons: tuple[str, ...]) -> bool:
    """20 more than before, for these reasons and no other."""
    found = await dropped(proxy)
    more = {reason: count - before.get(reason, 0) for reason, count in found.items()}
    return sum(more.values()) == sum(more.get(reason, 0) for reason in reasons) == 20


async def test_hostile_answers_pass_unchanged_and_are_counted(tmp_path: Path) -> None:
    async with hostile_backend() as port:
        proxy = Proxy(tmp_path, config(port))
        async with running(proxy), aiohttp.ClientSession(auto_decompress=False) as session:
            await wait_until(lambda: observer_pid(proxy), "the observer runs")
            for path, (body, _, reasons) in BODIES.items():
                before = await dropped(proxy)
                for _ in range(20):
                    async with session.get(f"{proxy.url}{path}") as response:
                        assert await response.read() == body, path
                await wait_until(partial(are_dropped, proxy, before, reasons), f"all of {path} are counted")
                pid = observer_pid(proxy)
                assert pid is not None and peak_memory(pid) < 250, f"the observer has not grown by {path}"
            assert "hangs" not in proxy.output and "ended" not in proxy.output


async def test_a_stream_without_end_grows_nothing(tmp_path: Path) -> None:
    async with hostile_backend() as port:
        proxy = Proxy(tmp_path, config(port), workers=1)
        async with running(proxy), aiohttp.ClientSession() as session:
            pid = await wait_until(lambda: observer_pid(proxy), "the observer runs")
            async with session.get(f"{proxy.url}/endless") as response:
                read = 0
                while read < 100_000_000:
                    read += len(await response.content.read(1 << 20))
            (worker,) = (await proxy.get("/api/v1/status"))["workers"]
            assert peak_memory(worker["pid"]) < 200
            assert peak_memory(pid) < 250


async def test_requests_are_served_and_counted_while_the_observer_dies_again_and_again(
    tmp_path: Path,
) -> None:
    async with hostile_backend() as port:
        proxy = Proxy(tmp_path, config(port))
        async with running(proxy), Load(proxy.url, backends={'{"p": 0.5}': "v2"}) as load:
            for _ in range(3):
                pid = await wait_until(lambda: observer_pid(proxy), "an observer runs")
                os.kill(pid, signal.SIGKILL)
                await wait_until(lambda pid=pid: observer_pid(proxy) != pid, "it has ended")  # type: ignore[misc]
            sent = load.total

            async def reads_again() -> bool:
                _, text = await proxy.call("GET", "/metrics")
                return 'crossfade_observations_total{route="churn"}' in text and load.total > sent + 100

            await wait_until(reads_again, "another observer reads")
            assert load.failures == []
            assert "starting it again" in proxy.output
