"""Rate limits: a token bucket for each key, as exact as counted tokens, in memory that never grows."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.routing.key import decode_json
from crossfade.routing.ledger import hash_of
from crossfade.routing.rate import ENTRY_BYTES, SLACK, WAYS, RateLimit, RateTable
from crossfade.routing.snapshot import Rate, Sticky
from tests.routing.requests import request

IP = Sticky("client_ip")


def limit(per_second: float = 1.0, burst: int = 2, salt: bytes = b"s", key: Sticky = IP) -> RateLimit:
    return RateLimit(Rate(key, per_second, burst), salt)


def table(sets: int = 64) -> RateTable:
    return RateTable(memoryview(bytearray(sets * WAYS * ENTRY_BYTES)))


class Bucket:
    """The reference: tokens are added at a rate, up to a burst."""

    def __init__(self, per_second: float, burst: int) -> None:
        self.per_second = Fraction(per_second)
        self.burst = self.tokens = Fraction(burst)
        self.at = Fraction(0)

    def take(self, now: Fraction) -> Fraction:
        """0, or the seconds until there is a token."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.per_second)
        self.at = now
        if self.tokens < 1:
            return (1 - self.tokens) / self.per_second
        self.tokens -= 1
        return Fraction(0)


ticks = st.lists(st.integers(0, 200), max_size=80)  # 64ths of a second between requests
rates = st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0, 64.0])
bursts = st.integers(1, 10)


@given(
    rates, bursts, st.lists(st.tuples(st.integers(0, 200), st.sampled_from([b"a", b"b", b"c"])), max_size=80)
)
def test_each_key_has_a_token_bucket_of_its_own(per_second, burst, requests):
    buckets = {key: Bucket(per_second, burst) for key in (b"a", b"b", b"c")}
    shared, rate = table(), limit(per_second, burst)
    now = Fraction(0)
    for wait, key in requests:
        now += Fraction(wait, 64)
        assert shared.charge(rate, key, float(now)) == float(buckets[key].take(now))


@given(st.floats(0.01, 1e4), bursts, st.lists(st.floats(0, 3), max_size=80), st.floats(0, 1e7))
def test_no_interval_admits_more_than_burst_and_rate(per_second, burst, waits, start):
    shared, rate = table(), limit(per_second, burst)
    admitted: list[float] = []
    now = start
    for wait in waits:
        now += wait
        if shared.charge(rate, b"k", now) == 0.0:
            admitted.append(now)
    for first, begun in enumerate(admitted):
        for n, at in enumerate(admitted[first:], 1):
            assert n <= burst + (at - begun + SLACK) * per_second * (1 + 1e-6) + 1e-6


@given(st.floats(0.01, 1e4), bursts, ticks)
def test_a_request_after_the_stated_wait_is_admitted(per_second, burst, waits):
    shared, rate = table(), limit(per_second, burst)
    now = 0.0
    for wait in waits:
        now += wait / 64
        stated = shared.charge(rate, b"k", now)
        if stated:
            if stated > 4 * SLACK:
                assert shared.charge(rate, b"k", now + stated - 2 * SLACK) > 0, "not sooner"
            now += stated
            assert shared.charge(rate, b"k", now) == 0.0


def test_a_refusal_takes_no_token():
    shared, rate = table(), limit(1.0, 1)
    assert shared.charge(rate, b"k", 0.0) == 0.0
    assert [shared.charge(rate, b"k", 0.5) for _ in range(100)] == [0.5] * 100
    assert shared.charge(rate, b"k", 1.0) == 0.0


def test_routes_do_not_share_buckets():
    shared = table()
    assert [shared.charge(limit(1.0, 1, salt), b"k", 0.0) for salt in (b"one", b"two")] == [0.0, 0.0]


def test_workers_share_buckets():
    memory = memoryview(bytearray(64 * WAYS * ENTRY_BYTES))
    workers = [RateTable(memory) for _ in range(4)]
    passed = [workers[n % 4].charge(limit(1.0, 6), b"k", 0.0) == 0.0 for n in range(20)]
    assert passed.count(True) == 6


def test_a_key_that_spent_its_burst_is_replaced_last():
    """Thousands of keys that are used once do not replace it, even in a table that is far too small."""
    shared, rate = table(sets=1), limit(1.0, 100)
    for _ in range(100):
        assert shared.charge(rate, b"heavy", 0.0) == 0.0
    for n in range(10_000):
        assert shared.charge(rate, b"%d" % n, 0.0) == 0.0
        assert shared.charge(rate, b"heavy", 0.0) == 1.0


def test_full_buckets_are_replaced_first():
    """A key whose bucket is full again is replaced before one whose bucket is not."""
    shared = table(sets=1)
    rested, tired = limit(1.0, 10), limit(0.01, 10)
    for n in range(WAYS - 1):
        shared.charge(tired, b"tired-%d" % n, 0.0)
    shared.charge(rested, b"rested", 0.0)
    shared.charge(rested, b"new", 5.0)
    first = hash_of(b"rested", rested.salt)
    assert first not in shared.hashes.tolist()
    assert all(hash_of(b"tired-%d" % n, tired.salt) in shared.hashes.tolist() for n in range(WAYS - 1))


@pytest.mark.parametrize(
    ("source", "fields", "body", "expected"),
    [
        (IP, (), b"", b"k10.0.0.9"),
        (Sticky("header", "X-Key"), ("X-Key: K",), b"", b"kK"),
        (Sticky("header", "X-Key"), (), b"", b"a10.0.0.9"),
        (Sticky("header", "X-Key"), ("X-Key:",), b"", b"a10.0.0.9"),
        (Sticky("header", "X-Key"), ("X-Key: 10.0.0.9",), b"", b"k10.0.0.9"),
        (Sticky("header", "X-Key"), ("X-Key: new", "X-Key: K"), b"", b"a10.0.0.9"),
        (Sticky("header", "X-Key"), ("X-Key: K", "x-key: new"), b"", b"a10.0.0.9"),
        (Sticky("cookie", "sid"), ("Cookie: x=1", "Cookie: sid=K"), b"", b"kK"),
        (Sticky("json", "user.id"), (), b'{"user": {"id": 7}}', b"k7"),
        (Sticky("json", "user.id"), (), b"no json", b"a10.0.0.9"),
    ],
)
def test_a_request_without_the_key_is_limited_by_its_clients_address(source, fields, body, expected):
    assert limit(key=source).key(request("/", *fields), decode_json(body), b"10.0.0.9") == expected


@pytest.mark.parametrize(
    ("prefix", "clients", "buckets"),
    [
        (64, ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"], 2),
        (56, ["2001:db8::1", "2001:db8:0:ff::1", "2001:db8:0:100::1"], 2),
        (128, ["2001:db8::1", "2001:db8::2"], 2),
        (1, ["2001:db8::1", "fe80::1%eth0", "::1"], 2),
        (64, ["203.0.113.7", "203.0.113.8", "unknown"], 3),
    ],
)
@pytest.mark.parametrize("key", [IP, Sticky("header", "x-key")])
def test_an_ipv6_client_counts_by_its_network(
    key: Sticky, prefix: int, clients: list[str], buckets: int
) -> None:
    """Where the client's address is the key, and where it stands in for a key that is absent."""
    limit = RateLimit(Rate(key, 1.0, 1, prefix), b"s")
    head = request()
    assert len({limit.key(head, None, client.encode()) for client in clients}) == buckets
