"""Feedback in the tables of a prediction log: joined, corrected, late, early."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.control import feedback_tables
from crossfade.control.feedback_tables import SETTLED, WAIT, Early, early_rows, ids_in, join_early, store
from crossfade.quality.feedback import Feedback, Limits, Outcome
from crossfade.routing.ledger import salt_of
from tests.control.prediction_rows import Predicted, add_predictions, log_of, values_of

LIMITS = Limits(horizon=1000.0, correct_within=100.0)
ACCEPTED, DUPLICATE, CORRECTED = Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.CORRECTED
CONFLICTING, UNMATCHED, LATE = Outcome.CONFLICTING, Outcome.UNMATCHED, Outcome.LATE


def of(request_id: str, value: Any = 1, name: str = "label", at: float | None = None) -> Feedback:
    return Feedback(request_id.encode(), name, value, at=at)


def of_key(key: str, at: float, value: Any = 1) -> Feedback:
    return Feedback(b"", "label", value, "churn", key.encode(), at)


def put(log: sqlite3.Connection, now: float, *rows: Feedback, shared: bool = False) -> list[Outcome]:
    stored = store(log, rows, now, LIMITS, salt_of("churn"), shared)
    assert [one.name for one in stored] == [row.name for row in rows]
    return [one.outcome for one in stored]


def join(log: sqlite3.Connection, now: float, after: int | None = None) -> Early:
    return join_early(log, after, now, LIMITS)


def test_a_chunk_is_judged_row_by_row() -> None:
    with closing(log_of(Predicted("r1", 10.0), Predicted("r2", 20.0))) as log:
        first = put(log, 30.0, of("r1"), of("r1"), of("r1", 0), of("r1", 5.5, "revenue"), of("r3"))
        assert first == [ACCEPTED, DUPLICATE, CORRECTED, ACCEPTED, UNMATCHED]
        assert put(log, 131.0, of("r1", 0), of("r1", 1), of("r2", "no")) == [DUPLICATE, CONFLICTING, ACCEPTED]
        assert values_of(log) == {("r1", "label"): 0, ("r1", "revenue"): 5.5, ("r2", "label"): "no"}
        assert log.execute(
            "SELECT at, first_at FROM feedback WHERE seq = 1 AND name = 'label'"
        ).fetchone() == (
            30.0,
            30.0,
        )
        assert put(log, 1010.0, of("r1", 0), of("r1", 1), of("r1", 1, "other")) == [
            DUPLICATE,
            CONFLICTING,
            LATE,
        ]


def test_a_correction_keeps_the_time_of_the_first_value_and_does_not_prolong_its_own() -> None:
    with closing(log_of(Predicted("r1", 0.0))) as log:
        put(log, 10.0, of("r1", 1))
        assert put(log, 100.0, of("r1", 2)) == [CORRECTED]
        assert log.execute("SELECT value, at, first_at FROM feedback").fetchall() == [(2, 100.0, 10.0)]
        assert put(log, 111.0, of("r1", 3)) == [CONFLICTING]
        assert values_of(log) == {("r1", "label"): 2}


def test_values_keep_their_type() -> None:
    with closing(log_of(*(Predicted(f"r{i}") for i in range(4)))) as log:
        put(log, 1.0, of("r0", True), of("r1", 1.0), of("r2", "1"), of("r3", -(1 << 63)))
        found = list(values_of(log).values())
        assert found == [1, 1.0, "1", -(1 << 63)]
        assert [type(value) for value in found] == [int, float, str, int]


def test_of_several_predictions_of_an_id_the_latest_counts_or_the_latest_at_that_time() -> None:
    with closing(
        log_of(Predicted("r", 10.0), Predicted("x", 15.0), Predicted("r", 20.0), Predicted("r", 400.0))
    ) as log:
        assert put(log, 401.0, of("r", 1), of("r", 2, at=21.0), of("r", 3, at=19.0)) == [ACCEPTED] * 3
        assert log.execute("SELECT seq, value FROM feedback ORDER BY seq").fetchall() == [
            (1, 3),
            (3, 2),
            (4, 1),
        ]
        assert put(log, 402.0, of("r", 4, at=9.0)) == [UNMATCHED]
        assert early_rows(log) == 0  # no prediction that comes can be of that time


def test_a_key_means_its_latest_prediction_at_that_time() -> None:
    predictions = [Predicted(f"r{i}", float(i), "ann" if i % 3 else "bob") for i in range(500)]
    with closing(log_of(*predictions)) as log:
        rows = [of_key("ann", 300.5, 1), of_key("bob", 300.5, 2), of_key("ann", 0.5), of_key("eve", 300.0)]
        assert put(log, 600.0, *rows) == [ACCEPTED, ACCEPTED, UNMATCHED, UNMATCHED]
        assert values_of(log) == {("r299", "label"): 1, ("r300", "label"): 2}
        assert put(log, 1350.0, of_key("ann", 340.0)) == [LATE]


def test_a_time_within_the_request_means_it() -> None:
    """It ended at 100 and took 0.1 s. A caller may take the time before it asks, or when it has the answer: a worker logs later."""
    with closing(log_of(Predicted("r1", 100.0, "ann"))) as log:
        assert put(log, 200.0, of_key("ann", 99.89), of_key("ann", 99.91)) == [UNMATCHED, ACCEPTED]
        assert put(log, 200.0, of("r1", at=99.89), of("r1", at=99.91)) == [UNMATCHED, DUPLICATE]


def test_the_search_by_time_looks_at_few_rows_of_a_key_with_many() -> None:
    rows = [Predicted(f"r{i}", float(i), "bank") for i in range(3000)]
    with closing(log_of(*rows)) as log:
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        log.set_progress_handler(count, 1)
        assert put(log, 3100.0, *(of_key("bank", 2200.0 + i / 50, i) for i in range(50)))[0] is ACCEPTED
        log.set_progress_handler(None, 0)
        assert steps < 100_000  # each row behind the time would cost ten steps: 50 · 800 · 10


def test_a_row_before_its_prediction_waits_and_is_joined() -> None:
    with closing(log_of(Predicted("r1", 0.0))) as log:
        assert put(log, 5.0, of("r2", 7), of("r2", 8), of("r3"), of("r2", 1, "click")) == [UNMATCHED] * 4
        assert early_rows(log) == 3
        add_predictions(log, [Predicted("r2", 6.0)])
        done = join(log, 7.0, after=1)
        assert [(s.outcome, s.name, s.seconds) for s in done.joined] == [
            (ACCEPTED, "click", 1.0),
            (ACCEPTED, "label", 1.0),
        ]
        assert (done.seq, done.expired, done.left) == (2, [], 1)
        assert values_of(log) == {("r2", "click"): 1, ("r2", "label"): 8}
        assert join(log, 5.0 + WAIT, after=2) == Early(2, [], ["label"], 0)


@pytest.mark.parametrize("after", [None, 1])
def test_rows_that_wait_are_compared_with_the_predictions_behind(after: int | None) -> None:
    with closing(log_of(Predicted("r1", 0.0))) as log:
        put(log, 5.0, of("r2"), of("r3"))
        add_predictions(log, [Predicted("r3", 6.0), Predicted("r2", 6.0)])
        assert len(join(log, 7.0, after).joined) == 2
        assert join(log, 8.0, 3) == Early(3, [], [], 0)


def test_a_row_that_was_joined_in_another_log_is_not_counted_as_expired() -> None:
    with closing(log_of()) as log:
        put(log, 5.0, of("r1"), shared=True)
        put(log, 5.0, of("r2", name="click"))
        assert join(log, 5.0 + WAIT) == Early(0, [], ["click"], 0)


def test_a_recent_time_of_a_key_waits_for_predictions_that_are_on_their_way() -> None:
    with closing(log_of(Predicted("old", 10.0, "ann"))) as log:
        assert put(log, 50.5, of_key("ann", 50.0)) == [UNMATCHED]
        assert join(log, 51.0) == Early(1, [], [], 1)
        add_predictions(log, [Predicted("new", 49.0, "ann")])
        done = join(log, 50.0 + SETTLED, after=2)
        assert [one.outcome for one in done.joined] == [ACCEPTED]
        assert values_of(log) == {("new", "label"): 1}
        put(log, 61.0, of_key("eve", 60.0, 3))
        assert join(log, 75.0, after=2) == Early(2, [], ["label"], 0)


def test_a_value_by_key_that_waited_does_not_replace_one_that_came_behind_it() -> None:
    with closing(log_of(Predicted("r1", 50.0, "ann"))) as log:
        assert put(log, 52.0, of_key("ann", 51.0, 1)) == [UNMATCHED]
        assert put(log, 55.0, of("r1", 0)) == [ACCEPTED]
        assert [one.outcome for one in join(log, 62.0).joined] == [CORRECTED]
        assert values_of(log) == {("r1", "label"): 0}
        assert log.execute("SELECT at, first_at FROM feedback").fetchone() == (55.0, 55.0)


def test_only_so_many_rows_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_tables, "MOST_EARLY", 5)
    with closing(log_of()) as log:
        for start in (0, 4):
            rows = [of(f"r{i}") for i in range(start, start + 4)]
            assert put(log, 100.0, *rows, of_key("ann", 99.0)) == [UNMATCHED] * 5
        assert early_rows(log) == 5


def test_ids_are_found_in_a_log() -> None:
    with closing(log_of(Predicted("r1"), Predicted("r2"))) as log:
        assert ids_in(log, [b"r2", b"r3"]) == {b"r2"}


_ROWS = st.lists(
    st.builds(
        of, st.sampled_from(["r1", "r2", "r3"]), st.sampled_from([0, 1, "a"]), st.sampled_from(["label", "k"])
    ),
    max_size=12,
)


@given(_ROWS, st.lists(st.integers(0, 12), max_size=4))
def test_how_rows_are_cut_into_chunks_changes_nothing(rows: Sequence[Feedback], cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    with (
        closing(log_of(Predicted("r1"), Predicted("r2"))) as whole,
        closing(log_of(Predicted("r1"), Predicted("r2"))) as cut,
    ):
        outcomes = put(whole, 50.0, *rows)
        in_parts = [put(cut, 50.0, *rows[a:b]) for a, b in pairwise(edges)]
        assert list(chain.from_iterable(in_parts)) == outcomes
        for table in ("feedback", "early"):
            assert (
                cut.execute(f"SELECT * FROM {table}").fetchall()
                == whole.execute(f"SELECT * FROM {table}").fetchall()
            )
        before = values_of(whole)
        last = {(row.request_id, row.name): row for row in rows if row.request_id != b"r3"}
        assert set(put(whole, 50.0, *last.values())) <= {DUPLICATE}
        assert values_of(whole) == before


class PlainLog:
    """What should be known, by the order in which rows came: the last value of each prediction."""

    def __init__(self) -> None:
        self.predicted: set[str] = set()
        self.values: dict[str, tuple[int, Any]] = {}  # with the place in the order
        self.early: dict[str, tuple[int, float, Any]] = {}

    def feed(self, n: int, now: float, request_id: str, value: Any) -> None:
        if request_id in self.predicted:
            self.values[request_id] = n, value
        else:
            self.early[request_id] = n, now, value

    def join(self, now: float) -> None:
        for request_id, (n, came, value) in list(self.early.items()):
            if request_id in self.predicted:
                self.values[request_id] = max(
                    self.values.get(request_id, (n, value)), (n, value), key=lambda v: v[0]
                )
                del self.early[request_id]
            elif came + WAIT <= now:
                del self.early[request_id]


_IDS = st.sampled_from(["r1", "r2", "r3"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("predict"), _IDS),
        st.tuples(st.just("feed"), _IDS, st.sampled_from([0, 1, 2])),
        st.tuples(st.just("join")),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 25.0, 61.0])),
    ),
    max_size=25,
)


@given(_STEPS, st.booleans())
def test_the_last_row_that_came_counts_whether_it_was_early_or_not(steps: list[Any], from_mark: bool) -> None:
    limits, now, mark = Limits(1e9, 1e9), 1000.0, None
    plain = PlainLog()
    with closing(log_of()) as log:
        for n, (kind, *what) in enumerate(steps):
            if kind == "predict" and what[0] not in plain.predicted:
                add_predictions(log, [Predicted(what[0], now)])
                plain.predicted.add(what[0])
            elif kind == "feed":
                store(log, [of(*what)], now, limits, b"", False)
                plain.feed(n, now, *what)
            elif kind == "join":
                mark = join_early(log, mark if from_mark else None, now, limits).seq
                plain.join(now)
            elif kind == "wait":
                now += what[0]
        join_early(log, mark if from_mark else None, now, limits)
        plain.join(now)
        found = {request_id: value for (request_id, _), value in values_of(log).items()}
        assert found == {request_id: value for request_id, (_, value) in plain.values.items()}
