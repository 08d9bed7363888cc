"""Pages of the journal: the records as they are stored, in order and without gaps, within a limit in bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossfade.control import pages
from crossfade.control.database import StoreError
from crossfade.control.journal import Journal
from crossfade.control.pages import read_page
from crossfade.control.store import Store

ODD = '{ "id": %d,  "reason": "as it was written" , "pad": "%s" }'


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Twenty records of odd spelling, which a decoder would not give again; each third is of route q."""
    made = Store.open(f"sqlite:{tmp_path}/state.db")
    rows = [(n, 1.0, "q" if n % 3 == 0 else "r", "h", ODD % (n, "x" * 1000)) for n in range(1, 21)]
    with made.connection:
        made.connection.executemany("INSERT INTO decisions VALUES (?, ?, ?, ?, ?)", rows)
    yield made
    made.close()


def ids(store: Store, route: str | None, after: int | None, limit: int = 100) -> tuple[list[int], bool]:
    page = read_page(store.reader, route, after, limit)
    return [record.id for record in page.records], page.is_cut


def test_records_are_passed_on_as_they_are_stored(store: Store) -> None:
    (record,) = read_page(store.reader, None, 0, 1).records
    assert record.text.decode() == ODD % (1, "x" * 1000)


def test_a_page_is_the_first_after_an_id_or_the_last_of_all(store: Store) -> None:
    assert ids(store, None, 17) == ([18, 19, 20], False)
    assert ids(store, None, 0, 2) == ([1, 2], False)
    assert ids(store, None, None, 3) == ([18, 19, 20], False)
    assert ids(store, "q", None, 2) == ([15, 18], False)
    assert ids(store, "q", 4) == ([6, 9, 12, 15, 18], False)
    assert ids(store, None, 20) == ids(store, "none", None) == ([], False)


def test_a_page_has_a_limit_in_bytes_and_at_least_one_record(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 3500)
    assert ids(store, None, 0) == ([1, 2, 3], True)
    assert ids(store, None, None) == ([18, 19, 20], True)
    monkeypatch.setattr(pages, "PAGE_BYTES", 10)
    assert ids(store, None, 7) == ([8], True)
    assert ids(store, None, None) == ([20], True)


class Owing(Journal):
    """With decisions that are not on disk yet."""

    def __init__(self, store: Store, *owed: int) -> None:
        self.store = store
        self.owed_ids = owed

    def _owed(self, route: str | None) -> list[Any]:
        return [Owed(n) for n in self.owed_ids]


class Owed(dict[str, int]):
    def __init__(self, number: int) -> None:
        super().__init__(id=number)
        self.id = number


async def test_decisions_that_are_owed_follow_and_a_cut_page_leaves_no_gap(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Owing(store, 20, 21, 22)

    async def asked(after: int | None, limit: int) -> list[int]:
        return [json.loads(record.text)["id"] for record in await journal.page(None, after, limit)]

    assert await asked(18, 10) == [19, 20, 21, 22]
    assert await asked(18, 3) == [19, 20, 21]
    assert await asked(21, 10) == [22]
    assert await asked(None, 3) == [20, 21, 22]
    monkeypatch.setattr(pages, "PAGE_BYTES", 2500)
    seen: list[int] = []
    while page := await asked(seen[-1] if seen else 0, 10):
        seen += page
    assert seen == list(range(1, 23))


async def test_the_loop_runs_while_a_large_page_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read in the thread of the store."""
    journal = Owing(store)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*arguments: Any) -> pages.Page:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        return pages.Page([], False)

    monkeypatch.setattr(journal.store, "page", slow)
    asked = asyncio.create_task(journal.page(None, 0, 1000))
    while turns < 100:
        await asyncio.sleep(0)
    release.set()
    assert await asked == []
    counting.cancel()


async def test_a_journal_that_cannot_be_read_says_so(store: Store) -> None:
    store.reader.execute("PRAGMA query_only = OFF")
    store.connection.execute("DROP TABLE decisions")
    with pytest.raises(StoreError, match="cannot read the journal"):
        await Owing(store).page(None, 0, 1)
