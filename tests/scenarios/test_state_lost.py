"""An abort that cannot be written, or whose state file is deleted or cut afterwards, survives a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

STEP = canary("[{weight: 50%, hold: 6h}]")


async def kill_and_start(proxy: Proxy) -> None:
    await proxy.stop(signal.SIGKILL)
    await proxy.start()


async def assert_aborted(proxy: Proxy) -> None:
    assert (await proxy.rollout())["phase"] == "aborted"
    assert (await proxy.split()).get("v3", 0.0) == 0.0


async def test_an_abort_that_cannot_be_written_survives_a_kill(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, STEP))
    async with running(proxy), Load(proxy.url) as load:
        await wait_until(lambda: load.answers["v3"] > 5, "the first step")
        with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            status, answer = await proxy.call("POST", "/api/v1/rollouts/churn/abort", {"reason": "wrong"})
            assert (status, answer["phase"]) == (202, "aborted")
            assert answer["not_durable"].startswith("in force, not durable yet")
            await proxy.stop(signal.SIGKILL)
        await proxy.start()
        await assert_aborted(proxy)
        found = await proxy.get("/api/v1/decisions")
        assert [(d["action"], d["reason"]) for d in found["decisions"]][-1] == ("abort", "wrong")
    with closing(Store.read(str(tmp_path / "state.db"))) as store:
        assert replayed(journal(store)).differences == []


def delete(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        os.unlink(f"{path}{end}")


def truncate(path: Path) -> None:
    for end in ("", "-wal"):
        os.truncate(f"{path}{end}", 0)


def holds_lines(spool: Path) -> bool:
    return b"\n" in spool.read_bytes()


@pytest.mark.parametrize("damage", [delete, truncate])
async def test_a_state_that_is_lost_holds_the_rollout_and_forgets_no_abort(
    tmp_path: Path, models: dict[str, Model], damage: Callable[[Path], None]
) -> None:
    proxy = Proxy(tmp_path, routing(models, STEP))
    async with running(proxy), Load(proxy.url) as load:
        await wait_until(lambda: load.answers["v3"] > 5, "the first step")
        assert (await proxy.call("POST", "/api/v1/rollouts/churn/abort"))[0] == 200
        damage(tmp_path / "state.db")

        async def is_noticed() -> bool:
            status = await proxy.get("/api/v1/status")
            assert ("restart it" in status["store_error"]) != status["store_ok"]
            return not status["store_ok"]

        await wait_until(is_noticed, "the status to report the loss")
        assert "crossfade_state_writable 0" in await proxy.get("/metrics")
        await wait_until(lambda: holds_lines(tmp_path / "state.db.spool"), "the state to be in the spool")
        await kill_and_start(proxy)
        await assert_aborted(proxy)
        assert (await proxy.get("/api/v1/status"))["store_ok"]
        assert [d["action"] for d in (await proxy.get("/api/v1/decisions"))["decisions"]] == ["restore"]
