"""Ejection and slow start: who is passed over, for how long, and how it comes back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.routing.balance import pick
from crossfade.routing.health import FIRST_SHARE, LONGEST, Health, is_due, share
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


# ── who is ejected ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("failures", "due"), [(0, False), (2, False), (3, True), (9, True)])
def test_so_many_failures_in_a_row(failures: int, due: bool) -> None:
    health = failing(failures)
    assert is_due(health, RULE, [health, Health()]) is due


def test_the_only_endpoint_is_never_ejected() -> None:
    health = failing()
    assert not is_due(health, replace(RULE, max_share=1.0), [health])


@given(st.integers(2, 30), SHARES)
def test_never_more_than_the_share_and_never_the_last(n: int, most: float) -> None:
    rule = replace(RULE, max_share=most)
    peers = [failing() for _ in range(n)]
    for health in peers:
        if is_due(health, rule, peers):
            health.eject(rule, 0.0)
    out = sum(peer.until is not None for peer in peers)
    assert 1 <= out <= n - 1
    assert out == 1 or out <= n * most


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("fwt")), max_size=80))
def test_whatever_happens_one_is_left(events: list[tuple[int, str]]) -> None:
    """f: one more failure, w: an answer, t: time passes."""
    peers = [Health() for _ in range(5)]
    now = 0.0
    for who, what in events:
        health = peers[who]
        if what == "f":
            health.failures += 1
            if is_due(health, RULE, peers):
                health.eject(RULE, now)
        elif what == "w":
            health.failures = 0
        else:
            now += 7.0
            for peer in peers:
                peer.lapse(now)
        assert sum(peer.until is not None for peer in peers) <= 2
        assert all(peer.until is None or peer.until > now for peer in peers)


def test_one_that_is_out_is_not_ejected_again() -> None:
    health = ejected()
    health.failures = 9  # requests in flight that fail after it went out
    assert not is_due(health, RULE, [health, Health(), Health(), Health()])


# ── for how long ──────────────────────────────────────────────────────────────────────────────────


def test_each_ejection_in_a_row_is_longer_up_to_a_limit() -> None:
    health, now = Health(), 0.0
    lengths = []
    for _ in range(40):
        lengths.append(health.eject(RULE, now))
        now += lengths[-1]
        health.lapse(now)
        assert health.until is None
    assert lengths[:3] == [10.0, 20.0, 30.0]
    assert lengths == sorted(lengths)
    assert lengths[-1] == LONGEST


@pytest.mark.parametrize(("served", "lasts"), [(0, 40), (9, 40), (10, 30), (25, 20), (30, 10), (1e9, 10)])
def test_serving_well_makes_ejections_forgotten(served: float, lasts: float) -> None:
    health, now = Health(), 0.0
    for _ in range(3):
        now += health.eject(RULE, now)
        health.lapse(now)
    assert health.eject(RULE, now + served) == lasts


@given(TIMES, st.floats(0, 100))
def test_it_is_back_when_its_time_is_over_and_not_before(now: float, later: float) -> None:
    health = ejected(now)
    until = health.until
    assert until == now + 10.0
    health.lapse(now + later)
    assert (health.until is None) is (now + later >= until)
    assert health.failures == 0


def test_a_probe_that_succeeds_ends_it() -> None:
    health = ejected(now=5.0)
    health.come_back(6.0)
    assert (health.until, health.failures, health.began) == (None, 0, 6.0)


# ── slow start ────────────────────────────────────────────────────────────────────────────────────


@given(TIMES, st.floats(0, 1000), st.lists(st.floats(0, 2000), min_size=2))
def test_a_share_grows_and_is_never_nothing(began: float, over: float, elapsed: list[float]) -> None:
    health = Health(began)
    shares = [share(health, over, began + seconds) for seconds in sorted(elapsed)]
    assert all(a <= b for a, b in pairwise(shares))
    assert all(FIRST_SHARE <= s <= 1 for s in shares)
    assert share(health, over, (began + over) * 1.001) == 1.0


def test_what_was_there_from_the_start_has_its_full_share() -> None:
    assert share(Health(), 10.0, 0.0) == 1.0


def test_no_slow_start_is_a_full_share_at_once() -> None:
    assert share(Health(5.0), 0.0, 5.0) == 1.0


class Candidate:
    def __init__(self, share: float = 1.0, in_flight: int = 0) -> None:
        self.share = share
        self.in_flight = in_flight


def picked(of: list[Candidate], one: Candidate, draws: int = 20_000) -> float:
    """The share of evenly spread draws that pick this one."""
    return sum(pick(of, (n + 0.5) / draws) is one for n in range(draws)) / draws


@given(st.integers(1, 9), st.lists(st.floats(FIRST_SHARE, 1), min_size=2, max_size=4))
def test_what_is_picked_grows_with_the_share(others: int, shares: list[float]) -> None:
    """Among idle endpoints: never nothing, never more than an equal part, more with a larger share."""
    parts = []
    for one in sorted(shares):
        late = Candidate(one)
        parts.append(picked([late, *(Candidate() for _ in range(others))], late, 2000))
        assert parts[-1] == pytest.approx(one / (others + 1), abs=0.05)
        assert parts[-1] > 0
    assert all(a <= b + 0.002 for a, b in pairwise(parts))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_when_all_come_up_at_once_all_are_picked_alike(n: int) -> None:
    late = [Candidate(FIRST_SHARE) for _ in range(n)]
    assert [picked(late, one) for one in late] == pytest.approx([1 / n] * n, abs=0.001)


def test_a_busy_one_is_left_alone_whatever_its_share() -> None:
    busy, free = Candidate(1.0, in_flight=5), Candidate(1.0)
    assert picked([busy, free], busy) == 0
