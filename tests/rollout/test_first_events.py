"""Only the first event of a key in a step counts, so customers who always fail do not abort a healthy challenger."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout import first_events
from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import MIN_FOR_QUANTILE, Evidence, gather, split_counts
from crossfade.rollout.first_events import BITS, FirstEvents
from crossfade.rollout.verdict import Verdict
from crossfade.rollout.verdict_rule import CheckContext
from crossfade.stats.counts import ERROR, Cell, Events
from crossfade.stats.pairs import Pair, Pairs

from .counting import cell, check

KEYS = st.integers(0, 2**BITS - 1)


@given(st.lists(st.lists(KEYS, max_size=20), max_size=10))
def test_each_key_counts_once_however_the_keys_are_divided(parts):
    made = FirstEvents()
    assert sum(made.count(keys) for keys in parts) == len({key for keys in parts for key in keys})
    assert sum(made.count(keys) for keys in parts) == 0


def test_when_the_limit_is_reached_half_of_the_keys_are_left_out_and_none_counts_twice(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(first_events, "LIMIT", 64)
    rng = random.Random(5)
    keys = [rng.getrandbits(BITS) for _ in range(2000)]
    made = FirstEvents()
    counted = [key for key in keys if made.count([key])]
    assert made.halvings >= 4
    assert len(made.seen) < 64
    assert len(set(counted)) == len(counted) >= 64
    late = [key for key in counted if key >> (BITS - made.halvings) == 0]
    assert made.seen == set(late)  # the keys that still count are remembered
    assert made.count(keys) == 0


def sticky(backend: str, n: int, keys: list[int], version: int = 2) -> Cell:
    made = cell(backend, n, len(keys), version, times=())
    made.events[ERROR] = Events(keyed=len(keys), keys=keys)
    return made


def test_a_step_counts_the_first_event_of_each_key_and_every_error_without_a_key():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.1)
    gather(made, [sticky("v3", 10, [1, 1, 2]), sticky("v2", 90, [3, 4, 3])], ())
    gather(made, [sticky("v3", 10, [2, 5]), sticky("v2", 90, [4]), cell("v2", 10, 7)], ())
    (first,) = made.strata
    assert split_counts([first], ERROR) == [(0.1, 3, 2 + 7, 20, 190)]
    assert (first.events[ERROR].challenger.all, first.events[ERROR].champion.all) == (5, 4 + 7)
    assert (first.challenger.errors, first.challenger.events) == (
        5,
        {},
    )  # numbers for people count all requests

    made.open("r", 3, 1, 0.5)  # key 3 moves to the challenger
    gather(made, [sticky("v3", 10, [3, 2, 3], 3), sticky("v2", 10, [4], 3)], ())
    gather(made, [sticky("v3", 5, [2, 6], 2)], ())  # in flight since before the step
    assert [t[:3] for t in split_counts(made.strata, ERROR)] == [(0.1, 4, 9), (0.5, 2, 1)]

    made.open("r", 4, 2, 0.9)
    gather(made, [sticky("v3", 5, [7], 2)], ())  # two steps late: no test counts it
    assert (made.strata[0].events[ERROR].challenger.first, made.strata[0].challenger.errors) == (4, 8)
    assert set(made.firsts) == {1, 2}


def test_keys_with_an_event_are_remembered_over_a_restart():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.1)
    gather(made, [sticky("v3", 10, [2**64 - 1, 1])], ())
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Evidence)
    assert again == made
    gather(again, [sticky("v3", 10, [2**64 - 1, 1, 7])], ())
    assert again.strata[0].events[ERROR].challenger.first == 3


def test_events_whose_keys_were_dropped_do_not_count():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.1)
    cell_with_dropped_keys = sticky("v3", 10, [1, 2])
    cell_with_dropped_keys.errors, cell_with_dropped_keys.events[ERROR].keyed = 9, 8
    gather(made, [cell_with_dropped_keys], ())
    assert made.strata[0].events[ERROR].challenger.first == 3


STEPS = (0.05, 0.25, 0.5)
INCREASE = check("error_rate", max_increase=0)
MAX = check("error_rate", max="2%")


def ever_fails(rng: random.Random, count_all: bool) -> bool:
    """Ten of 500 customers always fail, on both sides. The weight grows over three steps, with 60 looks."""
    places = [rng.random() for _ in range(500)]
    made = Evidence("v2", "v3")
    for look in range(60):
        step = look // 20
        if len(made.strata) == step:
            made.open("r", step, step, STEPS[step])
        n = [0, 0]
        failed: tuple[list[int], list[int]] = ([], [])
        for who in (rng.randrange(500) for _ in range(100)):
            side = int(places[who] < STEPS[step])
            n[side] += 1
            if who % 50 == 0:
                failed[side].append(rng.getrandbits(BITS) if count_all else who)
        gather(
            made,
            [sticky(b, n[i], failed[i], step) for i, b in enumerate(("v2", "v3"))],
            (INCREASE,),
        )
        for question in (INCREASE, MAX):
            if (
                evaluate_check(question, made, CheckContext(step, 100, 0.05 / 2 / 4, 0.05 / 2)).verdict
                is Verdict.FAIL
            ):
                return True
    return False


def test_a_few_customers_who_always_fail_do_not_abort_a_healthy_challenger():
    rng = random.Random(17)
    assert sum(ever_fails(rng, count_all=False) for _ in range(60)) <= 3  # alpha is 5 %


def test_counting_every_event_of_these_customers_would_abort_it():
    rng = random.Random(17)
    assert sum(ever_fails(rng, count_all=True) for _ in range(30)) >= 4


def test_one_score_of_a_key_counts_in_a_step():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.1)
    before = cell("v2", 3, times=())
    before.keyed_scores = [(1, 10), (1, 10), (2, 20)] * MIN_FOR_QUANTILE
    gather(made, [before], ())
    assert made.predicted.buckets == {
        10: 2 * MIN_FOR_QUANTILE,
        20: MIN_FOR_QUANTILE,
    }  # all scores fix the levels
    (stratum,) = made.strata
    for counted in (3, 4):
        one = cell("v3", 4, times=())
        one.scores.add(0.5)
        one.keyed_scores = [(1, 10), (1, 11), (3, 30)]
        gather(made, [one], ())
        assert stratum.bins is not None
        assert (sum(stratum.bins.here), sum(stratum.bins.rest)) == (counted, 0)
        assert one.scores.buckets == {100: 1}  # another rollout may use the same cell
    assert stratum.challenger.keyed_scores == []
    made.open("r", 3, 1, 0.5)
    again = cell("v3", 4, version=3, times=())
    again.keyed_scores = [(1, 12)]
    gather(made, [again], ())
    bins = made.strata[-1].bins
    assert bins is not None
    assert (sum(bins.here), sum(bins.rest)) == (1, 0)


def test_one_pair_of_a_key_counts_in_a_step():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.0)
    changed, same = Pair(1, True, True, 0.5, None), Pair(1, False, False, 0.5, True)
    for n in (3, 0):
        one = cell("v3", 0, role="shadow")
        one.pairs.add(changed=False)
        one.keyed_pairs = [changed, same, Pair(3, True, False, 0.5, False), Pair(4, False, True, 0.5, None)]
        gather(made, [one], ())
        assert one.pairs.n == 1 + n
    (stratum,) = made.strata
    assert stratum.challenger.pairs == Pairs(n=5, changed=2, raised=1, chances=1.5, twice=1, lowered=1)
    assert stratum.challenger.keyed_pairs == []
    made.open("r", 3, 1, 0.5)
    again = cell("v3", 0, role="shadow", version=3)
    again.keyed_pairs = [same]
    gather(made, [again], ())
    assert made.strata[1].challenger.pairs == Pairs(n=1, chances=0.5, twice=1, noise=1)
