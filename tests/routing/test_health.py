"""Ejection and slow start: which endpoint is ejected, for how long, and how its share grows afterwards."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.routing.balance import pick
from crossfade.routing.health import MAX_EJECTION, MIN_SHARE, Health, share, should_eject
from crossfade.routing.snapshot import Eject

RULE = Eject(after=3, time=10.0, max_share=0.5, statuses=(503,))
TIMES = st.floats(0, 1e6)
SHARES = st.floats(0.001, 1)


def failing(times: int = 3) -> Health:
    health = Health()
    health.failures = times
    return health


def ejected(now: float = 0.0) -> Health:
    health = failing()
    health.eject(RULE, now)
    return health


# ── which endpoint is ejected ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("failures", "due"), [(0, False), (2, False), (3, True), (9, True)])
def test_an_endpoint_is_ejected_after_the_failures_of_the_rule(failures: int, due: bool) -> None:
    health = failing(failures)
    assert should_eject(health, RULE, [health, Health()]) is due


def test_the_only_endpoint_is_never_ejected() -> None:
    health = failing()
    assert not should_eject(health, replace(RULE, max_share=1.0), [health])


@given(st.integers(2, 30), SHARES)
def test_at_most_max_share_is_ejected_and_never_the_last(n: int, most: float) -> None:
    rule = replace(RULE, max_share=most)
    peers = [failing() for _ in range(n)]
    for health in peers:
        if should_eject(health, rule, peers):
            health.eject(rule, 0.0)
    out = sum(peer.until is not None for peer in peers)
    assert 1 <= out <= n - 1
    assert out == 1 or out <= n * most


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("fwt")), max_size=80))
def test_at_most_max_share_is_ejected_after_any_events(events: list[tuple[int, str]]) -> None:
    """f: one more failure, w: a success, t: time passes."""
    peers = [Health() for _ in range(5)]
    now = 0.0
    for index, kind in events:
        health = peers[index]
        if kind == "f":
            health.failures += 1
            if should_eject(health, RULE, peers):
                health.eject(RULE, now)
        elif kind == "w":
            health.failures = 0
        else:
            now += 7.0
            for peer in peers:
                peer.end_ejection_if_due(now)
        assert sum(peer.until is not None for peer in peers) <= 2
        assert all(peer.until is None or peer.until > now for peer in peers)


def test_an_ejected_endpoint_is_not_ejected_again() -> None:
    health = ejected()
    health.failures = 9  # requests in flight that fail after it went out
    assert not should_eject(health, RULE, [health, Health(), Health(), Health()])


# ── for how long ──────────────────────────────────────────────────────────────────────────────────


def test_each_ejection_in_a_row_is_longer_up_to_a_limit() -> None:
    health, now = Health(), 0.0
    lengths = []
    for _ in range(40):
        lengths.append(health.eject(RULE, now))
        now += lengths[-1]
        health.end_ejection_if_due(now)
        assert health.until is None
    assert lengths[:3] == [10.0, 20.0, 30.0]
    assert lengths == sorted(lengths)
    assert lengths[-1] == MAX_EJECTION


@pytest.mark.parametrize(("served", "duration"), [(0, 40), (9, 40), (10, 30), (25, 20), (30, 10), (1e9, 10)])
def test_time_in_service_takes_ejections_off_the_count(served: float, duration: float) -> None:
    health, now = Health(), 0.0
    for _ in range(3):
        now += health.eject(RULE, now)
        health.end_ejection_if_due(now)
    assert health.eject(RULE, now + served) == duration


@given(TIMES, st.floats(0, 100))
def test_an_ejection_ends_when_its_time_is_over_and_not_before(now: float, later: float) -> None:
    health = ejected(now)
    until = health.until
    assert until == now + 10.0
    health.end_ejection_if_due(now + later)
    assert (health.until is None) is (now + later >= until)
    assert health.failures == 0


def test_a_probe_that_succeeds_ends_the_ejection() -> None:
    health = ejected(now=5.0)
    health.end_ejection(6.0)
    assert (health.until, health.failures, health.began) == (None, 0, 6.0)


# ── slow start ────────────────────────────────────────────────────────────────────────────────────


@given(TIMES, st.floats(0, 1000), st.lists(st.floats(-10, 2000), min_size=2))
def test_a_share_grows_and_is_always_above_0(began: float, over: float, elapsed: list[float]) -> None:
    health = Health(began)
    shares = [share(health, over, began + seconds) for seconds in sorted(elapsed)]
    assert all(a <= b for a, b in pairwise(shares))
    assert all(MIN_SHARE <= s <= 1 for s in shares)
    assert share(health, over, (began + over) * 1.001) == 1.0


def test_an_endpoint_of_the_first_snapshot_has_its_full_share() -> None:
    assert share(Health(), 10.0, 0.0) == 1.0


def test_no_slow_start_is_a_full_share_at_once() -> None:
    assert share(Health(5.0), 0.0, 5.0) == 1.0


def test_a_sweep_that_is_late_may_know_an_older_time_than_the_endpoint() -> None:
    """The loop read the clock, then a reload brought the endpoint, then the sweep went on."""
    assert share(Health(5.0), 0.0, 4.9) == 1.0
    assert share(Health(5.0), 10.0, 4.9) == MIN_SHARE


class Candidate:
    def __init__(self, share: float = 1.0, in_flight: int = 0) -> None:
        self.share = share
        self.in_flight = in_flight


def picked_share(of: list[Candidate], one: Candidate, draws: int = 20_000) -> float:
    """The share of evenly spread draws that pick this one."""
    return sum(pick(of, (n + 0.5) / draws) is one for n in range(draws)) / draws


@given(st.integers(1, 9), st.lists(st.floats(MIN_SHARE, 1), min_size=2, max_size=4))
def test_the_picked_share_grows_with_the_slow_start_share(others: int, shares: list[float]) -> None:
    """Among idle endpoints: more than 0, at most an equal part, more with a larger share."""
    parts = []
    for one in sorted(shares):
        late = Candidate(one)
        parts.append(picked_share([late, *(Candidate() for _ in range(others))], late, 2000))
        assert parts[-1] == pytest.approx(one / (others + 1), abs=0.05)
        assert parts[-1] > 0
    assert all(a <= b + 0.002 for a, b in pairwise(parts))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_endpoints_with_equal_shares_are_picked_equally_often(n: int) -> None:
    late = [Candidate(MIN_SHARE) for _ in range(n)]
    assert [picked_share(late, one) for one in late] == pytest.approx([1 / n] * n, abs=0.001)


def test_a_busy_endpoint_is_not_picked_whatever_its_share() -> None:
    busy, free = Candidate(1.0, in_flight=5), Candidate(1.0)
    assert picked_share([busy, free], busy) == 0
