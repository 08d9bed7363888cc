"""State files of earlier formats: each is read, upgraded without a loss, and replayed; or refused, and left as it is."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crossfade.control import migrations
from crossfade.control.chain import Row, first_broken, hash_of
from crossfade.control.database import StoreError
from crossfade.control.migrations import FORMAT, OLDEST
from crossfade.control.replay import RULES, journal, replayed
from crossfade.control.store import Store
from crossfade.control.views import Verb
from crossfade.rollout.evidence import Evidence

from .harness import NOW, Harness
from .make_golden import EDITED, GOLDEN, HEAD, Traffic

DECISIONS = {3: 33, 4: 33, 5: 35, 6: 35, 7: 35}  # edits of a plan are decisions since format 5
FORMATS = range(OLDEST, FORMAT + 1)
EARLIER = [number for number in FORMATS if number < FORMAT]

MISSING = (
    """there is no golden state file of format {}: run `python -m tests.control.make_golden` and commit it"""
)

CHANGED = """
This version decides otherwise than the code that wrote the golden file of format {}, or says it in other words:
  {}
A golden file of the current format that no release has written yet may be made again (python -m tests.control.make_golden).
Otherwise raise FORMAT, and add a migration if a name has changed."""


def golden(number: int) -> Path:
    path = GOLDEN / f"state-{number}.db"
    assert path.is_file(), MISSING.format(number)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture(params=FORMATS)
def number(request: pytest.FixtureRequest, path: Path) -> int:
    """A format; its golden file is at `path`."""
    shutil.copy(golden(request.param), path)
    return int(request.param)


@pytest.fixture(params=EARLIER)
def earlier(request: pytest.FixtureRequest, path: Path) -> int:
    shutil.copy(golden(request.param), path)
    return int(request.param)


def tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The rows that every format has had so far."""
    with closing(sqlite3.connect(path)) as connection:
        wanted = ("decisions", "route_state")
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in wanted}


def format_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def schema_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")
        return [" ".join(sql.split()) for (sql,) in rows]


def requests_in_step(evidence: Evidence, step: int) -> int:
    return sum(stratum.challenger.requests for stratum in evidence.of_step(step))


def test_the_journal_of_every_format_is_replayed_without_a_difference(number, path):
    with closing(Store.read(str(path))) as store:
        report = replayed(journal(store))
        assert not report.differences, CHANGED.format(number, "\n  ".join(map(str, report.differences)))
        assert (report.decisions, report.replayed) == (DECISIONS[number], 26 if number >= RULES else 0)
        assert report.earlier == (0 if number == FORMAT else DECISIONS[number])
        assert first_broken(journal(store)) is None


PHASES = {
    ("churn", "v3"): ("progressing", 1, 2),
    ("fraud", "v3"): ("aborted", 1, 1),
    ("price", "v3"): ("rolled_back", 1, 1),
    ("price", "v4"): ("paused", 0, 2),
    ("rank", "v4"): ("promoted", 1, 1),
}


def test_an_upgrade_changes_no_map_no_phase_no_evidence_and_no_record(number, path):
    before = tables(path)
    with closing(Store.read(str(path))) as store:
        seen = store.records()
    with closing(Store.open(f"sqlite:{path}")) as store:
        found = store.records()
    assert found == seen
    assert format_in(path) == FORMAT
    assert tables(path)["decisions"] == before["decisions"]
    slots = {name: slots for name, _, _, slots, *_ in before["route_state"]}
    assert {name: record.ledger.slots for name, (record, _) in found.items()} == slots
    assert {
        (name, challenger): (state.phase, state.step, state.attempt)
        for name, (record, _) in found.items()
        for challenger, state in record.rollouts.items()
    } == PHASES
    assert [len(record.latched) for record, _ in found.values()] == [0, 1, 0, 1, 0]
    assert sum(s.challenger.requests for s in found["churn"][1]["v3"].strata) > 1000
    assert found["churn"][0].ledger.weights == {"v2": 5000, "v3": 5000}
    assert found["plain"][0].ledger.weights == {"v2": 7500, "v4": 2500}


