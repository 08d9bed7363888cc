"""Rows for the value of a policy: what SQL counts is what a recount in Python does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crossfade.control.prediction_rows import add_ledger
from crossfade.control.value_queries import BLOCKS, ValueQuery, logged_rows

from .logged import WrittenLog

NOW = 1000.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[WrittenLog]:
    written = WrittenLog(tmp_path)
    with closing(written.connection):
        add_ledger(written.connection, {1: {"v2": 9500, "v3": 500}, 2: {"v2": 1, "v3": 1}})
        yield written


def segment(log: WrittenLog, seq: int, text: str | None) -> None:
    log.connection.execute("UPDATE prediction SET segment = ? WHERE seq = ?", (text, seq))


def query(name: str = "bought", *places: int, **others) -> ValueQuery:
    return ValueQuery(
        name,
        others.get("correct", False),
        others.get("threshold"),
        others.get("missing"),
        places,
        others.get("ripe_at", NOW),
        others.get("since", 0.0),
    )


def units(log: WrittenLog, asked: ValueQuery) -> list[tuple[int, str, float | None, int]]:
    """(version, backend, value, n) without the blocks."""
    return sorted(
        ((g.version, g.backend, g.value, g.n) for g in logged_rows(log.connection, asked).groups),
        key=lambda unit: (unit[0], unit[1], unit[2] is None, unit[2]),
    )


def test_requests_that_are_alike_are_counted(log):
    for i in range(40):
        log.add(
            ("v2", "v3")[i % 2],
            2,
            NOW,
            feedback={} if i % 4 == 0 else {"bought": float(i % 8 == 1), "seen": 5.0},
        )
    found = logged_rows(log.connection, query())
    assert not found.keyed
    assert found.shares == {1: {"v2": 0.95, "v3": 0.05}, 2: {"v2": 0.5, "v3": 0.5}}
    by_value: dict[tuple[str, float | None], int] = {}
    for group in found.groups:
        by_value[group.backend, group.value] = by_value.get((group.backend, group.value), 0) + group.n
    assert by_value == {("v2", None): 10, ("v2", 0.0): 10, ("v3", 1.0): 5, ("v3", 0.0): 15}
    assert [group.block for group in found.groups] == sorted(group.block for group in found.groups)
    assert {group.block for group in found.groups} == set(range(BLOCKS))


def test_only_ripe_rows_since_a_time_count_and_no_testers(log):
    for at in (100.0, 500.0, 900.0):
        log.add("v2", 2, at, feedback={"bought": 1.0})
    log.add("v3", 2, 900.0, role="tester", feedback={"bought": 1.0})
    assert units(log, query(ripe_at=600.0)) == [(2, "v2", 1.0, 1), (2, "v2", 1.0, 1)]
    assert units(log, query(ripe_at=600.0, since=300.0)) == [(2, "v2", 1.0, 1)]
    assert units(log, query()) == [(2, "v2", 1.0, 1)] * 3
    assert units(log, query(ripe_at=50.0)) == []


def test_a_key_is_one_unit_with_the_coin_of_its_first_request(log):
    for value in (1.0, 0.0):
        log.add("v2", 1, NOW, key=7, feedback={"bought": value})
    log.add("v3", 2, NOW, key=7, feedback={"bought": 1.0})  # after a change of weights: no new customer
    log.add("v3", 2, NOW, key=2**63 + 1, feedback={"bought": 1.0})
    log.add("v3", 2, NOW, key=2**63 + 1)  # no label: not in the mean
    log.add("v3", 2, NOW, key=9)
    found = logged_rows(log.connection, query())
    assert found.keyed
    assert units(log, query()) == [(1, "v2", 0.5, 1), (2, "v3", 1.0, 1), (2, "v3", None, 1)]


def test_a_number_stands_in_for_missing_feedback(log):
    log.add("v2", 2, NOW, feedback={"bought": 1.0})
    log.add("v2", 2, NOW)
    log.add("v2", 2, NOW, key=3, feedback={"bought": 1.0})
    log.add("v2", 2, NOW, key=3)
    assert units(log, query(missing=0.0)) == [(2, "v2", 0.0, 1), (2, "v2", 0.5, 1), (2, "v2", 1.0, 1)]


def test_a_text_is_no_number(log):
    log.add("v2", 2, NOW, feedback={"bought": "yes"})
    assert units(log, query()) == [(2, "v2", None, 1)]


def test_accuracy_compares_what_the_backend_itself_said(log):
    log.add("v2", 2, NOW, said=(0.7, None), feedback={"label": 1.0})
    log.add("v2", 2, NOW, said=(0.7, None), feedback={"label": 0.0})
    log.add("v3", 2, NOW, said=(0.2, None), feedback={"label": 0.0}, answered="v2")  # the fallback's answer
    log.add("v3", 2, NOW, said=(None, None), feedback={"label": 0.0})
    assert units(log, query("label", correct=True, threshold=0.5)) == [
        (2, "v2", 0, 1),
        (2, "v2", 1, 1),
        (2, "v3", None, 1),
        (2, "v3", None, 1),
    ]


def test_accuracy_of_classes_compares_labels(log):
    log.add("v2", 2, NOW, said=(None, "high"), feedback={"label": "high"})
    log.add("v2", 2, NOW, said=(None, "low"), feedback={"label": "high"})
    log.add("v2", 2, NOW, said=(None, "low"), feedback={"label": "high"}, key=4)
    assert units(log, query("label", correct=True)) == [(2, "v2", 0, 1), (2, "v2", 0, 1), (2, "v2", 1, 1)]


@pytest.mark.parametrize("key", [None, 5])
def test_segments_are_those_that_the_policy_asks_for(log, key):
    seq = log.add("v2", 2, NOW, feedback={"bought": 1.0}, key=key)
    segment(log, seq, '["DE", "pro", "x"]')
    (group,) = logged_rows(log.connection, query("bought", 0, 2)).groups
    assert group.segment == ("DE", "", "x")
    (group,) = logged_rows(log.connection, query("bought", 1)).groups
    assert group.segment == ("", "pro")
    (group,) = logged_rows(log.connection, query("bought")).groups
    assert group.segment is None
    segment(log, seq, None)
    (group,) = logged_rows(log.connection, query("bought", 0)).groups
    assert group.segment is None


def test_the_newest_rows_are_read(log):
    for i in range(30):
        log.add("v2", 2, NOW, feedback={"bought": float(i >= 20)})
    found = logged_rows(log.connection, query()._replace(most=10))
    assert found.beyond == 20
    assert [(group.value, group.n) for group in found.groups] == [(1.0, 1)] * 10


def test_an_empty_log_has_no_rows(log):
    assert logged_rows(log.connection, query()).groups == []


@pytest.mark.parametrize("seed", range(5))
def test_it_counts_as_a_recount_does(log, seed):
    """Keys and requests without one, over two ledger versions, in any order."""
    rng = random.Random(seed)
    expected: dict[object, tuple[int, str, list[float]]] = {}
    for i in range(300):
        key = rng.choice([None, *range(1, 40)])
        version = 1 if i < 150 else 2
        backend = ("v2", "v3")[key % 2] if key else rng.choice(["v2", "v3"])
        value = float(rng.random() < 0.5) if rng.random() < 0.7 else None
        log.add(backend, version, NOW, key=key, feedback={} if value is None else {"bought": value})
        unit = expected.setdefault(key or ("request", i), (version, backend, []))
        if unit[0] == version and value is not None:
            unit[2].append(value)
    counts: dict[tuple[int, str, float | None], int] = {}
    for version, backend, values in expected.values():
        place = version, backend, sum(values) / len(values) if values else None
        counts[place] = counts.get(place, 0) + 1
    found: dict[tuple[int, str, float | None], int] = {}
    for group in logged_rows(log.connection, query()).groups:
        place = group.version, group.backend, group.value
        found[place] = found.get(place, 0) + group.n
    assert found == counts
