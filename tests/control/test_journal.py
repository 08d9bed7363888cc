"""Owed decisions are written in order; `write_first` decides nothing that cannot be written."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from crossfade.control import journal as journal_module
from crossfade.control.applied import Applied
from crossfade.control.chain import first_broken
from crossfade.control.journal import Journal
from crossfade.control.journal_entry import Entry
from crossfade.control.route_record import RouteRecord
from crossfade.control.served_clock import ServedClock
from crossfade.control.store import Store
from crossfade.control.views import Decision
from crossfade.routing.ledger import new_ledger, salt_of

from .gated_store import gated_store

CLOCK = ServedClock(1.0, 1.0)


@pytest.fixture
def store(tmp_path):
    with gated_store(tmp_path) as made:
        yield made


def entry(action: str, route: str = "r", gone: bool = False) -> Entry:
    draft = Decision(0, 1.0, route, action, "loop", {}, {}, "", {}, 1, "", "", "")
    return Entry(
        draft, None if gone else RouteRecord(route, new_ledger({"v2": 10_000}, salt_of(route)), Applied({}))
    )


def write_later(journal: Journal, *entries: Entry) -> list[Decision]:
    """The decisions that are numbered at once."""
    told: list[Decision] = []
    journal.write(entries, told.extend)
    return told


async def actions(journal: Journal, route: str | None = None) -> list[str]:
    page = await journal.page(route, 0, 10)
    return [msgspec.json.decode(record.text)["action"] for record in page]


def on_disk(store: Store) -> list[str]:
    return [d.action for d in store.decisions(None, 0, 10)]


async def test_decisions_are_numbered_chained_and_counted(store):
    journal = Journal(store)
    assert [d.id for d in await journal.write_first([entry("start"), entry("start", "q")]) or []] == [1, 2]
    assert [d.id for d in write_later(journal, entry("abort"))] == [3]
    await journal.idle()
    assert await actions(journal) == on_disk(store) == ["start", "start", "abort"]
    assert first_broken(store.rows(0, 10)) is None
    assert journal.decided == {("r", "start"): 1, ("q", "start"): 1, ("r", "abort"): 1}
    assert write_later(Journal(store), entry("retry"))[0].id == 4


async def test_write_first_decides_nothing_when_the_write_fails(store):
    journal = Journal(store)
    store.broken = True
    assert await journal.write_first([entry("advance")]) is None
    assert (journal.ok, journal.error) == (False, "disk full")
    assert await actions(journal) == []
    assert not journal.decided
    store.broken = False
    assert [d.id for d in await journal.write_first([entry("advance")]) or []] == [1]
    assert journal.ok


async def test_owed_decisions_are_readable_at_once_and_written_first(store):
    journal = Journal(store)
    store.broken = True
    write_later(journal, entry("abort"))
    write_later(journal, entry("remove", "q", gone=True))
    assert await journal.write_first([entry("advance")]) is None
    assert await actions(journal) == ["abort", "remove"]
    assert await actions(journal, "q") == ["remove"]
    assert [record.id for record in await journal.page(None, None, 1)] == [journal.number]
    last = await journal.last("r")
    assert last is not None
    assert last.action == "abort"
    assert on_disk(store) == []
    store.broken = False
    await journal.write_first([entry("retry")])
    assert on_disk(store) == ["abort", "remove", "retry"]
    assert first_broken(store.rows(0, 10)) is None


async def test_saving_evidence_writes_owed_decisions_and_finds_that_the_store_works(store):
    journal = Journal(store)

    async def save() -> None:
        journal.save_evidence({}, CLOCK)
        await journal.idle()

    store.broken = True
    await save()
    assert (journal.ok, journal.error) == (False, "disk full")
    write_later(journal, entry("abort"))
    await journal.idle()
    store.broken = False
    await save()
    assert journal.ok
    assert on_disk(store) == ["abort"]
    store.broken = True
    await save()
    store.broken = False
    await save()
    assert journal.ok


async def test_a_decision_behind_one_that_fails_takes_its_number(store):
    """While a decision that must be on disk first is being written, those behind it have no number yet."""
    journal = Journal(store)
    await journal.write_first([entry("start")])
    store.gate.clear()
    store.broken = True
    first = asyncio.create_task(journal.write_first([entry("advance")]))
    await store.reach_gate()
    told: list[Decision] = []
    journal.write([entry("abort", "q")], told.extend)
    assert told == []
    assert await actions(journal) == ["start"]
    store.gate.set()
    assert await first is None
    assert [(d.id, d.action) for d in told] == [(2, "abort")]
    store.broken = False
    assert [d.id for d in await journal.write_first([entry("advance")]) or []] == [3]
    assert on_disk(store) == ["start", "abort", "advance"]
    assert first_broken(store.rows(0, 10)) is None


async def test_what_is_given_up_before_its_write_began_is_not_written(store, monkeypatch):
    monkeypatch.setattr(journal_module, "GIVE_UP_AFTER", 0.05)
    journal = Journal(store)
    store.gate.clear()
    for _ in range(3):
        assert await journal.write_first([entry("advance")], [entry("undo")]) is None
    store.gate.set()
    await journal.idle()
    assert on_disk(store) == ["advance", "undo"]
    monkeypatch.setattr(journal_module, "GIVE_UP_AFTER", 30.0)
    assert [d.id for d in await journal.write_first([entry("advance")], [entry("undo")]) or []] == [3]
    assert first_broken(store.rows(0, 10)) is None


async def test_a_decision_is_read_once_while_it_is_being_written(store):
    """Reads do not wait for the disk, and no decision is read twice."""
    journal = Journal(store)
    store.gate.clear()
    write_later(journal, entry("start"), entry("begin"))
    await store.reach_gate()
    assert await actions(journal) == ["start", "begin"]
    assert on_disk(store) == []
    store.gate.set()
    await journal.idle()
    assert await actions(journal) == ["start", "begin"]


async def test_evidence_is_not_saved_again_while_a_save_is_being_written(store):
    journal = Journal(store)
    store.gate.clear()
    journal.save_evidence({}, CLOCK)
    await store.reach_gate()
    journal.save_evidence({}, CLOCK)
    store.gate.set()
    await journal.idle()
    assert store.writes == 1


async def test_close_writes_owed_decisions(store, caplog):
    journal = Journal(store)
    store.broken = True
    write_later(journal, entry("abort"))
    await journal.idle()
    assert on_disk(store) == []
    store.broken = False
    await journal.close({}, CLOCK)
    assert on_disk(store) == ["abort"]
    assert not caplog.records


async def test_close_logs_the_decisions_that_a_full_disk_loses(store, caplog, tmp_path):
    journal = Journal(store)
    store.broken = True
    (tmp_path / "state.db.spool").mkdir()
    write_later(journal, entry("abort"))
    await journal.close({}, CLOCK)
    assert on_disk(store) == []
    assert caplog.records[-1].getMessage() == "1 decisions lost, the state cannot be written: disk full"


async def test_a_journal_that_was_changed_is_reported_at_the_start(store, caplog):
    journal = Journal(store)
    write_later(journal, entry("start"), entry("begin"), entry("abort"))
    await journal.idle()
    Journal(store)
    assert not caplog.records
    store.connection.execute("UPDATE decisions SET record = replace(record, 'begin', 'pause') WHERE id = 2")
    Journal(store)
    assert [r.getMessage() for r in caplog.records] == [
        "journal hash chain broken at decision 2 (tampered or corrupt)"
    ]
