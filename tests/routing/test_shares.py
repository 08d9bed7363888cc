"""The ledger with traffic: observed shares, customers that a change of weights moves, independent routes.

Intervals are two-sided 99.9 % of the binomial in its normal approximation. All draws are seeded, or hashes
of fixed keys, so the tests are deterministic.
"""

from __future__ import annotations

from collections import Counter
from math import sqrt
from random import Random

import pytest

from crossfade.routing.ledger import (
    BUCKETS,
    Ledger,
    hash_of,
    new_ledger,
    restore,
    reweigh,
    salt_of,
)
from crossfade.routing.router import KEPT_KEYS, CompiledRoute
from crossfade.routing.snapshot import Sticky
from tests.ledgers import backend_of, bucket_of
from tests.routing.requests import request, route

Z_999 = 3.2905
N = 200_000
SALT = salt_of("churn")
CHAMPION, CHALLENGER = "churn-v2", "churn-v3"


def at(share: int) -> dict[str, int]:
    return {CHAMPION: BUCKETS - share, CHALLENGER: share}


def compiled(ledger: Ledger) -> CompiledRoute:
    return CompiledRoute(route("churn", sticky=(Sticky("header", "X-Customer-Id"),), ledger=ledger))


def assert_share(observed: int, share: float, n: int = N) -> None:
    assert abs(observed / n - share) <= Z_999 * sqrt(share * (1 - share) / n)


@pytest.fixture(scope="module")
def keys() -> list[bytes]:
    return [b"customer-%d" % i for i in range(N)]


def assigned(ledger: Ledger, keys: list[bytes]) -> list[str]:
    churn = compiled(ledger)
    return [churn.assign_key(key).assigned.backend for key in keys]


def test_keyed_requests_follow_the_weights(keys):
    """10 %, then 25 % of the customers: the challenger keeps its own, and only moved buckets change."""
    ledger = new_ledger(at(1000), SALT)
    before = assigned(ledger, keys)
    assert_share(before.count(CHALLENGER), 0.10)
    assert assigned(ledger, keys) == before
    grown = reweigh(ledger, at(2500), SALT)
    after = assigned(grown, keys)
    assert_share(after.count(CHALLENGER), 0.25)
    changed = {b for b in range(BUCKETS) if backend_of(ledger, b) != backend_of(grown, b)}
    assert len(changed) == 1500
    for key, old, new in zip(keys, before, after, strict=True):
        if old != new:
            assert (old, new) == (CHAMPION, CHALLENGER)
            assert bucket_of(key, SALT) in changed
    assert assigned(restore(ledger, grown), keys) == before
    assert assigned(reweigh(grown, at(1000), SALT), keys) == before


def drawn(churn: CompiledRoute, draw: float) -> str:
    """The backend of a request without a key."""
    return churn.assign(request("/"), None, b"10.0.0.1", lambda: draw).assigned.backend


def test_unkeyed_requests_follow_the_weights():
    churn = compiled(new_ledger(at(1000), SALT))
    draw = Random(20_250_701).random
    assert_share([drawn(churn, draw()) for _ in range(N)].count(CHALLENGER), 0.10)


def test_a_draw_reaches_each_bucket_and_no_other():
    ledger = new_ledger(at(1000), SALT)
    churn = compiled(ledger)
    assert [drawn(churn, (b + 0.5) / BUCKETS) for b in range(BUCKETS)] == [
        backend_of(ledger, b) for b in range(BUCKETS)
    ]
    assert drawn(churn, 0.0) == backend_of(ledger, 0)
    assert drawn(churn, 1 - 2**-53) == backend_of(ledger, BUCKETS - 1)


def test_cached_keys_keep_their_backend_and_the_cache_is_bounded():
    churn = compiled(new_ledger(at(1000), SALT))
    keys = [b"customer-%d" % n for n in range(2 * KEPT_KEYS)] + [b"long" * 100]
    head = {key: request("/", "X-Customer-Id: " + key.decode()) for key in keys}
    first = {key: churn.assign(head[key], None, b"", float).assigned for key in keys}
    assert len(churn.keyed) <= KEPT_KEYS
    assert b"long" * 100 not in churn.keyed
    for _ in range(2):
        assert {key: churn.assign(head[key], None, b"", float).assigned for key in keys} == first


@pytest.mark.parametrize("form", ["customer-%d", "%d", "%08d", "user%d@example.com", "cust-%d-x", "0000-%d"])
def test_similar_keys_spread_evenly(form):
    """Chi-square over 100 groups of buckets: 148.2 is exceeded by one in a thousand (99 degrees of freedom)."""
    n = 50_000
    groups = Counter(bucket_of((form % i).encode(), SALT) // 100 for i in range(n))
    chi = sum((groups[g] - n / 100) ** 2 / (n / 100) for g in range(100))
    assert chi < 148.23


def test_experiments_on_two_routes_are_independent(keys):
    """A customer's backends on two routes are independent (chi-square, 1 degree of freedom: 10.83)."""
    sample = keys[:50_000]
    other = salt_of("fraud")
    first, second = new_ledger(at(5000), SALT), new_ledger(at(5000), other)
    cells = Counter(
        (backend_of(first, bucket_of(k, SALT)), backend_of(second, bucket_of(k, other))) for k in sample
    )
    rows = {a: sum(n for (x, _), n in cells.items() if x == a) for a in (CHAMPION, CHALLENGER)}
    columns = {b: sum(n for (_, y), n in cells.items() if y == b) for b in (CHAMPION, CHALLENGER)}
    chi = 0.0
    for a, row in rows.items():
        for b, column in columns.items():
            expected = row * column / len(sample)
            chi += (cells[a, b] - expected) ** 2 / expected
    assert chi < 10.83


def test_routes_whose_names_differ_in_one_character_are_independent():
    salts = salt_of("churn-1"), salt_of("churn-2")
    same = sum(bucket_of(b"%d" % i, salts[0]) == bucket_of(b"%d" % i, salts[1]) for i in range(20_000))
    assert same < 12  # 2 expected; 12 or more has a chance of one in a million


def test_the_key_is_read_from_the_request():
    """From bytes to backend: the same customer, whatever the rest of the request is."""
    churn = compiled(new_ledger(at(5000), SALT))
    heads = [
        request("/a", "X-Customer-Id: C-7", method="GET"),
        request("/b?c", "X-Other: 1", "x-customer-id:  C-7 "),
    ]
    draws = [lambda: 0.1, lambda: 0.9]
    assigned = [churn.assign(head, None, b"10.0.0.1", draw) for head in heads for draw in draws]
    assert {assignment.key for assignment in assigned} == {hash_of(b"C-7", SALT)}