async def test_an_upgraded_state_goes_on_where_it_was(number, path):
    """The same maps are published, aborted challengers stay aborted, and the rollouts in progress end."""
    slots = {name: slots for name, _, _, slots, *_ in tables(path)["route_state"]}
    with closing(Store.open(f"sqlite:{path}")) as store:
        harness = Harness(store)
        harness.now = NOW + 1000
        await harness.load(EDITED, HEAD)
        assert {r.name: r.ledger.slots for r in harness.seam.published[-1].routes} == slots
        new = (await harness.decisions())[DECISIONS[number] :]  # nothing had to be decided anew
        assert [d.reason for d in new] == ["retry.pure: no → yes; nobody moves"] * (number == 5)
        before = requests_in_step(store.records()["churn"][1]["v3"], 1)
        traffic = Traffic(harness)
        await traffic.ticks(1)
        evidence = harness.controller.state.routes["churn"].rollouts["v3"].evidence
        assert requests_in_step(evidence, 1) == before + 500 > 4000
        await traffic.ticks(30)
        phases = {(r.route, r.challenger): r.phase for r in harness.views.rollouts(harness.now)}
        assert phases == {
            ("churn", "v3"): "promoted",
            ("fraud", "v3"): "aborted",
            ("price", "v3"): "rolled_back",
            ("price", "v4"): "paused",
            ("rank", "v4"): "promoted",
        }
        await traffic.command("fraud", Verb.RETRY)
        await traffic.ticks(2)
        report = replayed(journal(store))
        assert (report.differences, report.decisions > 35) == ([], True)
        assert report.earlier == (0 if number == FORMAT else DECISIONS[number])
        assert first_broken(journal(store)) is None  # one chain through records of both formats


def test_an_upgraded_file_has_the_tables_of_a_new_one(number, path, tmp_path):
    Store.open(f"sqlite:{path}").close()
    Store.open(f"sqlite:{tmp_path}/new.db").close()
    assert schema_in(path) == schema_in(tmp_path / "new.db")


def test_an_upgrade_keeps_the_file_of_before_and_says_so(earlier, path, caplog):
    before = tables(path)
    Store.open(f"sqlite:{path}").close()
    kept = Path(f"{path}.format-{earlier}")
    assert (format_in(kept), tables(kept)) == (earlier, before)
    said = f"{path}: upgraded from format {earlier} to {FORMAT}; the file before is {kept}"
    assert said in [r.getMessage() for r in caplog.records]
    caplog.clear()
    Store.open(f"sqlite:{path}").close()
    assert not caplog.records
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, kept.name]


def test_reading_changes_nothing(number, path):
    before = path.read_bytes()
    with closing(Store.read(str(path))) as store:
        assert len(store.decisions(None, 0, 100)) == DECISIONS[number]
        assert len(store.records()) == 5
    assert path.read_bytes() == before
    assert not Path(f"{path}.format-{number}").exists()


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk full"), KeyError("home"), ValueError("v")])
def test_an_upgrade_that_fails_changes_nothing(earlier, path, monkeypatch, error):
    before = tables(path), schema_in(path)

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half_way (x)")
        connection.execute("DELETE FROM route_state")
        raise error

    monkeypatch.setitem(migrations.TABLES, FORMAT - 1, fail)
    message = f"{path}: the upgrade from format {earlier} to {FORMAT} failed, nothing is changed"
    with pytest.raises(StoreError, match=message):
        Store.open(f"sqlite:{path}")
    with pytest.raises(StoreError, match=message):
        Store.read(str(path))
    assert (tables(path), schema_in(path), format_in(path)) == (*before, earlier)
    monkeypatch.undo()
    Store.open(f"sqlite:{path}").close()  # the lock was released
    assert format_in(path) == FORMAT


def test_an_upgrade_without_room_for_the_copy_does_not_begin(earlier, path):
    before = tables(path)
    Path(f"{path}.format-{earlier}.new").mkdir()
    with pytest.raises(StoreError, match="cannot keep a copy of the state before its upgrade"):
        Store.open(f"sqlite:{path}")
    assert (tables(path), format_in(path)) == (before, earlier)


