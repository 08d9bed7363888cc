"""Starts that fail, processes that die while others start, and what is left of them: docs/succession.md."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.scenarios.conftest import routing
from tests.scenarios.harness import TIMEOUT, Load, Model, Process, Proxy, running, wait_until
from tests.scenarios.test_proxy_killed import alive

HALF = "    split: {v2: 50%, v3: 50%}\n"
WHOLE = "    split: {v2: 100%}\n"


async def workers_of(proxy: Proxy) -> list[int]:
    return [w["pid"] for w in (await proxy.get("/api/v1/status"))["workers"] if w["up"]]


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def failed_run(file: Path, *options: str, full_disk: bool = False, workers: int = 2) -> str:
    """Its error. With `full_disk` no file of the process can grow once it has started a worker, if it starts any."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crossfade", "run", *options, str(file)), stderr=asyncio.subprocess.PIPE
    )
    try:
        if full_disk and workers:
            await wait_until(partial(children_of, process.pid), "it has a worker")
        if full_disk:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        _, errors = await asyncio.wait_for(process.communicate(), TIMEOUT)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 1, errors
    return errors.decode()


def open_files(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]


@contextmanager
def taken_port(port: int = 0) -> Iterator[int]:
    """Another program listens on it."""
    with socket.create_server(("127.0.0.1", port)) as sock:
        yield sock.getsockname()[1]


# ── starts that fail ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cause", ["the admin port is taken", "the state is corrupt", "the disk is full"])
async def test_workers_without_a_control_process_serve_on_when_a_start_fails(
    tmp_path: Path, models: dict[str, Model], cause: str
) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    state = tmp_path / "state.db"
    async with running(proxy), Load(proxy.url) as load:
        workers = await workers_of(proxy)
        await load.wait_for_answers(50)
        await proxy.stop(signal.SIGKILL)
        content = state.read_bytes()
        if cause == "the admin port is taken":
            with taken_port(proxy.admin_port):
                assert f"cannot listen on 127.0.0.1:{proxy.admin_port}" in await failed_run(proxy.file)
        elif cause == "the state is corrupt":
            for name in ("state.db-wal", "state.db-shm"):
                (tmp_path / name).unlink()
            state.write_bytes(os.urandom(len(content)))
            assert "state.db" in await failed_run(proxy.file)
        else:
            proxy.write(routing(models, WHOLE))  # a decision, which is to be written
            assert "crossfade: " in await failed_run(proxy.file, full_disk=True)
        await load.wait_for_answers(100)
        assert all(alive(pid) for pid in workers)
        proxy.write(routing(models, HALF))
        state.write_bytes(content)
        await proxy.start()
        await wait_until(lambda: not any(alive(pid) for pid in workers), "they have been replaced")
        await load.wait_for_answers(50)
    assert load.failures == []


@pytest.mark.parametrize("workers", [2, 0])
async def test_a_takeover_that_fails_leaves_the_running_proxy_as_it_was(
    tmp_path: Path, models: dict[str, Model], workers: int
) -> None:
    """Before it left, and after it did."""
    proxy = Proxy(tmp_path, routing(models, HALF), workers)
    async with running(proxy), Load(proxy.url) as load:
        before = await workers_of(proxy)
        other = tmp_path / "other.yaml"
        text = proxy.file.read_text()
        with taken_port() as port:
            other.write_text(text.replace(str(proxy.admin_port), str(port)))
            assert f"cannot listen on 127.0.0.1:{port}" in await failed_run(other, "--takeover")
        assert "this proxy goes on" not in proxy.output, "it was not asked to leave"
        other.write_text(text.replace(HALF, WHOLE))  # a decision, which is to be written
        assert "crossfade: " in await failed_run(other, "--takeover", full_disk=True, workers=workers)
        await wait_until(lambda: "this proxy goes on" in proxy.output, "it goes on")
        await wait_until(proxy.is_ready, "it is ready")
        assert await workers_of(proxy) == before
        status, answer = await proxy.call("PUT", "/api/v1/routes/churn/split", {"v2": 30, "v3": 70})
        assert status == 200, answer
        assert await proxy.split() == {"v2": 0.3, "v3": 0.7}
        await load.wait_for_answers(50)
        assert await proxy.take_over() == 0, proxy.output
        await load.wait_for_answers(50)
        assert await proxy.split() == {"v2": 0.3, "v3": 0.7}
    assert load.failures == []


async def test_a_state_in_memory_cannot_be_taken_over(tmp_path: Path, models: dict[str, Model]) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    proxy.file.write_text(proxy.file.read_text().replace(f"sqlite:{tmp_path}/state.db", "'sqlite::memory:'"))
    assert "--takeover needs a state on disk" in await failed_run(proxy.file, "--takeover")
    proxy.log.close()


