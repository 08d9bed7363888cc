"""Members of a group are compared by blocks of time."""

from __future__ import annotations

import itertools
import random
from math import exp, isfinite, log

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.alike import BLOCK, MOST, TIMES, Group, Member, Wealth, block_logs
from crossfade.stats.counts import REQUESTS

MEMBERS = st.dictionaries(
    st.sampled_from("abcde"), st.builds(Member, st.integers(0, 10**12), st.integers(0, 10**12)), max_size=5
)


@given(st.lists(st.integers(0, 60), min_size=2, max_size=4), st.integers(60, 100))
def test_a_block_is_fair_if_each_member_could_have_had_the_numbers_of_each_other(events, n):
    """The mean factor over all permutations of the members is at most 1, however the events depend on each other."""
    names = "abcd"[: len(events)]
    for j in range(len(TIMES)):
        factors = []
        for permuted in itertools.permutations(events):
            found = block_logs({name: Member(x, n) for name, x in zip(names, permuted, strict=True)})
            factors.append(exp(found["a"][j]) if found else 1.0)
        assert (
            sum(factors) / len(factors) <= 1 + 1e-9 or max(events) > n
        )  # more events than requests: other shares


def test_a_block_multiplies_the_wealth_of_the_only_member_with_events_by_two_at_most():
    found = block_logs({"a": Member(1000, 1000), "b": Member(0, 1000), "c": Member(0, 1000)})
    assert found["a"] == [log(MOST)] * len(TIMES)
    assert all(value < -100 for value in found["b"])


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"a": Member(3, 10)},
        {"a": Member(0, 5), "b": Member(0, 5)},
        {"a": Member(2, 9), "b": Member(0, 0)},
    ],
)
def test_without_events_or_without_two_members_nothing_is_bet(members):
    assert block_logs(members) == {}


def test_a_member_that_is_the_worst_in_a_dozen_blocks_is_found_and_one_burst_is_not():
    group = Group()
    for second in range(1, 60):
        group.add(second, {"a": {REQUESTS: 10, "error": 3}, "b": {REQUESTS: 10}, "c": {REQUESTS: 10}})
    assert group.log_e("error", "a") > log(3000)
    assert group.log_e("error", "b") < 0
    assert group.proven("error", 0.001) == {"a"}
    assert group.proven("error", 1e-12) == group.proven("another kind", 0.001) == set()
    burst = Group()
    burst.add(1, {"a": {REQUESTS: 1000, "error": 1000}, "b": {REQUESTS: 1000}, "c": {REQUESTS: 1000}})
    burst.close()
    assert burst.log_e("error", "a") < log(MOST)


def test_a_member_that_turns_bad_late_is_found_too():
    group = Group()
    for second in range(1, 3600):
        bad = second > 3480
        group.add(
            second, {"a": {REQUESTS: 10, "error": 3 if bad else second % 2}, "b": {REQUESTS: 10, "error": 1}}
        )
    assert group.log_e("error", "a") > log(2000)


@given(MEMBERS, st.integers(1, 10**9))
def test_no_counts_give_other_than_a_number(members, blocks):
    wealth = Wealth(blocks)
    for _ in range(3):
        wealth.close(members)
    assert all(isfinite(wealth.log_e(name)) for name in "abcde")


@given(st.lists(MEMBERS, max_size=6))
def test_a_group_that_was_stored_goes_on_as_before(ticks):
    one, other = Group(), Group()
    for second, members in enumerate(ticks):
        counts = {name: {REQUESTS: m.n, "error": m.x} for name, m in members.items()}
        one.add(second * BLOCK, counts)
        other.add(second * BLOCK, counts)
        other = msgspec.json.decode(msgspec.json.encode(other), type=Group)
    assert one == other


def test_what_is_forgotten_begins_again():
    group = Group()
    for second in range(1, 60):
        group.add(second, {"a": {REQUESTS: 10, "error": 3}, "b": {REQUESTS: 10}})
    group.forget("a")
    assert group.log_e("error", "a") == 0 and "a" not in group.counted


def worlds(events_of, runs: int, seconds: int) -> float:
    """The share of runs in which some member is called bad at 0.1 % divided by their number."""
    found = 0
    for run in range(runs):
        rng, group = random.Random(run), Group()
        called = False
        for second in range(1, seconds):
            group.add(second, {name: {REQUESTS: 20, "error": events_of(rng)} for name in "abc"})
            called = called or any(group.log_e("error", name) >= log(3000) for name in "abc")
        found += called
    return found / runs


@pytest.mark.parametrize(
    "events_of",
    [
        lambda rng: sum(rng.random() < 0.02 for _ in range(20)),
        lambda rng: 20 if rng.random() < 0.01 else 0,  # each has pauses of its own
    ],
)
def test_members_that_are_alike_are_hardly_ever_called_bad(events_of):
    assert worlds(events_of, runs=60, seconds=300) == 0
