"""Outlier ejection: an endpoint with failures in a row gets no requests for a time, then returns with slow start."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from time import monotonic

import pytest
from msgspec.structs import replace

from crossfade.dataplane.listener import CLIENT_SWEEPS
from crossfade.routing.snapshot import Eject
from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.scripted import Conversation, Script, answering, closing, silent
from tests.dataplane.wire import get, ok, post, wait_until

EJECT = Eject(after=3, time=60.0, max_share=0.5, statuses=(503,))
UNAVAILABLE = answering(b"HTTP/1.1 503 Not now\r\nContent-Length: 0\r\n\r\n")
BROKEN = answering(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")


async def count_statuses(harness: Harness, count: int, raw: bytes = post(b"x")) -> Counter[int]:
    counts: Counter[int] = Counter()
    for _ in range(count):
        client = await harness.client()
        await client.send(raw)
        counts[(await client.answer()).status] += 1
    return counts


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (UNAVAILABLE, 503),
        (closing(b""), 502),
        (closing(b"not HTTP\r\n\r\n"), 502),
        (silent, 504),
    ],
    ids=["503", "reset", "garbage", "silent"],
)
async def test_an_endpoint_with_three_failures_in_a_row_is_ejected(
    harness: Harness, script: Script, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    good = harness.backend("v2", eject=EJECT, first_byte_timeout=0.5)
    bad = harness.another_endpoint("v2", script)
    harness.use(route("v2"))
    with caplog.at_level(logging.WARNING):
        counts = await count_statuses(harness, 40)
    assert counts == {200: 37, status: 3}
    assert sum(c.received.count(b"POST") for c in bad.conversations) == 3
    assert len(good.requests) == 37
    key = ("v2", f"http://127.0.0.1:{bad.port}")
    assert harness.plane.recorder.table.ejections == {key: 1}
    (message,) = [r.getMessage() for r in caplog.records if "is ejected" in r.getMessage()]
    assert f"http://127.0.0.1:{bad.port}" in message
    assert "for 60 s" in message


async def test_an_endpoint_that_refuses_connections_is_ejected_without_a_failed_request(
    harness: Harness,
) -> None:
    harness.backend("v2", eject=EJECT)
    refusing = harness.refusing("absent")
    harness.replica("v2", harness.specs.pop("absent").endpoints[0])
    harness.use(route("v2"))
    assert await count_statuses(harness, 40) == {200: 40}
    assert harness.plane.recorder.table.ejections == {("v2", f"http://127.0.0.1:{refusing.port}"): 1}
    assert (await harness.cell("v2")).failures == {"connect": 3}
    assert (await harness.cell("v2")).errors == 0


async def test_a_truncated_body_counts_as_a_failure(harness: Harness) -> None:
    harness.backend("v2", eject=EJECT)
    bad = harness.another_endpoint("v2", closing(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"))
    harness.use(route("v2"))
    for _ in range(40):
        client = await harness.client()
        await client.send(get())
        await client.until(b"\r\n\r\n")
        await harness.quiet()
    assert len(bad.conversations) == 3


async def test_failures_that_are_not_in_a_row_do_not_eject(harness: Harness) -> None:
    harness.backend("v2", eject=EJECT)
    request_numbers = iter(range(1000))

    async def flaky(conversation: Conversation) -> None:
        while True:
            await conversation.request()
            fails = next(request_numbers) % 3 != 0
            await conversation.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n" if fails else ok(b"x"))

    harness.another_endpoint("v2", flaky)
    harness.use(route("v2"))
    counts = await count_statuses(harness, 60)
    assert counts[503] > 6
    assert harness.plane.recorder.table.ejections == {}


async def test_a_500_does_not_eject(harness: Harness) -> None:
    """A model that fails on some inputs fails on them at each replica."""
    harness.backend("v2", eject=EJECT)
    harness.another_endpoint("v2", BROKEN)
    harness.use(route("v2"))
    counts = await count_statuses(harness, 60)
    assert counts[500] > 10
    assert harness.plane.recorder.table.ejections == {}


async def test_the_only_endpoint_is_never_ejected(harness: Harness) -> None:
    harness.backend("v2", UNAVAILABLE, eject=EJECT)
    harness.use(route("v2"))
    assert await count_statuses(harness, 20) == {503: 20}
    assert harness.plane.recorder.table.ejections == {}


async def test_without_eject_no_endpoint_is_ejected(harness: Harness) -> None:
    harness.backend("v2")
    bad = harness.another_endpoint("v2", UNAVAILABLE)
    harness.use(route("v2"))
    assert (await count_statuses(harness, 40))[503] == len(bad.requests) > 5


async def test_an_ejected_endpoint_is_used_when_all_others_are_down(harness: Harness) -> None:
    harness.backend("v2", eject=EJECT)
    harness.another_endpoint("v2", UNAVAILABLE)
    harness.use(route("v2"))
    await count_statuses(harness, 30)
    spec = harness.specs["v2"]
    harness.use_down("v2", spec.endpoints[0])
    assert await count_statuses(harness, 5) == {503: 5}


async def test_an_ejected_endpoint_returns_after_the_ejection_time(harness: Harness) -> None:
    harness.backend("v2", eject=Eject(after=3, time=0.01, max_share=0.5, statuses=(503,)))
    bad = harness.another_endpoint("v2", UNAVAILABLE)
    harness.use(route("v2"))
    await count_statuses(harness, 20)
    state = next(e for e in harness.plane.backends["v2"].endpoints.values() if e.spec.port == bad.port)
    await wait_until(lambda: state.health.until is None, "the ejection ends")
    assert state in harness.plane.backends["v2"].available
    await wait_until(lambda: state.share == 1.0, "slow start ends")
    before = len(bad.requests)
    await count_statuses(harness, 20)
    assert len(bad.requests) > before


async def test_an_endpoint_that_its_probes_find_up_again_has_slow_start(harness: Harness) -> None:
    harness.backend("v2", eject=EJECT, slow_start=1000.0)
    harness.another_endpoint("v2")
    spec = harness.specs["v2"]
    harness.use_down("v2", spec.endpoints[1])
    assert await count_statuses(harness, 5) == {200: 5}
    harness.specs["v2"] = spec
    harness.use(route("v2"))
    shares = {e.spec.port: e.share for e in harness.plane.backends["v2"].endpoints.values()}
    assert list(shares.values()) == [1.0, pytest.approx(0.1, abs=0.01)]
    await count_statuses(harness, 400)
    returned = harness.backends[f"v2/{spec.endpoints[1].port}"]
    assert 0 < len(returned.requests) < 100  # expected: about 20 of 400


async def test_the_endpoints_of_the_first_snapshot_have_no_slow_start(harness: Harness) -> None:
    harness.backend("v2", slow_start=1000.0)
    harness.another_endpoint("v2")
    harness.use(route("v2"))
    assert [e.share for e in harness.plane.backends["v2"].endpoints.values()] == [1.0, 1.0]


async def test_a_late_sweep_meets_an_endpoint_that_is_newer_than_its_clock(harness: Harness) -> None:
    """Behind a lag the sweep lets the loop read first. A reload in between brings an endpoint without slow start."""
    harness.backend("v2", slow_start=0.0)
    harness.use(route("v2"))
    plane = harness.plane
    plane.sweeps = CLIENT_SWEEPS - 1
    plane.stop_sweeping()
    plane.sweep(plane.loop.time() - 1.0)
    harness.another_endpoint("v2")
    harness.use(route("v2"))
    await wait_until(lambda: plane.sweeps >= CLIENT_SWEEPS, "the sweep goes on")
    assert [e.share for e in plane.backends["v2"].endpoints.values()] == [1.0, 1.0]


async def test_failed_copies_eject_an_endpoint_of_a_mirror(harness: Harness) -> None:
    """Only the outcomes of copies count. The answers to clients do not change."""
    harness.backend("v2")
    harness.backend("v4", eject=EJECT)
    bad = harness.another_endpoint("v4", UNAVAILABLE)
    harness.use(route("v2", mirrors=mirrored("v4")))
    for _ in range(40):
        assert await count_statuses(harness, 1) == {200: 1}
        await harness.quiet()
    assert len(bad.requests) == 3


async def test_a_retry_goes_to_an_ejected_endpoint_rather_than_to_the_one_that_failed(
    harness: Harness,
) -> None:
    """All others are ejected, and have recovered meanwhile: their probes pass."""
    good = harness.backend("v2", eject=EJECT)
    refusing = harness.refusing("absent")
    harness.replica("v2", harness.specs.pop("absent").endpoints[0])
    harness.use(route("v2"))
    state = harness.plane.backends["v2"]
    recovered = next(e for e in state.endpoints.values() if e.spec.port == good.port)
    recovered.health.eject(EJECT, monotonic())
    state.choose_available()
    assert [e.spec.port for e in state.available] == [refusing.port]
    assert await count_statuses(harness, 2) == {200: 2}
    assert (await harness.cell("v2")).retries == {"connect": 2}


async def test_a_second_retry_goes_to_an_endpoint_that_has_not_failed_yet(harness: Harness) -> None:
    """Not back to the first one, which failed too."""
    for name in ("one", "two"):
        harness.refusing(name)
        harness.replica("v2", harness.specs.pop(name).endpoints[0], eject=None)
    good = harness.another_endpoint("v2")
    harness.use(route("v2", retry_attempts=2))
    assert await count_statuses(harness, 30) == {200: 30}
    assert len(good.requests) == 30


async def test_a_retry_on_a_fresh_connection_does_not_go_to_an_ejected_endpoint(harness: Harness) -> None:
    """A stale connection is no failure of its endpoint."""

    async def once(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(ok(b"good"))
        await conversation.request()
        conversation.close()

    good = harness.backend("v2", once, eject=EJECT)
    bad = harness.another_endpoint("v2")
    harness.use(route("v2", pure=True))
    state = harness.plane.backends["v2"]
    next(e for e in state.endpoints.values() if e.spec.port == bad.port).health.eject(EJECT, monotonic())
    state.choose_available()
    assert await count_statuses(harness, 6) == {200: 6}
    assert (len(bad.requests), len(good.conversations) > 3) == (0, True)


# ── weights ───────────────────────────────────────────────────────────────────────────────────────


def weighing(harness: Harness, *weights: int) -> None:
    """Serve with these weights of v2's endpoints, in their order."""
    spec = harness.specs["v2"]
    endpoints = tuple(replace(e, weight=w) for e, w in zip(spec.endpoints, weights, strict=True))
    harness.specs["v2"] = replace(spec, endpoints=endpoints)
    harness.use(route("v2"))


