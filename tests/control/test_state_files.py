"""A state file that is deleted, replaced or cut under a running proxy is noticed before exposure rises."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from crossfade.control.database import StoreError, StoreLostError
from crossfade.control.refusal import Refused
from crossfade.control.replay import journal, replayed
from crossfade.control.state_files import LostError, StateFiles
from crossfade.control.store import Store
from crossfade.control.views import StatusChange, Verb

from .harness import BOTH, CANARY, HEADING, Harness, rollout_entry, with_rollouts
from .make_golden import GOLDEN

ALL = ("", "-wal", "-shm")


def delete(path: Path) -> None:
    for end in ALL:
        os.unlink(f"{path}{end}")


def delete_log(path: Path) -> None:
    os.unlink(f"{path}-wal")


def truncate(path: Path) -> None:
    os.truncate(path, 0)
    os.truncate(f"{path}-wal", 0)


def truncate_log(path: Path) -> None:
    os.truncate(f"{path}-wal", 100)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * 8192)


def replace_it(path: Path) -> None:
    """As `mv backup state.db` does."""
    shutil.copy(GOLDEN / "state-4.db", f"{path}.backup")
    os.replace(f"{path}.backup", path)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (delete, "state.db was deleted"),
    (delete_log, "state.db-wal was deleted"),
    (truncate, "state.db was truncated to 0 bytes"),
    (truncate_log, "state.db-wal was truncated to 100 bytes"),
    (overwrite, "state.db was overwritten by other content"),
    (replace_it, "state.db was replaced by another file"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path):
    made = Store.open(f"sqlite:{path}")
    yield made
    made.close()


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_the_damage_is_named(store, path, damage, said):
    files = store.files
    files.look()
    damage(path)
    with pytest.raises(LostError, match=said):
        files.look()


def test_what_sqlite_does_by_itself_is_no_damage(store, path):
    store.connection.execute("CREATE TABLE more (x)")
    for _ in range(5):
        store.connection.executemany("INSERT INTO more VALUES (?)", [("x" * 2000,)] * 1000)
        store.files.look()
    with closing(Store.read(str(path))) as other:
        other.records()
    for mode in ("PASSIVE", "RESTART", "TRUNCATE"):
        store.connection.execute(f"PRAGMA wal_checkpoint({mode})")
        store.files.look()
    store.connection.execute("DELETE FROM more")
    store.connection.execute("VACUUM")
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.files.look()
    os.utime(path)
    store.files.look()


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
async def test_exposure_does_not_rise_and_falls(store, path, damage, said):
    harness = Harness(store)
    await harness.load()
    await harness.run(3)
    damage(path)
    with harness.controller.feed.subscribe() as events:
        await harness.run(30)
        heard = await anext(events)
    status = harness.views.status(harness.now)
    assert isinstance(heard, StatusChange) and said in heard.detail
    assert (harness.rollout.step, harness.weights, status.store_ok) == (0, {"v2": 9500, "v3": 500}, False)
    assert status.store_error.endswith(f"{said} while the proxy ran; restart it")
    with pytest.raises(Refused, match=said):
        await harness.controller.command("churn", Verb.PROMOTE, "api:kim", harness.now)
    view = await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    assert (view.phase, harness.weights) == ("aborted", {"v2": 10_000})
    assert view.not_durable.startswith("in force, not durable yet")


async def test_an_aborted_challenger_stays_aborted_when_the_state_was_deleted(store, path):
    """Also if it was aborted before, and the process is killed. The new journal says how it began, and is replayed."""
    harness = Harness(store)
    await harness.load()
    await harness.run(3)
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now, "wrong answers")
    delete(path)
    await harness.run(2)
    await harness.controller.command("churn", Verb.RETRY, "api:kim", harness.now)
    await harness.run(2)
    assert harness.weights == {"v2": 10_000}
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now, "wrong answers")
    again = Harness(Store.open(f"sqlite:{path}"))
    again.now = harness.now
    await again.load()
    assert (again.rollout.phase, again.weights) == ("aborted", {"v2": 10_000})
    assert [(d.id, d.action) for d in await again.decisions()] == [(1, "restore"), (2, "retry"), (3, "abort")]
    assert "state.db was deleted while the proxy ran" in (await again.decisions())[0].reason
    await again.controller.command("churn", Verb.RETRY, "api:kim", again.now)
    await again.run(14)
    assert again.rollout.step == 1
    assert replayed(journal(again.store)).differences == []


async def test_a_rollout_goes_on_at_its_step_when_the_state_was_deleted(store, path):
    harness = Harness(store)
    await harness.load()
    await harness.run(14)
    assert harness.rollout.step == 1
    delete(path)
    await harness.run(2)
    again = Harness(Store.open(f"sqlite:{path}"))
    again.now = harness.now
    await again.load()
    assert (again.rollout.step, again.route.ledger) == (1, harness.route.ledger)
    await again.run(15)
    assert again.rollout.phase == "promoted"
    assert replayed(journal(again.store)).differences == []


MOVING = """
  - name: moving
    match: {path: /moving}
    split: {v2: 50%, v4: 50%}
