"""Panic: no endpoint of a backend passes its probes. The fallback answers; if it cannot, all endpoints get requests."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from crossfade.routing.snapshot import Eject
from tests.build import interpreted
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import answering
from tests.dataplane.wire import get, post

RAW = post(b"x")


async def body_of(harness: Harness, raw: bytes = RAW) -> tuple[int, bytes]:
    client = await harness.client()
    await client.send(raw)
    answer = await client.answer()
    return answer.status, answer.body


async def test_without_a_fallback_its_endpoints_get_requests_as_if_they_were_up(harness: Harness) -> None:
    """A 503 would be wrong for certain. The model answers well: only its probes fail."""
    harness.backend("v3")
    harness.down("v3")
    harness.use(route("v3"))
    assert await body_of(harness) == (200, b"v3")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.failures, cell.codes) == (0, {}, {200: 1})


async def test_a_fallback_that_is_up_answers(harness: Harness) -> None:
    harness.backend("v3")
    harness.backend("v2")
    harness.down("v3")
    harness.use(route("v3", fallback="v2"))
    assert await body_of(harness) == (200, b"v2")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.failures) == (1, {"no_endpoint": 1})
    assert harness.backends["v3"].conversations == []


async def test_a_fallback_that_is_down_too_leaves_the_request_where_it_was_assigned(harness: Harness) -> None:
    harness.backend("v3")
    harness.backend("v2")
    harness.down("v3")
    harness.down("v2")
    harness.use(route("v3", fallback="v2"))
    assert await body_of(harness) == (200, b"v3")
    assert (await harness.cell("v3")).errors == 0
    assert harness.backends["v2"].conversations == []


@interpreted
async def test_a_fallback_that_is_down_answers_what_the_assigned_backend_could_not(harness: Harness) -> None:
    harness.refusing("v3")
    harness.backend("v2")
    harness.down("v3")
    harness.down("v2")
    harness.use(route("v3", fallback="v2"))
    assert await body_of(harness) == (200, b"v2")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.failures) == (1, {"connect": 1})


async def test_a_model_that_is_not_there_is_a_bad_gateway(harness: Harness) -> None:
    harness.refusing("v3")
    harness.down("v3")
    harness.use(route("v3"))
    assert (await body_of(harness))[0] == 502
    assert (await harness.cell("v3")).failures == {"connect": 1}


@interpreted
async def test_a_refused_connection_is_retried_at_another_endpoint(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.dataplane.exchange.pick", lambda choices, draw: choices[0])
    harness.refusing("v3")
    harness.another_endpoint("v3")
    harness.down("v3")
    harness.use(route("v3"))
    assert await body_of(harness) == (200, b"v3")
    assert (await harness.cell("v3")).errors == 0


async def test_it_ends_when_one_endpoint_is_up(harness: Harness) -> None:
    first = harness.backend("v3")
    second = harness.another_endpoint("v3")
    harness.down("v3")
    harness.use(route("v3"))
    up, down = harness.specs["v3"].endpoints
    harness.specs["v3"] = replace(harness.specs["v3"], endpoints=(replace(up, up=True), down))
    harness.use(route("v3"))
    for _ in range(10):
        assert await body_of(harness, get()) == (200, b"v3")
    assert (len(first.requests), second.conversations) == (10, [])


async def test_an_endpoint_that_fails_its_requests_is_ejected_as_if_it_were_up(harness: Harness) -> None:
    """The probes say nothing then, so failed requests are all that is known."""
    good = harness.backend("v3", eject=Eject(after=3, time=60.0, max_share=0.5, statuses=(503,)))
    bad = harness.another_endpoint("v3", answering(b"HTTP/1.1 503 Not now\r\nContent-Length: 0\r\n\r\n"))
    harness.down("v3")
    harness.use(route("v3"))
    statuses = [(await body_of(harness))[0] for _ in range(40)]
    assert (statuses.count(503), statuses.count(200)) == (3, 37)
    assert len(good.requests) == 37
    assert harness.plane.recorder.table.ejections == {("v3", f"http://127.0.0.1:{bad.port}"): 1}