async def test_requests_follow_the_weights_of_the_endpoints(harness: Harness) -> None:
    first = harness.backend("v2", slow_start=0.0)
    second = harness.another_endpoint("v2")
    weighing(harness, 3, 1)
    assert await count_statuses(harness, 200) == {200: 200}
    assert 120 < len(first.requests) < 180
    before = len(first.requests), len(second.requests)
    weighing(harness, 0, 1)
    assert await count_statuses(harness, 20) == {200: 20}
    assert (len(first.requests), len(second.requests)) == (before[0], before[1] + 20)
    weighing(harness, 1, 0)
    assert await count_statuses(harness, 20) == {200: 20}
    assert len(first.requests) == before[0] + 20


async def test_another_weight_keeps_the_connections(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.another_endpoint("v2")
    weighing(harness, 1, 0)
    client = await harness.client()
    for weight in (1, 2):
        weighing(harness, weight, 0)
        await client.send(get())
        assert (await client.answer()).status == 200
    assert (len(backend.conversations), len(backend.requests)) == (1, 2)


async def test_an_endpoint_without_a_weight_gets_nothing_in_a_panic(harness: Harness) -> None:
    up = harness.backend("v2")
    other = harness.another_endpoint("v2")
    weighing(harness, 0, 1)
    spec = harness.specs["v2"]
    harness.specs["v2"] = replace(spec, endpoints=(spec.endpoints[0], replace(spec.endpoints[1], up=False)))
    harness.use(route("v2"))
    assert await count_statuses(harness, 4) == {200: 4}
    assert (len(up.requests), len(other.requests)) == (0, 4)


async def test_a_weighted_endpoint_that_fails_is_ejected(harness: Harness) -> None:
    harness.backend("v2", eject=EJECT)
    harness.another_endpoint("v2", UNAVAILABLE)
    weighing(harness, 1, 5)
    counts = await count_statuses(harness, 40)
    assert counts[503] == 3


async def test_an_endpoint_that_loses_its_weight_loses_its_idle_connections(harness: Harness) -> None:
    harness.backend("v2")
    harness.another_endpoint("v2")
    weighing(harness, 1, 0)
    assert await count_statuses(harness, 2) == {200: 2}
    state = next(iter(harness.plane.backends["v2"].endpoints.values()))
    assert state.idle
    weighing(harness, 0, 1)
    await asyncio.sleep(0)
    assert not [upstream for upstream in state.idle if not upstream.transport.is_closing()]
    name = state.spec.name
    assert harness.plane.in_flight_at() == {"v2": {name: 0}}
    state.in_flight += 1
    assert harness.plane.in_flight_at() == {"v2": {name: 1}}
    state.in_flight -= 1
