"""What is in force survives a crash, also while the database cannot be written."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crossfade.control import journal as journal_module
from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from crossfade.control.views import Verb

from .gated_store import GatedStore, gated_store
from .harness import CANARY, Harness


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process holds the database's lock; for a writer a full disk is the same."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def started(path: Path) -> Harness:
    """Another process after a kill: nothing of the one before is closed."""
    return Harness(Store.open(f"sqlite:{path}"))


async def at_first_step(path: Path) -> Harness:
    harness = started(path)
    await harness.load()
    await harness.run(3)
    assert harness.weights == {"v2": 9500, "v3": 500}
    return harness


def spool_of(path: Path) -> Path:
    return Path(f"{path}.spool")


def make_unusable(spool: Path) -> None:
    spool.unlink()
    spool.mkdir()


def is_empty(spool: Path) -> bool:
    return not spool.read_bytes().strip(b"\0")


async def abort(harness: Harness) -> str:
    view = await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now, "wrong answers")
    assert (view.phase, harness.weights) == ("aborted", {"v2": 10_000})
    return view.not_durable


async def actions_on_disk(harness: Harness) -> list[str]:
    await harness.controller.idle()
    return [d.action for d in harness.store.decisions(None, 0, 100)]


async def test_an_abort_that_is_on_disk_is_answered_as_such(path):
    harness = await at_first_step(path)
    assert await abort(harness) == ""
    assert await actions_on_disk(harness) == ["start", "begin", "abort"]


async def test_an_abort_that_cannot_be_written_survives_a_kill(path):
    harness = await at_first_step(path)
    with locked(path):
        said = await abort(harness)
        assert said.startswith(
            f"in force, not durable yet: it is in {path}.spool until the state can be written"
        )
        assert not harness.views.status(harness.now).store_ok
        assert "database is locked" in harness.views.status(harness.now).store_error
    again = started(path)
    again.now = harness.now
    await again.load()
    assert (again.rollout.phase, [s.routes[0].ledger.weights.get("v3", 0) for s in again.seam.published]) == (
        "aborted",
        [0],
    )
    assert await actions_on_disk(again) == ["start", "begin", "abort"]
    assert replayed(journal(again.store)).differences == []
    await again.run(30)
    assert again.weights == {"v2": 10_000}
    assert (await again.decisions())[-1].reason == "wrong answers"
    assert await actions_on_disk(started(path)) == ["start", "begin", "abort"]  # not a second time


async def test_a_fail_of_a_check_survives_a_kill_and_a_start_without_a_writable_state(path):
    harness = await at_first_step(path)
    with locked(path):
        harness.error_share = {"v3": 1.0}
        await harness.run(2)
        assert harness.rollout.phase == "aborted"
        again = started(path)
        again.now = harness.now
        await again.load()
        await again.run(3)
        assert (again.rollout.phase, again.weights) == ("aborted", {"v2": 10_000})
        assert await again.actions() == ["start", "begin", "abort"]
        assert await actions_on_disk(again) == ["start", "begin"]
        third = started(path)
        third.now = again.now
        await third.load()
        assert third.rollout.phase == "aborted"
    await third.run(3)
    assert await actions_on_disk(third) == ["start", "begin", "abort"]
    assert third.views.store_ok
    assert replayed(journal(third.store)).differences == []
    assert await actions_on_disk(started(path)) == ["start", "begin", "abort"]


async def test_what_the_database_takes_later_leaves_the_spool(path):
    harness = await at_first_step(path)
    with locked(path):
        await abort(harness)
        await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    await harness.run(2)
    assert await actions_on_disk(harness) == ["start", "begin", "abort"]
    assert is_empty(spool_of(path))


async def test_without_database_and_spool_the_answer_says_so(path, caplog):
    harness = await at_first_step(path)
    make_unusable(spool_of(path))
    with locked(path):
        assert (await abort(harness)).startswith("in force, but on no disk: a crash would forget it")
        assert f"{path}.spool cannot be written" in caplog.text


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[GatedStore]:
    with gated_store(tmp_path) as store:
        yield store


async def test_an_abort_does_not_wait_for_a_disk_that_hangs(hung, monkeypatch, path):
    harness = Harness(hung)
    await harness.load()
    await harness.run(3)
    for wait in ("SPOOL_AFTER", "HANGS_AFTER"):
        monkeypatch.setattr(journal_module, wait, 0.01)
    hung.gate.clear()
    harness.serve(1)
    harness.controller.tick(harness.now)
    await hung.reach_gate()
    assert (await abort(harness)).startswith("in force, not durable yet")
    assert harness.controller.journal.error.endswith("the disk does not answer")
    again = started(path)
    again.now = harness.now
    await again.load()
    assert (again.rollout.phase, again.weights) == ("aborted", {"v2": 10_000})


async def test_a_disk_that_hangs_holds_the_rise_only(hung, monkeypatch):
    harness = Harness(hung)
    await harness.load()
    await harness.run(3)
    monkeypatch.setattr(journal_module, "HANGS_AFTER", 0.01)
    hung.gate.clear()
    harness.serve(1)
    harness.controller.tick(harness.now)
    await hung.reach_gate()
    harness.serve(60)
    harness.add_traffic(1000)
    harness.controller.tick(harness.now)
    async with asyncio.timeout(30):
        while not harness.rollout.waiting_for.startswith("the state to be writable"):
            await asyncio.sleep(0.01)
    assert harness.weights == {"v2": 9500, "v3": 500}
    assert not harness.controller.state.routes["churn"].lock.locked()
    hung.gate.set()
    monkeypatch.undo()
    await harness.controller.idle()
    await harness.run(2)
    assert harness.rollout.step == 1


async def test_an_abort_does_not_wait_for_a_rise_that_hangs_in_the_disk(hung, monkeypatch, path):
    """The disk takes the rise in the end. It was not made, and the journal says so."""
    harness = Harness(hung)
    await harness.load()
    await harness.run(3)
    harness.serve(60)
    harness.controller.tick(harness.now)
    await harness.controller.idle()
    harness.add_traffic(4000)
    for wait in ("SPOOL_AFTER", "HANGS_AFTER", "GIVE_UP_AFTER"):
        monkeypatch.setattr(journal_module, wait, 0.01)
    hung.gate.clear()
    harness.controller.tick(harness.now)
    await hung.reach_gate()
    async with asyncio.timeout(30):
        assert (await abort(harness)).startswith("in force, not durable yet")
    hung.gate.set()
    await harness.controller.idle()
    found = await harness.decisions()
    assert (
        [d.action for d in found]
        == await actions_on_disk(harness)
        == ["start", "begin", "advance", "undo", "abort"]
    )
    assert found[3].reason.startswith("not made: the disk took too long (held")
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})
    assert replayed(journal(harness.store)).differences == []
    again = started(path)
    again.now = harness.now
    await again.load()
    assert (again.rollout.phase, again.weights) == ("aborted", {"v2": 10_000})


async def test_an_end_does_not_wait_for_a_disk_that_hangs(hung, monkeypatch, caplog, path):
    harness = Harness(hung)
    await harness.load(CANARY)
    await harness.run(3)
    for wait in ("SPOOL_AFTER", "HANGS_AFTER", "CLOSE_WAIT"):
        monkeypatch.setattr(journal_module, wait, 0.01)
    monkeypatch.setattr("crossfade.control.controller.CLOSE_WAIT", 0.01)
    hung.gate.clear()
    await abort(harness)
    await harness.controller.close()
    assert f"1 decisions are not in the journal; the next start writes them from {path}.spool" in caplog.text
