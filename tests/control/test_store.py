"""The store: transactions, reading back, and the errors for files that it cannot use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from crossfade.control.applied import Applied
from crossfade.control.chain import GENESIS, first_broken, seal
from crossfade.control.database import StoreError, keep_copy
from crossfade.control.route_record import RouteRecord
from crossfade.control.served_clock import ServedClock
from crossfade.control.store import Store, batch_of, clock_row, evidence_rows
from crossfade.control.views import Decision
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.machine import RolloutState, Step
from crossfade.routing.ledger import new_ledger, reweigh, salt_of
from crossfade.stats.counts import Cell
from crossfade.workers.ending import TICK

SALT = salt_of("r")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def decision(number: int, previous: str, route: str = "r") -> Decision:
    draft = Decision(0, 5.0, route, "advance", "loop", {}, {}, "because", {"n": 3}, 2, "cfg", "", "")
    return seal(draft, number, previous)


def record(version: int = 1) -> RouteRecord:
    home = new_ledger({"v2": 10_000}, SALT)
    ledger = reweigh(home, {"v2": 9000, "v3": 1000}, SALT)
    rollout = RolloutState("r", "canary", "v2", "v3", "i", (Step(1000, 5.0),), 0.0, 1.0, 2.0, 3.0, begun=True)
    return RouteRecord("r", ledger, Applied({"v2": 10_000}), home, {"v3": rollout}, {"abc": "it was sick"})


def evidence() -> Evidence:
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.1)
    cell = Cell("r", "v3", "challenger", 2, requests=3, errors=1, codes={200: 2, 500: 1})
    cell.duration.add(0.1)
    made.strata[0].challenger.merge(cell)
    return made


def test_a_commit_is_read_back_after_a_restart(path):
    with closing(Store.open(f"sqlite:{path}")) as store:
        assert (store.head(), store.records()) == ((0, GENESIS), {})
        first = decision(1, GENESIS)
        store.commit(batch_of([first], [(record(), {"v3": evidence()})]))
    with closing(Store.open(f"sqlite:{path}")) as store:
        assert store.records() == {"r": (record(), {"v3": evidence()})}
        assert store.head() == (1, first.hash)
        assert store.decisions(None, 0, 10) == [first]


def test_a_route_without_a_rollout_is_stored_and_removed(path):
    plain = RouteRecord("q", new_ledger({"v2": 5000, "v3": 5000}, SALT), Applied({"v2": 5000, "v3": 5000}))
    with closing(Store.open(f"sqlite:{path}")) as store:
        store.commit(batch_of([], [(plain, {}), (record(), {})]))
        assert store.records()["q"] == (plain, {})
        store.commit(batch_of([], [], ["q"]))
        assert list(store.records()) == ["r"]


def test_decisions_are_read_in_order_by_route_and_by_page(path):
    with closing(Store.open(f"sqlite:{path}")) as store:
        previous = GENESIS
        for number in range(1, 8):
            made = decision(number, previous, "r" if number % 2 else "q")
            store.commit(batch_of([made], []))
            previous = made.hash
        assert [d.id for d in store.decisions(None, 2, 3)] == [3, 4, 5]
        assert [d.id for d in store.decisions("q", 0, 100)] == [2, 4, 6]
        last = store.last("q")
        assert last is not None
        assert last.id == 6
        assert store.last("none") is None
        assert first_broken(store.rows(0, 100)) is None


def test_a_commit_that_fails_writes_nothing(path):
    with closing(Store.open(f"sqlite:{path}")) as store:
        first = decision(1, GENESIS)
        store.commit(batch_of([first], []))
        with pytest.raises(StoreError, match="cannot write"):
            store.commit(batch_of([decision(2, first.hash), first], [(record(), {})]))  # id 1 is taken
        assert store.head() == (1, first.hash)
        assert store.records() == {}


def test_evidence_is_saved_without_a_sync(path):
    with closing(Store.open(f"sqlite:{path}")) as store:
        said: list[str] = []
        store.commit(batch_of([], [(record(), {})]))
        store.connection.set_trace_callback(said.append)
        store.save_evidence(evidence_rows({"r": {"v3": evidence()}}), clock_row(ServedClock(7.0, 8.0)))
        assert said[0] == "PRAGMA synchronous = NORMAL"
        assert said[-1] == "PRAGMA synchronous = FULL"
        assert store.connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store.records()["r"][1] == {"v3": evidence()}
        assert store.clock() == ServedClock(7.0, 8.0)


def test_the_wait_for_a_database_lock_is_shorter_than_a_tick(path):
    """A reader's lock is brief, so it is waited for; but never for as long as the health loop's next turn."""
    with closing(Store.open(f"sqlite:{path}")) as store:
        (waited,) = store.connection.execute("PRAGMA busy_timeout").fetchone()
        assert 100 <= waited < TICK * 1000


def test_a_write_that_a_database_lock_refuses_can_be_repeated(path):
    with closing(Store.open(f"sqlite:{path}")) as store:
        store.connection.execute("PRAGMA busy_timeout = 0")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="cannot write: database is locked"):
                store.commit(batch_of([decision(1, GENESIS)], [(record(), {})]))
            with pytest.raises(StoreError, match="cannot write: database is locked"):
                store.save_evidence(evidence_rows({"r": {}}), clock_row(ServedClock()))
            other.execute("ROLLBACK")
        assert store.head() == (0, GENESIS)
        store.commit(batch_of([decision(1, GENESIS)], [(record(), {})]))
        assert store.head()[0] == 1
        assert store.connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_each_state_in_memory_is_its_own():
    with closing(Store.open("sqlite::memory:")) as one, closing(Store.open("sqlite::memory:")) as two:
        one.commit(batch_of([decision(1, GENESIS)], []))
        assert (one.head()[0], two.head()[0]) == (1, 0)


@pytest.mark.parametrize("state", ["redis://localhost", "sqlite:", "postgres:x"])
def test_other_kinds_of_state_are_refused_with_their_name(state):
    with pytest.raises(StoreError, match="sqlite:PATH only"):
        Store.open(state)


def test_a_file_that_is_no_database_is_refused_and_unchanged(path):
    path.write_bytes(b"this is a text file, too long to be taken for an empty database" * 20)
    with pytest.raises(StoreError, match="cannot be used as the state: file is not a database"):
        Store.open(f"sqlite:{path}")
    assert path.read_bytes().startswith(b"this is a text file")


def test_a_database_of_another_program_is_refused_and_unchanged(path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE other (item TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is a database of another program"):
        Store.open(f"sqlite:{path}")
    assert path.read_bytes() == before


def test_a_corrupt_database_is_refused(path):
    with closing(Store.open(f"sqlite:{path}")) as store:
        for number in range(1, 200):
            store.commit(batch_of([decision(number, GENESIS)], []))
    with path.open("r+b") as file:
        file.seek(4096 + 100)
        file.write(b"\xff" * 4096 * 3)
    with pytest.raises(StoreError, match=r"corrupt|malformed"):
        Store.open(f"sqlite:{path}")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE route_state SET slots = x'00'",
        "UPDATE route_state SET slots = zeroblob(9999)",
        "UPDATE route_state SET backends = '[]'",
        "UPDATE route_state SET rollouts = '{\"v3\": {}}'",
        "UPDATE route_state SET evidence = x'c1'",
    ],
)
def test_a_damaged_row_is_an_error(path, damage):
    with closing(Store.open(f"sqlite:{path}")) as store:
        store.commit(batch_of([], [(record(), {"v3": evidence()})]))
        store.connection.execute(damage)
        with pytest.raises(StoreError, match="cannot read the routes' state"):
            store.records()


def test_a_missing_directory_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="cannot be used as the state: unable to open database file"):
        Store.open(f"sqlite:{tmp_path}/none/state.db")


def modes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


@pytest.mark.parametrize("before", [False, True])
def test_the_files_of_the_state_are_for_their_owner_only(tmp_path, path, before):
    mask = os.umask(0o022)
    try:
        if before:
            path.touch(0o664)
        with closing(Store.open(f"sqlite:{path}")) as store:
            store.commit(batch_of([decision(1, GENESIS)], []))
            assert modes(tmp_path) == dict.fromkeys(["state.db", "state.db-shm", "state.db-wal"], 0o600)
            keep_copy(store.connection, f"{path}.copy")
        assert modes(tmp_path) == {"state.db": 0o600, "state.db.copy": 0o600}
    finally:
        os.umask(mask)


def test_the_secret_of_cookies_is_made_once_and_kept(path, tmp_path):
    with closing(Store.open(f"sqlite:{path}")) as store:
        made = store.cookie_secret
        assert len(made) == 64
    with closing(Store.open(f"sqlite:{path}")) as store:
        assert store.cookie_secret == made
    with closing(Store.open(f"sqlite:{tmp_path}/other.db")) as store:
        assert store.cookie_secret not in (made, "")
    with closing(Store.open("sqlite::memory:")) as store:
        assert len(store.cookie_secret) == 64