# ── processes that die ────────────────────────────────────────────────────────────────────────────


async def test_after_a_takeover_and_a_crash_the_next_one_starts(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    """Workers must not have inherited what the successor got: the lock above all."""
    proxy = Proxy(tmp_path, routing(models, HALF))
    async with running(proxy), Load(proxy.url) as load:
        assert await proxy.take_over() == 0, proxy.output
        await load.wait_for_answers(20)
        await proxy.stop(signal.SIGKILL)
        await load.wait_for_answers(20)
        proxy.module = ("crossfade", "run", str(proxy.file))
        await proxy.start()
        await load.wait_for_answers(20)
        for pid in await workers_of(proxy):
            assert not [name for name in open_files(pid) if "state.db" in name]
        for name in ("state.db.lock", "state.db.sock"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert load.failures == []
    assert (tmp_path / "state.db.lock").read_text() == ""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_it_starts_leaves_nobody_behind(
    tmp_path: Path, models: dict[str, Model], sign: signal.Signals
) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    await Process.start(proxy)
    workers = await wait_until(lambda: children_of(proxy.child.pid), "it has a worker")
    assert await proxy.stop(sign) == 0, proxy.output
    assert not any(alive(pid) for pid in workers)
    assert (tmp_path / "state.db.lock").read_text() == ""
    proxy.log.close()


async def test_a_hang_up_while_it_starts_loads_the_file_afterwards(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    await Process.start(proxy)
    await wait_until(lambda: children_of(proxy.child.pid), "it has a worker")
    proxy.child.send_signal(signal.SIGHUP)
    await wait_until(proxy.is_ready, "it is ready")
    await wait_until(lambda: "loaded by signal" in proxy.output, "it has loaded the file")
    await proxy.stop()
    proxy.log.close()


async def test_where_no_worker_can_be_started_the_others_serve_on(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    async with running(proxy), Load(proxy.url):
        first, second = await workers_of(proxy)
        pid = proxy.child.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        held = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (held - 2, hard))
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: "worker 0 cannot be started" in proxy.output, "it is told")
        assert alive(second)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        await wait_until(lambda: "worker 0 serves again" in proxy.output, "it is replaced")
        assert len(await workers_of(proxy)) == 2
        assert alive(second)
        assert proxy.output.count("worker 0 cannot be started") == 1


async def test_a_worker_that_gets_a_signal_is_replaced_and_loses_nothing(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    async with running(proxy), Load(proxy.url) as load:
        await load.wait_for_answers(50)
        first, second = await workers_of(proxy)
        os.kill(first, signal.SIGTERM)
        await wait_until(lambda: not alive(first), "it has ended")
        await load.wait_for_answers(50)
        now = await workers_of(proxy)
        assert len(now) == 2 and second in now and first not in now
    assert load.failures == []


async def test_a_successor_that_is_killed_after_the_holder_left_is_not_missed(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    async with running(proxy), Load(proxy.url) as load:
        before = await workers_of(proxy)
        for _ in range(2):  # one after the other: while the first is waited for, a second could take over
            successor = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "crossfade", "run", "--takeover", str(proxy.file)),
                stderr=asyncio.subprocess.DEVNULL,
            )
            await wait_until(partial(children_of, successor.pid), "it has a worker")
            successor.kill()
            await successor.wait()
        await wait_until(proxy.is_ready, "the running proxy goes on")
        assert await workers_of(proxy) == before
        await load.wait_for_answers(50)
    assert load.failures == []


async def backend_of(customer: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """That answers this customer on this connection."""
    body = b'{"customer_id": %d}' % customer
    writer.write(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    fields = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
    await reader.readexactly(int(fields["content-length"]))
    return fields["x-crossfade-backend"]


async def test_a_worker_that_drains_serves_what_is_decided_meanwhile(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    """It may take as long as `drain` says, and what has been taken back must not be served for so long."""
    proxy = Proxy(tmp_path, routing(models, HALF))
    proxy.file.write_text(proxy.file.read_text().replace("drain: 5s", "drain: 60s"))
    async with running(proxy):
        clients = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(8)]
        assert {await backend_of(n, *client) for n, client in enumerate(clients)} == {"v2", "v3"}
        await proxy.stop(signal.SIGKILL)
        await proxy.start()
        status, answer = await proxy.call("PUT", "/api/v1/routes/churn/split", {"v2": 100, "v3": 0})
        assert status == 200, answer
        assert {await backend_of(n, *client) for n, client in enumerate(clients)} == {"v2"}
        for _, writer in clients:
            writer.close()
