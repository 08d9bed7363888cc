"""A new version takes over a state file of an earlier format: nothing is lost, and a file that it cannot use stays with the old one."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from crossfade.control.migrations import FORMAT, OLDEST
from crossfade.control.replay import journal, replayed
from crossfade.control.route_record import RouteRecord
from crossfade.control.store import Store
from tests.control.make_golden import GOLDEN
from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

TRIAL = canary("[{weight: 40%, hold: 1h}]")


AS_FORMAT_4 = (
    """CREATE TABLE route_state_4 (
        route TEXT PRIMARY KEY, version INTEGER NOT NULL, backends TEXT NOT NULL, slots BLOB NOT NULL,
        home TEXT, home_slots BLOB, file_split TEXT NOT NULL, rollouts TEXT NOT NULL, latched TEXT NOT NULL,
        evidence BLOB NOT NULL
    ) WITHOUT ROWID""",
    """INSERT INTO route_state_4 SELECT route, version, backends, slots, home, home_slots,
        json_extract(applied, '$.split'), rollouts, latched, evidence FROM route_state WHERE left_at IS NULL""",
    "DROP TABLE route_state",
    "ALTER TABLE route_state_4 RENAME TO route_state",
    "PRAGMA user_version = 4",
)


def changed(state: Path, *statements: str) -> None:
    """The file under the running proxy; that proxy does not read the format again, and writes evidence only."""
    with closing(sqlite3.connect(state, timeout=10.0, isolation_level=None)) as connection:
        for statement in ("BEGIN IMMEDIATE", *statements, "COMMIT"):
            connection.execute(statement)


def format_in(state: Path) -> int:
    with closing(sqlite3.connect(state)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def record_in(state: Path) -> RouteRecord:
    with closing(Store.read(str(state))) as store:
        return store.records()["churn"][0]


async def has_counted(proxy: Proxy) -> bool:
    """Whether the rollout has begun, and each check has counted requests."""
    return all(verdict["n"] > 50 for verdict in (await proxy.rollout())["verdicts"])


@pytest.mark.parametrize("workers", [2, 0])
async def test_a_takeover_upgrades_the_state_while_the_workers_serve(
    tmp_path: Path, models: dict[str, Model], workers: int
) -> None:
    """The old proxy has a file of format 4: its journal begins with the golden one, and its tables are those of format 4."""
    state = tmp_path / "state.db"
    shutil.copy(GOLDEN / f"state-{OLDEST}.db", state)
    proxy = Proxy(tmp_path, routing(models, TRIAL), workers)
    async with running(proxy), Load(proxy.url) as load:
        # The golden rollout goes on under this file, and its hold was over long ago.
        code, _ = await proxy.call("POST", "/api/v1/rollouts/churn/restart")
        assert code == 200
        await wait_until(lambda: has_counted(proxy), "the rollout has evidence")
        await load.wait_for_answers(50)
        load.assigned.clear()  # of the time before the rollout began
        await load.wait_for_answers(200)
        changed(state, *AS_FORMAT_4)
        before, record = await proxy.rollout(), record_in(state)
        assert format_in(state) == 4
        assert await proxy.take_over() == 0, proxy.output
        await load.wait_for_answers(200)
        after = await proxy.rollout()
        assert f"{state}: upgraded from format 4 to {FORMAT}" in proxy.output
    assert load.failures == []
    assert (format_in(state), format_in(Path(f"{state}.format-4"))) == (FORMAT, 4)
    assert record_in(state) == record
    assert (after["phase"], after["step"]) == ("progressing", 0)
    # Format 4 has one time for both; here it was the served time.
    assert after["since"] == pytest.approx(before["since"], abs=5)
    checked = {v["check"]: v["n"] for v in before["verdicts"]}
    assert all(v["n"] >= checked[v["check"]] > 0 for v in after["verdicts"])
    assert all(len(set(backends)) == 1 for backends in load.assigned.values()), "a customer moved"
    with closing(Store.read(str(state))) as store:
        report = replayed(journal(store))
    assert (report.differences, report.earlier) == ([], 33)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (f"PRAGMA user_version = {FORMAT + 1}", f"has format {FORMAT + 1}, written by crossfade "),
        ("UPDATE route_state SET slots = x'00'", "cannot read the routes' state"),
    ],
)
async def test_a_state_that_the_new_version_cannot_use_stays_with_the_old_one(
    tmp_path: Path, models: dict[str, Model], damage: str, said: str
) -> None:
    proxy = Proxy(tmp_path, routing(models, TRIAL))
    async with running(proxy), Load(proxy.url) as load:
        await wait_until(lambda: has_counted(proxy), "the rollout has begun")
        changed(tmp_path / "state.db", damage)
        heir = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crossfade", "run", "--takeover", str(proxy.file)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, error = await heir.communicate()
        assert (heir.returncode, said in error.decode()) == (1, True), error
        await load.wait_for_answers(20)
        assert proxy.child.returncode is None
        assert await proxy.is_ready()
    assert load.failures == []
