"""Power of two choices: two different candidates, each pair equally often, the less loaded one wins."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.routing.balance import pick

DRAWS = st.floats(0, 1, exclude_max=True)


@dataclass
class Endpoint:
    name: int
    in_flight: int = 0
    share: float = 1.0


class RecordingEndpoint:
    """An endpoint that records reads of its load: the endpoints read are the candidates."""

    def __init__(self, name: int, seen: list[int]) -> None:
        self.name = name
        self.seen = seen
        self.share = 1.0

    @property
    def in_flight(self) -> int:
        self.seen.append(self.name)
        return 0

    @in_flight.setter
    def in_flight(self, value: int) -> None:
        raise AssertionError("a pick changes nothing")


def candidates(n: int, draw: float) -> set[int]:
    seen: list[int] = []
    pick([RecordingEndpoint(i, seen) for i in range(n)], draw)
    return set(seen)


def evenly(n: int) -> list[float]:
    return [(i + 0.5) / n for i in range(n)]


@given(DRAWS)
def test_the_only_endpoint_is_picked(draw):
    only = Endpoint(0, 99)
    assert pick([only], draw) is only


@given(st.integers(2, 50), DRAWS)
def test_the_two_candidates_differ(n, draw):
    assert len(candidates(n, draw)) == 2


@pytest.mark.parametrize("n", [2, 3, 4, 7, 10])
def test_each_pair_is_drawn_equally_often(n):
    pairs = Counter(frozenset(candidates(n, draw)) for draw in evenly(n * (n - 1) * 10))
    assert len(pairs) == n * (n - 1) // 2
    assert set(pairs.values()) == {20}


@pytest.mark.parametrize("n", [2, 3, 4, 7, 10])
def test_idle_endpoints_are_picked_equally_often(n):
    endpoints = [Endpoint(i) for i in range(n)]
    picks = Counter(pick(endpoints, draw).name for draw in evenly(n * (n - 1) * 10))
    assert picks == dict.fromkeys(range(n), (n - 1) * 10)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), DRAWS)
def test_the_less_loaded_candidate_wins(loads, draw):
    endpoints = [Endpoint(i, load) for i, load in enumerate(loads)]
    chosen = pick(endpoints, draw)
    pair = candidates(len(loads), draw)
    assert chosen.name in pair
    assert chosen.in_flight == min(loads[i] for i in pair)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 7, 11, 100, 1000])
def test_the_lowest_and_the_highest_draw(n):
    endpoints = [Endpoint(i) for i in range(n)]
    assert pick(endpoints, 0.0).name == 0
    assert pick(endpoints, 1 - 2**-53).name == n - 1


def test_the_busiest_of_many_is_never_picked():
    endpoints = [Endpoint(i) for i in range(5)]
    endpoints[3].in_flight = 1
    assert all(pick(endpoints, draw).name != 3 for draw in evenly(1000))
