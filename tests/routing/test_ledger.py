"""Law 2: shares equal the weights, a change moves Σ|Δw|/2 buckets, growth keeps buckets, restore is exact."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.routing.ledger import (
    BUCKETS,
    Ledger,
    bucket_order,
    moved,
    new_ledger,
    restore,
    reweigh,
    salt_of,
)
from tests.ledgers import bucket_of
from tests.tries import tries

SALT = salt_of("churn")
NAMES = ("churn-v1", "churn-v2", "churn-v3", "churn-v4", "churn-v5", "churn-v6")
Weights = dict[str, int]


@st.composite
def weights(draw, names: tuple[str, ...] = NAMES) -> Weights:
    """Weights of 2 to 6 backends in any order; any may be 0."""
    chosen = draw(st.lists(st.sampled_from(names), min_size=2, max_size=len(names), unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, BUCKETS), min_size=len(chosen) - 1, max_size=len(chosen) - 1)))
    edges = [0, *cuts, BUCKETS]
    return {name: edges[i + 1] - edges[i] for i, name in enumerate(chosen)}


def owners(ledger: Ledger) -> list[str]:
    return [ledger.backends[slot] for slot in ledger.slots]


def buckets_of(ledger: Ledger, name: str) -> set[int]:
    return {bucket for bucket, owner in enumerate(owners(ledger)) if owner == name}


def distance(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    names = before.keys() | after.keys()
    return sum(abs(before.get(n, 0) - after.get(n, 0)) for n in names) // 2


def weights_above_0(ledger: Ledger) -> Weights:
    return {name: n for name, n in ledger.weights.items() if n}


def digest(ledger: Ledger) -> str:
    return sha256(repr((ledger.backends, ledger.version)).encode() + ledger.slots).hexdigest()


@settings(max_examples=tries(40))
@given(weights(), st.lists(weights(), min_size=1, max_size=5))
def test_law_2_over_any_history(first, changes):
    ledger = new_ledger(first, SALT)
    assert weights_above_0(ledger) == {name: w for name, w in first.items() if w}
    assert ledger.version == 1
    for wanted in changes:
        before, ledger = ledger, reweigh(ledger, wanted, SALT)
        assert weights_above_0(ledger) == {name: w for name, w in wanted.items() if w}
        assert len(ledger.slots) == BUCKETS
        assert wanted.keys() <= set(ledger.backends)
        assert moved(before, ledger) == distance(before.weights, wanted)
        assert ledger.version == before.version + 1
        for name, weight in before.weights.items():
            if wanted.get(name, 0) >= weight:
                assert buckets_of(before, name) <= buckets_of(ledger, name)
            else:
                assert buckets_of(before, name) >= buckets_of(ledger, name)


@settings(max_examples=tries(20))
@given(weights(), weights(), weights())
def test_restore_gives_the_identical_map(first, second, third):
    former = new_ledger(first, SALT)
    current = reweigh(reweigh(former, second, SALT), third, SALT)
    back = restore(former, current)
    assert (back.backends, back.slots) == (former.backends, former.slots)
    assert back.version == current.version + 1
    assert moved(former, back) == 0


@settings(max_examples=tries(20))
@given(weights(), st.randoms(use_true_random=False))
def test_the_order_of_names_does_not_matter(wanted, random):
    """Files that differ in order only give the same map in each replica."""
    shuffled = list(wanted.items())
    random.shuffle(shuffled)
    assert new_ledger(dict(shuffled), SALT) == new_ledger(wanted, SALT)
    start = new_ledger({"churn-v1": BUCKETS}, SALT)
    assert reweigh(start, dict(shuffled), SALT) == reweigh(start, wanted, SALT)


@settings(max_examples=tries(20))
@given(st.lists(st.integers(0, BUCKETS), min_size=1, max_size=6).map(sorted))
def test_several_steps_give_the_map_of_one_step(steps):
    start = ledger = new_ledger({"old": BUCKETS}, SALT)
    for share in steps:
        ledger = reweigh(ledger, {"old": BUCKETS - share, "new": share}, SALT)
    direct = reweigh(start, {"old": BUCKETS - steps[-1], "new": steps[-1]}, SALT)
    assert owners(ledger) == owners(direct)


@settings(max_examples=tries(20))
@given(st.integers(0, 5000), st.lists(st.integers(0, BUCKETS), min_size=1, max_size=5))
def test_two_weights_that_rise_and_fall_back_give_the_former_map(start, others):
    former = ledger = new_ledger({"old": BUCKETS - start, "new": start}, SALT)
    for share in [*others, start]:
        ledger = reweigh(ledger, {"old": BUCKETS - share, "new": share}, SALT)
    assert owners(ledger) == owners(former)


@pytest.mark.parametrize("share", [0, 1, 100, 2500, 5000])
def test_a_first_ledger_equals_the_one_that_a_rollout_reaches(share):
    climbed = reweigh(
        new_ledger({"churn-v2": BUCKETS}, SALT), {"churn-v2": BUCKETS - share, "churn-v3": share}, SALT
    )
    first = new_ledger({"churn-v2": BUCKETS - share, "churn-v3": share}, SALT)
    assert owners(first) == owners(climbed)


def test_three_backends_move_only_the_difference():
    before = new_ledger({"A": 1000, "B": 3000, "C": 6000}, SALT)
    after = reweigh(before, {"A": 2000, "B": 3000, "C": 5000}, SALT)
    assert moved(before, after) == BUCKETS // 10
    assert buckets_of(after, "B") == buckets_of(before, "B")
    assert buckets_of(after, "A") - buckets_of(before, "A") == buckets_of(before, "C") - buckets_of(
        after, "C"
    )


def test_a_backend_that_replaces_another_gets_its_buckets():
    before = new_ledger({"A": 9000, "B": 1000}, SALT)
    after = reweigh(before, {"A": 9000, "C": 1000}, SALT)
    assert buckets_of(after, "C") == buckets_of(before, "B")
    assert after.weights["B"] == 0
    assert "B" not in reweigh(after, {"A": 9000, "C": 1000}, SALT).backends


def test_similar_names_do_not_change_the_map():
    """The map depends on the weights, not on how similar the names are."""
    similar = reweigh(new_ledger({"model-1": BUCKETS}, SALT), {"model-1": 7000, "model-2": 3000}, SALT)
    different = reweigh(new_ledger({"apple": BUCKETS}, SALT), {"apple": 7000, "zebra": 3000}, SALT)
    assert similar.slots == different.slots
    assert weights_above_0(similar) == {"model-1": 7000, "model-2": 3000}


@pytest.mark.parametrize(
    "invalid",
    [{}, {"A": 9999}, {"A": 10_001}, {"A": 10_001, "B": -1}, {"A": 5000, "B": 5001}, {"A": 0}],
)
def test_weights_that_do_not_add_up_to_10000_are_refused(invalid):
    with pytest.raises(ValueError, match="add up to 10000"):
        new_ledger(invalid, SALT)
    with pytest.raises(ValueError, match="add up to 10000"):
        reweigh(new_ledger({"A": BUCKETS}, SALT), invalid, SALT)


def test_weights_are_the_numbers_of_buckets():
    ledger = Ledger(("A", "B"), bytes([0, 1] * (BUCKETS // 2)))
    assert ledger.weights == {"A": 5000, "B": 5000}


OTHER_PROCESS = """
from tests.routing.test_ledger import digest, history
from crossfade.routing.ledger import salt_of
from tests.ledgers import bucket_of
print(digest(history()), *[bucket_of(b"customer-%d" % i, salt_of("churn")) for i in range(100)])
"""


def history() -> Ledger:
    ledger = new_ledger({"churn-v2": 7000, "churn-v3": 2000, "churn-v4": 1000}, SALT)
    for wanted in ({"churn-v2": 5000, "churn-v3": 5000}, {"churn-v3": 4000, "churn-v5": 6000}):
        ledger = reweigh(ledger, wanted, SALT)
    return ledger


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_another_process_computes_the_same_map(seed):
    """hash() of text differs there, and with it the order of sets."""
    ended = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    other_digest, *buckets = ended.stdout.split()
    assert other_digest == digest(history())
    assert list(map(int, buckets)) == [bucket_of(b"customer-%d" % i, SALT) for i in range(100)]


def test_buckets_are_the_same_in_each_release():
    """A release that changes one of these values would reassign every customer."""
    assert SALT.hex() == "7c106721e1f0f27470e1788c907ae2ec"
    keys = (b"1", b"2", b"alice", "çelik".encode(), b"")
    assert [bucket_of(key, SALT) for key in keys] == [17, 5996, 4301, 5848, 7155]
    assert list(bucket_order(SALT)[:5]) == [5168, 2734, 8430, 7170, 9063]


def test_the_order_holds_each_bucket_once():
    assert sorted(bucket_order(SALT)) == list(range(BUCKETS))
    assert bucket_order(SALT) != bucket_order(salt_of("fraud"))


def test_orders_of_many_routes_keep_no_memory():
    """A reload that brings new routes brings new salts: all have one order, begun at another place."""
    first = list(bucket_order(SALT))
    for n in range(300):
        order = list(bucket_order(salt_of(f"route-{n}")))
        at = order.index(first[0])
        assert order[at:] + order[:at] == first
