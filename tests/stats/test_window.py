"""The sum of the window equals a recount of everything added in the slots that it covers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.counts import Cell
from crossfade.stats.window import Window


def cell(backend: str, requests: int, errors: int = 0, version: int = 1) -> Cell:
    made = Cell("r", backend, "champion", version, requests=requests, errors=errors)
    for _ in range(requests):
        made.duration.add(0.02)
    return made


additions = st.lists(st.tuples(st.floats(0, 30), st.sampled_from("ab"), st.integers(0, 20)), max_size=40)


@given(additions, st.floats(0, 15))
def test_the_sum_equals_a_recount(added, later):
    window = Window(10.0, 20)
    added = sorted(added)
    for at, backend, requests in added:
        window.add([cell(backend, requests)], at)
    now = (added[-1][0] if added else 0.0) + later
    edge = int(now // 0.5) - 19
    table = window.table(now)
    for backend in "ab":
        expected = sum(n for at, b, n in added if b == backend and int(at // 0.5) >= edge)
        assert table.of("r", backend).requests == expected
        assert table.of("r", backend).duration.count == expected


@given(additions)
def test_no_count_is_lost_when_the_clock_steps_back(added):
    window = Window(1000.0, 10)
    for at, backend, requests in added:
        window.add([cell(backend, requests)], at)
    table = window.table(max((at for at, _, _ in added), default=0))
    assert sum(c.requests for c in table.cells.values()) == sum(n for _, _, n in added)


def test_ledger_versions_are_summed_and_the_added_cells_stay_unchanged():
    window = Window()
    first, second = cell("a", 3, 1, version=4), cell("a", 2, 0, version=5)
    window.add([first, second], 100.0)
    assert [(c.requests, c.errors) for c in window.table(100.0).cells.values()] == [(5, 1)]
    assert (first.ledger_version, first.requests, first.duration.count) == (4, 3, 3)


def test_a_read_after_another_add_returns_the_new_sum():
    window = Window()
    window.add([cell("a", 1)], 5.0)
    assert window.table(5.0).of("r", "a").requests == 1
    window.add([cell("a", 1)], 5.1)
    assert window.table(5.2).of("r", "a").requests == 2
    assert window.table(20.0).of("r", "a").requests == 0


def test_seconds_grow_up_to_the_span():
    window = Window(10.0, 20)
    assert window.seconds(50.0) == 0.5
    window.add([cell("a", 1)], 100.0)
    assert window.seconds(100.1) == 0.5  # at least one slot, so rates stay plausible
    assert window.seconds(104.0) == 4.0
    assert window.seconds(200.25) == 9.75


def test_the_version_is_another_one_with_each_add_and_each_slot():
    window = Window()
    versions = [window.version(5.0), window.version(5.1)]
    assert versions[0] == versions[1]
    window.add([cell("a", 1)], 5.2)
    versions.append(window.version(5.2))
    versions.append(window.version(15.1))
    assert versions[1] < versions[2] < versions[3]
    assert window.version(15.2) == versions[3]
