"""What could not be written is owed, in order; what must be written first is otherwise not decided."""

from __future__ import annotations

from contextlib import closing

import pytest

from crossfade.control.chain import first_broken
from crossfade.control.journal import Entry, Journal
from crossfade.control.store import RouteRecord, Store, StoreError
from crossfade.control.views import Decision
from crossfade.routing.ledger import new_ledger, salt_of


class Failing(Store):
    """Raises at each write while `broken`."""

    broken = False

    def commit(self, *args) -> None:
        if self.broken:
            raise StoreError("disk full")
        super().commit(*args)

    def save_evidence(self, *args) -> None:
        if self.broken:
            raise StoreError("disk full")
        super().save_evidence(*args)


@pytest.fixture
def store():
    with closing(Failing.open("sqlite::memory:")) as made:
        assert isinstance(made, Failing)
        yield made


def entry(action: str, route: str = "r", gone: bool = False) -> Entry:
    draft = Decision(0, 1.0, route, action, "loop", {}, {}, "", {}, 1, "", "", "")
    return Entry(draft, None if gone else RouteRecord(route, new_ledger({"v2": 10_000}, salt_of(route)), {}))


def test_writing_numbers_chains_and_counts(store):
    journal = Journal(store)
    assert [d.id for d in journal.write_first([entry("start"), entry("start", "q")]) or []] == [1, 2]
    journal.write([entry("abort")])
    assert [d.action for d in journal.decisions(None, 0, 10)] == ["start", "start", "abort"]
    assert first_broken(store.rows(0, 10)) is None
    assert journal.decided == {("r", "start"): 1, ("q", "start"): 1, ("r", "abort"): 1}
    assert Journal(store).write([entry("retry")])[0].id == 4


def test_what_must_be_on_disk_first_and_cannot_be_is_not_decided(store):
    journal = Journal(store)
    store.broken = True
    assert journal.write_first([entry("advance")]) is None
    assert (journal.ok, journal.error) == (False, "disk full")
    assert journal.decisions(None, 0, 10) == []
    store.broken = False
    assert [d.id for d in journal.write_first([entry("advance")]) or []] == [1]
    assert journal.ok


def test_what_is_owed_is_seen_at_once_and_written_before_anything_else(store):
    journal = Journal(store)
    store.broken = True
    journal.write([entry("abort")])
    journal.write([entry("remove", "q", gone=True)])
    assert journal.write_first([entry("advance")]) is None
    assert [d.action for d in journal.decisions(None, 0, 10)] == ["abort", "remove"]
    assert [d.action for d in journal.decisions("q", 0, 10)] == ["remove"]
    last = journal.last("r")
    assert last is not None
    assert last.action == "abort"
    assert store.decisions(None, 0, 10) == []
    store.broken = False
    journal.write_first([entry("retry")])
    assert [d.action for d in store.decisions(None, 0, 10)] == ["abort", "remove", "retry"]
    assert first_broken(store.rows(0, 10)) is None


def test_saving_evidence_pays_what_is_owed_and_finds_the_store_well_again(store):
    journal = Journal(store)
    store.broken = True
    journal.save_evidence({})
    assert (journal.ok, journal.error) == (False, "disk full")
    journal.write([entry("abort")])
    store.broken = False
    journal.save_evidence({})
    assert journal.ok
    assert [d.action for d in store.decisions(None, 0, 10)] == ["abort"]
    store.broken = True
    journal.save_evidence({})
    store.broken = False
    journal.save_evidence({})
    assert journal.ok


def test_a_journal_changed_by_another_hand_is_told_at_the_start(store, caplog):
    Journal(store).write([entry("start"), entry("begin"), entry("abort")])
    Journal(store)
    assert not caplog.records
    store.connection.execute("UPDATE decisions SET record = replace(record, 'begin', 'pause') WHERE id = 2")
    Journal(store)
    assert [r.getMessage() for r in caplog.records] == [
        "journal hash chain broken at decision 2 (tampered or corrupt)"
    ]
