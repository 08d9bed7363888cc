"""The answer of the history: at which resolution, on which grid, with nulls where nothing is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossfade.control.history_points import COPIES, DAY, HOUR, LEVELS, LIVE, Point, column, series
from crossfade.control.history_view import history_view, resolution

NOW = 1_700_006_400 - 1_700_006_400 % DAY
V2 = series(LIVE, "v2")


def point(**values: float) -> Point:
    named = {column(name, V2): value for name, value in values.items()}
    return Point({"seconds": 10.0, column("weight", V2): 0.5} | named)


@given(st.integers(0, 60 * DAY), st.integers(1, 60 * DAY), st.integers(1, 5000))
def test_no_more_points_than_asked_for_and_none_that_are_gone(age: int, span: int, points: int) -> None:
    since = NOW - age
    level, step = resolution(since, since + span, points, NOW)
    assert step % level.step == 0
    assert len(range(since - since % step, since + span, step)) <= points + 1
    assert since >= NOW - level.keep or level is LEVELS[-1]


def test_the_finest_points_that_are_still_there() -> None:
    assert resolution(NOW - HOUR, NOW, 600, NOW) == (LEVELS[0], 10)
    assert resolution(NOW - 6 * HOUR, NOW, 600, NOW) == (LEVELS[0], 40)
    assert resolution(NOW - DAY, NOW - DAY + HOUR, 600, NOW) == (LEVELS[1], 60)
    assert resolution(NOW - 30 * DAY, NOW, 600, NOW) == (LEVELS[2], 4800)
    assert resolution(NOW - HOUR, NOW, 60, NOW) == (LEVELS[1], 60), "as good as six points of ten seconds"


def test_rates_shares_and_nulls() -> None:
    found = {
        NOW: point(requests=100.0, errors=5.0, abandoned=50.0, p50=0.012345678, p99=0.2),
        NOW + 20: point(requests=0.0),
        NOW + 30: point(requests=4.0, errors=0.0, abandoned=4.0),
    }
    shown = history_view("churn", (NOW, NOW + 50, 10), found, [])
    assert shown.at == [NOW, NOW + 10, NOW + 20, NOW + 30, NOW + 40]
    v2 = shown.backends["v2"]
    assert v2.requests == [10.0, None, 0.0, 0.4, None]
    assert v2.errors == [0.1, None, None, None, None]
    assert (v2.p50[0], v2.p99[0], v2.weight) == (0.01235, 0.2, [0.5, None, 0.5, 0.5, None])


def test_copies_and_checks_have_places_of_their_own() -> None:
    values = {
        "seconds": 10.0,
        column("requests", series(COPIES, "v4")): 20.0,
        column("evidence", "live", "latency p99"): 1.5,
        column("low", "live", "latency p99"): 0.1,
        column("estimate", "v3", "no test\twith a tab"): 0.2,
    }
    shown = history_view("churn", (NOW, NOW + 10, 10), {NOW: Point(values)}, [])
    assert shown.backends == {}
    assert shown.mirrored["v4"].requests == [2.0]
    check = shown.checks["live"]["latency p99"]
    assert (check.evidence, check.low, check.bound) == ([1.5], [0.1], [None])
    assert shown.checks["v3"]["no test\twith a tab"].estimate == [0.2]


def test_stretches_that_are_half_known_have_the_rate_of_what_is_known() -> None:
    found = {NOW: point(requests=100.0), NOW + 10: point(requests=300.0)}
    shown = history_view("churn", (NOW, NOW + 60, 60), found, [])
    assert shown.backends["v2"].requests == [20.0]
    assert shown.at == [NOW]
