"""A new proxy takes over the state and the sockets of the running proxy, and no request is lost (law 9)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until
from tests.scenarios.test_proxy_killed import alive

HALF = "    split: {v2: 50%, v3: 50%}\n"


async def send_on_new_connections(proxy: Proxy, failures: list[str], stopping: asyncio.Event) -> int:
    """Opens a new connection for each request; returns the number of answers."""
    answered = 0
    body = b'{"customer_id": 1}'
    request = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    while not stopping.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            if answer.startswith(b"HTTP/1.1 200"):
                answered += 1
            else:
                failures.append(repr(answer[:100]))
        except OSError as error:
            failures.append(repr(error))
        await asyncio.sleep(0.002)
    return answered


@pytest.mark.parametrize("workers", [2, 0])
async def test_a_takeover_loses_no_request(tmp_path: Path, models: dict[str, Model], workers: int) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF), workers)
    stopping = asyncio.Event()
    failures: list[str] = []
    async with running(proxy), Load(proxy.url) as load, asyncio.TaskGroup() as tasks:
        clients = [tasks.create_task(send_on_new_connections(proxy, failures, stopping)) for _ in range(4)]
        old = [w["pid"] for w in (await proxy.get("/api/v1/status"))["workers"]]
        await load.wait_for_answers(100)
        assert await proxy.take_over() == 0, proxy.output
        await load.wait_for_answers(100)
        assert not set(old) & {w["pid"] for w in (await proxy.get("/api/v1/status"))["workers"]}
        await wait_until(lambda: not any(alive(pid) for pid in old), "the old workers to exit")
        stopping.set()
    assert (load.failures, failures) == ([], [])
    assert sum(task.result() for task in clients) > 100


async def test_no_request_fails_during_reloads_new_weights_and_a_takeover(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    """Law 9: 50 reloads, 20 changes of weights and a takeover, with clients that send without a pause."""
    proxy = Proxy(tmp_path, routing(models, HALF))
    stopping = asyncio.Event()
    failures: list[str] = []
    async with running(proxy), Load(proxy.url, pause=0.0) as load, asyncio.TaskGroup() as tasks:
        clients = [tasks.create_task(send_on_new_connections(proxy, failures, stopping)) for _ in range(4)]
        for n in range(50):
            if n == 25:
                assert await proxy.take_over() == 0, proxy.output
            status, answer = await proxy.call("POST", "/api/v1/reload")
            assert status == 200, answer
            if n % 5 < 2:
                status, answer = await proxy.call(
                    "PUT", "/api/v1/routes/churn/split", {"v2": 50 + n, "v3": 50}
                )
                assert status == 200, answer
        await load.wait_for_answers(100)
        stopping.set()
    assert (load.failures, failures) == ([], [])
    assert sum(task.result() for task in clients) > 100


async def test_a_takeover_keeps_all_counts_of_a_rollout(tmp_path: Path, models: dict[str, Model]) -> None:
    proxy = Proxy(tmp_path, routing(models, canary("[{weight: 40%, hold: 1h}]")))
    async with running(proxy):
        await wait_until(lambda: begun(proxy), "the first step of the rollout")
        async with Load(proxy.url) as load:
            await load.wait_for_answers(200)
            before = await proxy.rollout()
            await proxy.take_over()
            await load.wait_for_answers(200)
        assert load.failures == []
        after = await proxy.rollout()
        assert (after["since"], after["phase"]) == (before["since"], "progressing")
        counted = next(v for v in after["verdicts"] if v["check"] == "error_rate <= 1%")

        async def all_counted() -> bool:
            verdicts = (await proxy.rollout())["verdicts"]
            return any(v["n"] == load.answers["v3"] for v in verdicts)

        await wait_until(all_counted, f"a count of {load.answers['v3']} requests; it was {counted['n']}")


async def begun(proxy: Proxy) -> bool:
    return (await proxy.split())["v3"] == 0.4


async def test_a_takeover_without_a_running_proxy_is_a_normal_start(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    proxy.module = ("crossfade", "run", "--takeover", str(proxy.file))
    async with running(proxy), Load(proxy.url) as load:
        await load.wait_for_answers(20)
        assert "no running proxy" in proxy.output
    assert load.failures == []


async def test_a_proxy_with_an_invalid_file_does_not_take_over(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    async with running(proxy), Load(proxy.url) as load:
        await load.wait_for_answers(20)
        pid = proxy.child.pid
        proxy.write(routing(models, "    splt: {v2: 100%}\n"))
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crossfade", "run", "--takeover", str(proxy.file)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await second.communicate()
        assert (second.returncode, b"splt" in errors) == (1, True)
        await load.wait_for_answers(20)
        assert proxy.child.returncode is None
        os.kill(pid, signal.SIGHUP)
    assert load.failures == []
