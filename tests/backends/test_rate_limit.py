from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_backends import rate_limit
from crossfade_backends.rate_limit import RateLimit, client_of
from tests.backends.serving import ROW, serving

GAPS = st.lists(st.floats(0, 5), max_size=60)


@given(GAPS, st.floats(0.1, 10), st.floats(1, 5))
def test_no_window_has_more_than_the_burst_and_the_rate(gaps, rate, burst):
    limit, now, taken = RateLimit(rate, burst), 0.0, []
    for gap in gaps:
        now += gap
        if not limit.take("a", now):
            taken.append(now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - start) + 1e-6


@given(GAPS, st.floats(0.1, 10), st.floats(1, 5))
def test_after_the_wait_it_goes_on(gaps, rate, burst):
    limit, now = RateLimit(rate, burst), 0.0
    for gap in gaps:
        now += gap
        if wait := limit.take("a", now):
            now += wait + 1e-6
            assert limit.take("a", now) == 0.0


def test_one_client_takes_nothing_from_another():
    limit = RateLimit(1, 1)
    assert limit.take("a", 0.0) == 0.0
    assert limit.take("a", 0.25) == 0.75
    assert limit.take("b", 0.25) == 0.0


def test_memory_is_bounded_and_forgets_who_is_longest_silent(monkeypatch):
    monkeypatch.setattr(rate_limit, "_MOST_CLIENTS", 2)
    limit = RateLimit(1, 1)
    for client in ("a", "b", "a", "c"):
        limit.take(client, 0.0)
    assert limit.take("a", 0.0) > 0
    assert limit.take("b", 0.0) == 0.0  # forgotten


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("", ""),
        (None, ""),
    ],
)
def test_who_a_client_is(address, client):
    assert client_of(address) == client


async def test_too_many_predictions_get_a_429(registry):
    async with serving(registry, rate_limit=0.001, rate_burst=2.0) as client:
        for path, status in [("/predict", 200), ("/nowhere", 404), ("/predict", 200), ("/predict", 429)]:
            async with client.post(path, json=ROW) as answer:
                assert answer.status == status
        async with client.post("/batch", json={"rows": [ROW]}) as answer:
            assert answer.status == 429
            assert 900 < int(answer.headers["Retry-After"]) <= 1000
            assert "0.001 requests a second" in (await answer.json())["detail"][0]["msg"]
        async with client.post("/v2/models/churn/infer", json={}) as answer:
            assert (answer.status, set(await answer.json())) == (429, {"error"})
        async with client.get("/health") as answer:
            assert answer.status == 200
        async with client.get("/metrics") as answer:
            assert 'code="429",path="/predict"' in await answer.text()
