"""Counts: deltas can be added in any order, and none is lost or counted twice."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.scale import RECENT_KEPT
from crossfade.stats.counts import Cell, Counts, CountsTable, Events, MirrorCount
from crossfade.stats.histogram import Histogram
from crossfade.stats.pairs import Pair, Pairs


def cell(backend="churn-v2", role="champion", version=1, requests=1, errors=0, **more) -> Cell:
    out = Cell("churn", backend, role, version, requests=requests, errors=errors, **more)
    for i in range(requests):
        out.duration.add(0.01 * (i + 1))
        out.first_byte.add(0.005 * (i + 1))
    return out


def table(*reports: Counts) -> CountsTable:
    out = CountsTable()
    for report in reports:
        out.add(report)
    return out


SMALL = st.integers(0, 20)
NUMBERS = st.dictionaries(st.sampled_from([200, 404, 500]), SMALL, max_size=3)
STAGES = st.dictionaries(st.sampled_from(["connect", "body"]), SMALL, max_size=2)


@st.composite
def cells(draw) -> Cell:
    out = Cell(
        draw(st.sampled_from(["churn", "fraud"])),
        draw(st.sampled_from(["churn-v2", "churn-v3"])),
        draw(st.sampled_from(["champion", "challenger", "shadow"])),
        draw(st.integers(1, 3)),
        requests=draw(SMALL),
        errors=draw(SMALL),
        unkeyed=draw(SMALL),
        fell_back=draw(SMALL),
        abandoned=draw(SMALL),
        codes=draw(NUMBERS),
        failures=draw(STAGES),
        responses=draw(NUMBERS),
        faults=draw(STAGES),
        rejections=draw(STAGES),
        fallbacks=draw(STAGES),
        retries=draw(STAGES),
        read=draw(SMALL),
        answers=draw(SMALL),
        unreadable=draw(SMALL),
        scoreless=draw(SMALL),
    )
    for what in draw(st.sets(st.sampled_from(["error", "p99"]))):
        keys = draw(st.lists(st.integers(0, 2**64 - 1), max_size=3))
        out.events[what] = Events(draw(SMALL), len(keys) + draw(SMALL), draw(st.integers(-3, 3)), keys)
    for seconds in draw(st.lists(st.sampled_from([0.001, 0.5, 2.0]), max_size=3)):
        out.duration.add(seconds)
        out.first_byte.add(seconds / 2)
    for value in draw(st.lists(st.sampled_from([0, 1, 0.25]), max_size=3)):
        out.scores.add(value)
    out.pairs = Pairs(*(draw(SMALL) for _ in range(11)))
    for key in draw(st.lists(st.integers(0, 2**64 - 1), max_size=2)):
        out.keyed_pairs.append(Pair(key, draw(st.booleans()), draw(st.booleans()), 0.25, draw(st.booleans())))
    return out


MIRRORS = st.builds(
    MirrorCount,
    st.sampled_from(["churn", "fraud"]),
    st.just("churn-v4"),
    st.sampled_from(["sent", "failed", "dropped_busy"]),
    SMALL,
)
REPORTS = st.builds(
    Counts,
    st.lists(cells(), max_size=4),
    st.lists(MIRRORS, max_size=3),
    st.dictionaries(st.sampled_from(["400:parse", "404:no_route"]), SMALL, max_size=2),
    st.dictionaries(st.sampled_from(["event_keys", "body_size"]), SMALL, max_size=2),
)


def comparable(out: CountsTable) -> object:
    """The contents without the order of keys, and with sums of seconds rounded."""
    cells = {key: msgspec.to_builtins(c) | {"recent": None} for key, c in out.cells.items()}
    for c in cells.values():
        for times in (c["duration"], c["first_byte"]):
            times["total"] = round(times["total"], 6)
        c["keyed_pairs"].sort()
        for events in c["events"].values():
            events["keys"].sort()
    return (
        cells,
        out.mirrors,
        out.refused,
        out.dropped,
    )


def test_merged_cells_add_up():
    one = cell(requests=2, errors=1, unkeyed=1, fell_back=1, codes={200: 1, 500: 1}, failures={"connect": 1})
    one.merge(cell(requests=3, abandoned=2, codes={200: 3}, failures={"connect": 1, "body": 1}))
    assert (one.requests, one.errors, one.unkeyed, one.fell_back, one.abandoned) == (5, 1, 1, 1, 2)
    assert one.codes == {200: 4, 500: 1}
    assert one.failures == {"connect": 2, "body": 1}
    assert (one.duration.count, one.first_byte.count) == (5, 5)
    assert one.duration.total == pytest.approx(0.09)
    assert one.first_byte.total == pytest.approx(0.045)


def test_the_newest_recent_outcomes_are_kept_in_order():
    one = cell(recent=[1] * 300)
    one.merge(cell(recent=[0] * 300))
    assert one.recent == [True] * (RECENT_KEPT - 300) + [False] * 300
    one.merge(cell(recent=[1]))
    assert one.recent[-2:] == [False, True]
    assert len(one.recent) == RECENT_KEPT


@given(st.lists(REPORTS, max_size=4), st.randoms(use_true_random=False))
def test_reports_can_be_added_in_any_order(reports, random):
    in_order = comparable(table(*reports))
    random.shuffle(reports)
    assert comparable(table(*reports)) == in_order


@given(st.lists(REPORTS, max_size=3), st.lists(REPORTS, max_size=3))
def test_counts_taken_from_a_worker_and_added_elsewhere_equal_all_counts(first, second):
    """`take` at any moment loses no count and returns none twice."""
    worker, control = table(*first), CountsTable()
    control.add(worker.take())
    assert worker.take() == Counts()
    for report in second:
        worker.add(report)
    control.add(msgspec.msgpack.decode(msgspec.msgpack.encode(worker.take()), type=Counts))
    assert comparable(control) == comparable(table(*first, *second))


@given(REPORTS)
def test_an_empty_report_changes_nothing(report):
    assert comparable(table(Counts(), report, Counts())) == comparable(table(report))


def test_a_table_copies_the_cells_that_it_is_given():
    given_cell = cell(codes={200: 1}, recent=[1])
    summed = table(Counts([given_cell]))
    given_cell.requests = 99
    given_cell.codes[200] = 99
    given_cell.recent.append(False)
    given_cell.duration.add(1.0)
    kept = summed.of("churn", "churn-v2")
    assert (kept.requests, kept.codes, kept.recent, kept.duration.count) == (1, {200: 1}, [True], 1)
    kept.codes[200] = 77
    assert summed.of("churn", "churn-v2").codes == {200: 1}


def test_taken_counts_do_not_change_later():
    summed = table(Counts([cell()], [MirrorCount("churn", "churn-v4", "sent", 1)], {"400:parse": 1}))
    taken = summed.take()
    summed.add(Counts([cell()], [MirrorCount("churn", "churn-v4", "sent", 5)], {"400:parse": 5}))
    assert taken.cells[0].requests == 1
    assert taken.mirrors == [MirrorCount("churn", "churn-v4", "sent", 1)]
    assert taken.refused == {"400:parse": 1}


def test_mirrors_and_refusals_add_up_by_key():
    summed = table(
        Counts([], [MirrorCount("churn", "v4", "sent", 2), MirrorCount("churn", "v4", "failed", 1)], {"404:no_route": 1}),
        Counts([], [MirrorCount("churn", "v4", "sent", 3)], {"404:no_route": 2, "400:parse": 1}),
    )  # fmt: skip
    assert summed.mirrors == {("churn", "v4", "sent"): 5, ("churn", "v4", "failed"): 1}
    assert summed.refused == {"404:no_route": 3, "400:parse": 1}


def test_of_sums_the_cells_of_one_backend():
    """Roles and ledger versions are summed. Answers to mirrored copies (role shadow) are left out."""
    summed = table(
        Counts(
            [
                cell(version=1, requests=1),
                cell(version=2, requests=2),
                cell(version=2, role="challenger", requests=4),
                cell(version=3, requests=8, recent=[1]),
                cell(version=2, role="shadow", requests=100),
                cell(version=2, backend="churn-v3", requests=1000),
            ]
        )
    )
    assert summed.of("churn", "churn-v2").requests == 15
    assert summed.of("churn", "churn-v2", [2]).requests == 6
    assert summed.of("churn", "churn-v2", (v for v in (1, 3))).requests == 9
    assert summed.of("churn", "churn-v2", []).requests == 0
    assert summed.of("churn", "churn-v2", [3]).recent == [True]
    assert summed.of("churn", "churn-v3").requests == 1000
    assert summed.of("fraud", "churn-v2") == Cell("fraud", "churn-v2", "", 0)


@given(cells())
def test_an_encoded_cell_decodes_to_an_equal_cell(sent):
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Cell)
    assert received == sent
    assert isinstance(received.duration, Histogram)
    assert received.key == (sent.route, sent.backend, sent.role, sent.ledger_version, sent.second)