def test_two_at_once_upgrade_once(earlier, path, monkeypatch):
    """The lock on the state keeps them apart; so does the transaction, should a file have two locks."""
    steps: list[int] = []
    began = threading.Barrier(2)
    step = migrations.TABLES[FORMAT - 1]

    def counted(connection: sqlite3.Connection) -> None:
        steps.append(1)
        step(connection)

    monkeypatch.setitem(migrations.TABLES, FORMAT - 1, counted)

    def upgrade() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            began.wait()
            migrations.migrate(connection)

    threads = [threading.Thread(target=upgrade) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (steps, format_in(path)) == ([1], FORMAT)


def test_a_newer_format_is_refused_by_name_and_left_as_it_is(path):
    with closing(Store.open(f"sqlite:{path}")) as store:
        store.connection.execute(f"PRAGMA user_version = {FORMAT + 5}")
        store.connection.execute("UPDATE meta SET value = '9.1.0' WHERE name = 'version'")
    before = path.read_bytes()
    message = (
        rf"{path}: has format {FORMAT + 5}, written by crossfade 9\.1\.0; "
        rf"this version, {migrations.VERSION}, reads formats {OLDEST} to {FORMAT}"
    )
    with pytest.raises(StoreError, match=message):
        Store.open(f"sqlite:{path}")
    with pytest.raises(StoreError, match=message):
        Store.read(str(path))
    assert path.read_bytes() == before


def test_a_format_that_was_never_in_use_is_refused(path):
    Store.open(f"sqlite:{path}").close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")
        connection.execute("DROP TABLE meta")
    with pytest.raises(StoreError, match="has format 1, written by crossfade of an unknown version"):
        Store.open(f"sqlite:{path}")


def test_the_file_names_the_version_that_wrote_it_last(path):
    with closing(Store.open(f"sqlite:{path}")) as store:
        store.connection.execute("UPDATE meta SET value = '0.0.1' WHERE name = 'version'")
    with closing(Store.open(f"sqlite:{path}")) as store:
        found = store.connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchall()
        assert found == [(migrations.VERSION,)]


# ── records ───────────────────────────────────────────────────────────────────────────────────────


def rows() -> Iterator[Row]:
    with closing(Store.read(str(golden(OLDEST)))) as store:
        yield from journal(store)


def test_a_record_of_a_newer_format_is_named():
    first, second, *_ = rows()
    later = Row(second.id, json.dumps(json.loads(second.text) | {"format": FORMAT + 1}))
    (found, *_) = replayed([first, later]).differences
    assert (found.id, found.what) == (2, "record")
    assert f"a record of format {FORMAT + 1}" in str(found)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "x"}', '{"format": {}}', '{"evidence": {"given": 1}}']
)
def test_what_is_no_record_is_named(text):
    first, *_ = rows()
    broken = Row(2, text)
    assert ("record", 2) in [(d.what, d.id) for d in replayed([first, broken]).differences]
    assert first_broken([first, broken]) == 2


@pytest.mark.parametrize(
    ("checks", "what"), [([{"metric": "error_rate"}], "without a bound"), ([{"max": 1.0}], "metric"), (3, "")]
)
def test_a_check_of_format_3_that_is_none_is_named(checks, what):
    *_, last = rows()
    record = json.loads(last.text)
    record["evidence"]["given"]["plan"]["checks"] = checks
    (found,) = replayed([Row(last.id, json.dumps(record))]).differences
    assert found.what == "record"
    assert what in found.today


def test_a_record_keeps_the_names_that_were_hashed_though_the_code_forgets_them():
    """A field that no version knows any more is still under the hash."""
    (first, *_) = rows()
    record = json.loads(first.text) | {"once": "known"}
    assert first_broken([Row(1, json.dumps(record))]) == 1
    record["hash"] = hash_of(record)
    assert first_broken([Row(1, json.dumps(record))]) is None
