"""The start of the proxy: an error that prevents it is one line with exit code 1."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from pathlib import Path

import pytest

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Model, Process, Proxy, running, wait_until

WHOLE = "    split: {v2: 100%}\n"


async def failed_start(proxy: Proxy) -> str:
    """Starts the proxy, waits for exit code 1, and returns the output."""
    await Process.start(proxy)
    assert await proxy.child.wait() == 1
    output = proxy.output
    proxy.log.close()
    assert "Traceback" not in output
    return output


async def test_an_error_in_the_file_is_named(tmp_path: Path, models: dict[str, Model]) -> None:
    proxy = Proxy(tmp_path, routing(models, "    splt: {v2: 100%}\n"))
    output = await failed_start(proxy)
    assert f"{proxy.file}:" in output
    assert 'unknown key "splt"' in output
    assert "split" in output


async def test_a_missing_file_is_named(tmp_path: Path, models: dict[str, Model]) -> None:
    proxy = Proxy(tmp_path, routing(models, WHOLE))
    proxy.file.unlink()
    assert "cannot be read" in await failed_start(proxy)


@pytest.mark.parametrize("which", ["port", "admin_port"])
async def test_a_port_in_use_is_named(tmp_path: Path, models: dict[str, Model], which: str) -> None:
    proxy = Proxy(tmp_path, routing(models, WHOLE))
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", getattr(proxy, which)))
        taken.listen()
        assert f"cannot listen on 127.0.0.1:{getattr(proxy, which)}" in await failed_start(proxy)


async def test_the_pid_of_the_proxy_that_uses_the_state_is_named(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    first = Proxy(tmp_path, routing(models, WHOLE))
    async with running(first):
        second = Proxy(tmp_path, routing(models, WHOLE))
        assert f"pid {first.child.pid}" in await failed_start(second)


async def test_a_state_that_is_no_database_is_named(tmp_path: Path, models: dict[str, Model]) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database" * 100)
    assert "state.db" in await failed_start(Proxy(tmp_path, routing(models, WHOLE)))


async def test_workers_raise_their_soft_limit_of_descriptors_to_the_hard_limit(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    proxy = Proxy(tmp_path, routing(models, WHOLE))
    used = len(os.listdir("/proc/self/fd"))  # the tests before may have left some
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(512, used + 100), hard)
    )  # 512: a usual value of a login shell
    try:
        async with running(proxy):
            status = await proxy.get("/api/v1/status")
            assert status["workers"]
            for worker in status["workers"]:
                assert resource.prlimit(worker["pid"], resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_package_in_the_working_directory_is_not_imported(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    """Neither by the proxy nor by its workers."""
    (tmp_path / "crossfade").mkdir()
    (tmp_path / "crossfade" / "__init__.py").write_text("raise SystemExit('another package')")
    proxy = Proxy(tmp_path, routing(models, WHOLE))
    proxy.child = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "crossfade", "run", str(proxy.file),
        cwd=tmp_path, stdout=proxy.log, stderr=proxy.log,
    )  # fmt: skip
    try:
        await wait_until(proxy.is_ready, lambda: proxy.output)
        assert "another package" not in proxy.output
    finally:
        await proxy.stop()
        proxy.log.close()
