"""Power of two choices: two different candidates, each pair equally often, the less loaded one wins."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.routing.balance import pick, pick_by_weight
from tests.tries import tries

DRAWS = st.floats(0, 1, exclude_max=True)


@dataclass
class Endpoint:
    name: int
    in_flight: int = 0
    share: float = 1.0
    weight: int = 1


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


# ── weights ───────────────────────────────────────────────────────────────────────────────────────

WEIGHTS = st.lists(st.integers(1, 20), min_size=2, max_size=6)


@given(WEIGHTS)
@settings(max_examples=tries(30), deadline=None)
def test_idle_endpoints_are_picked_by_weight(weights: list[int]) -> None:
    endpoints = [Endpoint(i, weight=weight) for i, weight in enumerate(weights)]
    draws = evenly(2_000)
    picks = Counter(pick_by_weight(endpoints, draw).name for draw in draws)
    for i, weight in enumerate(weights):
        assert abs(picks[i] / len(draws) - weight / sum(weights)) < 0.002


@given(WEIGHTS, st.integers(1, 64), st.integers(0, 2**32))
@settings(max_examples=tries(20), deadline=None)
def test_long_run_shares_are_those_of_the_weights_at_any_load(
    weights: list[int], load: int, seed: int
) -> None:
    """`load` requests at a time, which all take equally long."""
    endpoints = [Endpoint(i, weight=weight) for i, weight in enumerate(weights)]
    random, running, picks = Random(seed), deque[Endpoint](), Counter[int]()
    rounds = 3000
    for _ in range(rounds):
        if len(running) == load:
            running.popleft().in_flight -= 1
        picked = pick_by_weight(endpoints, random.random())
        picked.in_flight += 1
        running.append(picked)
        picks[picked.name] += 1
    for i, weight in enumerate(weights):
        expected = weight / sum(weights)
        assert abs(picks[i] / rounds - expected) < 0.12


@given(WEIGHTS, DRAWS)
def test_an_endpoint_with_too_much_in_flight_for_its_weight_gets_nothing(
    weights: list[int], draw: float
) -> None:
    endpoints = [Endpoint(i, in_flight=10 * weight, weight=weight) for i, weight in enumerate(weights)]
    busy = pick_by_weight(endpoints, draw)
    busy.in_flight += 25
    assert pick_by_weight(endpoints, draw) is not busy


@given(WEIGHTS, DRAWS)
def test_a_slow_start_gives_the_rest_to_the_other(weights: list[int], draw: float) -> None:
    endpoints = [Endpoint(i, weight=weight, share=0.0 if i == 0 else 1.0) for i, weight in enumerate(weights)]
    assert pick_by_weight(endpoints, draw) is not endpoints[0]