"""


async def started_again(harness: Harness, path: Path, yaml: str) -> Harness:
    again = Harness(Store.open(f"sqlite:{path}"))
    again.now = harness.now
    await again.load(yaml)
    return again


async def test_a_route_out_of_the_file_is_restored_as_one_and_comes_back(store, path):
    """Found by a soak: the database was away for a while, just when the route was out of the file."""
    harness = Harness(store)
    await harness.load(CANARY + MOVING)
    await harness.load(CANARY)
    away = path.with_suffix(".away")
    path.rename(away)
    await harness.run(2)
    away.rename(path)
    again = await started_again(harness, path, CANARY)
    restored = [(d.route, d.to) for d in await again.decisions("moving") if d.action == "restore"]
    assert restored == [("moving", {})]
    await again.load(CANARY + MOVING)
    assert again.views.route("moving").split == {"v2": 0.5, "v4": 0.5}
    assert replayed(journal(again.store)).differences == []


@pytest.mark.parametrize("later", [HEADING, with_rollouts(rollout_entry("v3", "5%", "30%"))])
async def test_what_a_backup_says_of_other_rollouts_is_over_when_the_state_is_restored(store, path, later):
    """The journal of the backup goes on with the state in force, in which these rollouts had ended."""
    harness = Harness(store)
    await harness.load(BOTH)
    await harness.run(4)
    store.connection.execute(f"VACUUM INTO '{path}.backup'")
    await harness.load(later)
    delete(path)
    os.rename(f"{path}.backup", path)
    await harness.run(2)
    again = await started_again(harness, path, later)
    await again.load(BOTH)
    await again.run(4)
    assert [rollout.phase for rollout in again.views.rollouts(again.now)] == ["progressing"] * 2
    assert replayed(journal(again.store)).differences == []


async def test_a_journal_that_another_program_wrote_is_noticed(store, path):
    harness = Harness(store)
    await harness.load()
    with closing(Store.open(f"sqlite:{path}")) as other:
        other.connection.execute(
            "INSERT INTO decisions SELECT 9, at, route, hash, record FROM decisions WHERE id = 1"
        )
    await harness.run(3)
    assert "its journal ends at decision 9, not at 1" in harness.views.status(harness.now).store_error
    assert harness.weights == {"v2": 10_000}


def test_a_database_that_cannot_be_looked_at_is_an_error(tmp_path, monkeypatch, store):
    def refuse(self: StateFiles) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(StateFiles, "look", refuse)
    with pytest.raises(StoreError, match="cannot be looked at: Permission denied"):
        store.look()
    assert not isinstance(StoreError("x"), StoreLostError)


async def test_the_files_are_looked_at_once_a_second_and_not_with_each_tick(store, monkeypatch):
    at = Harness(store)
    await at.load(HEADING)
    await at.tick()  # it saves the clock
    looks = []
    look = store.look

    def noted() -> None:
        looks.append(at.now)
        look()

    monkeypatch.setattr(store, "look", noted)
    for _ in range(40):
        await at.tick(seconds=0.25)
    assert [later - earlier for earlier, later in pairwise(looks)] == [1.0] * 9
