"""Sides are compared by the time of routing: a second counts when the champion has answered all of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout.pending import HORIZON, SETTLED, Pending, Skipped, ripe
from crossfade.stats.counts import Cell


def item(second: int, at: float = 0.0, backend: str = "v3") -> Pending:
    return Pending(at, Cell("r", backend, "challenger", 1, requests=1, second=second))


def seconds(cells) -> list[int]:
    return [cell.second for cell in cells]


def test_a_second_counts_when_every_worker_has_reported_it():
    assert ripe([item(7)], SETTLED / 2, {}) == ([], [item(7)])
    assert seconds(ripe([item(7)], SETTLED, {})[0]) == [7]


def test_counts_of_any_time_count_at_once():
    assert seconds(ripe([item(0)], 0.0, {3: 5})[0]) == [0]


def test_a_second_that_the_champion_has_not_answered_waits_and_all_after_it():
    pending = [item(9), item(7), item(8)]
    counted, kept = ripe(pending, 5.0, {8: 1})
    assert (seconds(counted), [each.cell.second for each in kept]) == ([7], [9, 8])
    assert seconds(ripe(kept, 6.0, {9: 2})[0]) == [8]


def test_the_horizon_ends_the_wait():
    assert seconds(ripe([item(7)], HORIZON, {7: 1})[0]) == [7]
    assert ripe([item(7)], 4.9, {7: 1}, 5.0)[0] == []
    assert seconds(ripe([item(7)], 5.0, {7: 1}, 5.0)[0]) == [7]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.floats(0, 50))),
    st.dictionaries(st.integers(1, 20), st.integers(1, 9)),
    st.floats(50, 200),
)
def test_no_cell_is_lost_or_counted_twice(cells, waiting, now):
    pending = [item(second, at) for second, at in cells]
    counted, kept = ripe(pending, now, waiting)
    assert sorted(seconds(counted) + [each.cell.second for each in kept]) == sorted(
        second for second, _ in cells
    )
    assert seconds(counted) == sorted(seconds(counted))
    assert ripe(kept, now + HORIZON, waiting)[1] == []


def test_of_a_skipped_second_nothing_counts_whenever_it_ends():
    cells = [item(second).cell for second in (6, 7, 8, 9)]
    assert seconds(Skipped(7, 8).entering(cells, False)) == [6, 9]
    assert seconds(Skipped().entering(cells, False)) == [6, 7, 8, 9]
    of_any_time = [item(0).cell]
    assert (Skipped(7, 8).entering(of_any_time, True), Skipped(7, 8).entering(of_any_time, False)) == (
        [],
        of_any_time,
    )
