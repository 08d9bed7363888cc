"""Who still waits on a route with a guarded rollout, and the second in which a slow answer counts."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from crossfade.dataplane import recorder as recorder_module
from crossfade.dataplane.recorder import Recorder
from crossfade.routing.router import CompiledRoute
from crossfade.stats.counts import REQUESTS, Cell, Events
from tests.dataplane.guarding import FAILING, GUARDED, hashes, take
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, each, silent
from tests.dataplane.wire import Message, get, ok, wait_until


class InSteps:
    """A script that sends the head, and then the body, of each answer once the test says so."""

    def __init__(self) -> None:
        self.head, self.body = asyncio.Event(), asyncio.Event()

    async def __call__(self, conversation: Conversation, request: Message) -> None:
        await self.head.wait()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nda")
        await self.body.wait()
        await conversation.send(b"ta")


def waiting(harness: Harness) -> dict[str, list[int]]:
    """By backend, the numbers of all seconds."""
    found = harness.plane.take().waiting.get("churn", {})
    return {backend: list(seconds.values()) for backend, seconds in found.items()}


async def test_a_request_waits_until_its_first_byte(harness: Harness) -> None:
    steps = InSteps()
    harness.backend("v2", each(steps))
    harness.use(route("v2", **GUARDED))
    before = int(monotonic())
    client = await harness.client()
    await client.send(get())
    await wait_until(lambda: harness.plane.active, "the request is under way")
    ((second, n),) = harness.plane.take().waiting["churn"]["v2"].items()
    assert (n, before <= second <= before + 60) == (1, True)
    assert waiting(harness) == {"v2": [1]}  # a state: it is still so in the next report
    steps.head.set()
    await wait_until(lambda: not waiting(harness), "the first byte arrives")
    assert harness.plane.active
    steps.body.set()
    await client.answer()


async def test_a_request_that_waits_for_its_own_client_does_not_count(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", **GUARDED))
    client = await harness.client()
    await client.send(b"POST /predict HTTP/1.1\r\nHost: models\r\nContent-Length: 5\r\n\r\n12")
    await wait_until(lambda: harness.plane.active, "the request is under way")
    assert waiting(harness) == {}
    client.close()


async def test_requests_of_other_routes_are_not_reported_as_waiting(harness: Harness) -> None:
    harness.backend("v2", silent)
    harness.use(route("v2"), route("v2", "other", guarded=True))
    client = await harness.client()
    await client.send(get())
    await wait_until(lambda: harness.plane.active, "the request is under way")
    assert harness.plane.take().waiting == {}
    client.close()


async def test_a_request_waits_for_its_assigned_backend_while_the_fallback_answers(harness: Harness) -> None:
    steps = InSteps()
    fallback = harness.backend("v1", each(steps))
    harness.backend("v2", FAILING)
    harness.use(route("v2", fallback="v1", pure=True, **GUARDED))
    client = await harness.client()
    await client.send(get())
    await wait_until(lambda: fallback.requests, "the fallback is asked")
    assert waiting(harness) == {"v2": [1]}
    steps.head.set()
    steps.body.set()
    await client.answer()


async def test_a_slow_answer_counts_in_the_second_of_its_routing_early_and_at_its_end(
    harness: Harness,
) -> None:
    released = asyncio.Event()

    async def answer_when_released(conversation: Conversation, request: Message) -> None:
        await released.wait()
        await conversation.send(ok(b"v2"))

    ports = [
        backend.port
        for backend in (
            harness.backend("v2", each(answer_when_released)),
            harness.another_endpoint("v2", each(answer_when_released)),
        )
    ]
    harness.use(route("v2", limits={"v2": (("p99", 0.01),)}, **GUARDED))
    client = await harness.client()
    await client.send(get(fields=[b"x-customer: ann"]))
    await wait_until(lambda: harness.recorder.counts.cells, "the sweep counts the request")
    (early,) = take(harness)
    assert early.events == {"p99": Events(keyed=1, early=1, keys=hashes(b"ann"))}
    ((endpoint, counted),) = early.by_endpoint.items()
    assert (endpoint in [f"127.0.0.1:{port}" for port in ports], counted) == (True, {"p99": 1})
    released.set()
    await client.answer()
    await harness.quiet()
    (late,) = take(harness)
    assert (late.key, late.events) == (early.key, {"p99": Events(early=-1)})
    assert late.by_endpoint == {endpoint: {REQUESTS: 1}}


def test_without_a_control_process_the_number_of_cells_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "CELLS_KEPT", 8)
    (assigned,) = CompiledRoute(route("v2", **GUARDED)).assignable
    recorder = Recorder()

    def count(first: int, last: int) -> list[Cell]:
        for second in range(first, last):
            recorder.usual(assigned, second + 0.5, second + 0.75, second + 0.75, 7, None)
            recorder.flush()
            assert len(recorder.counts.cells) <= 8
        return recorder.take().cells

    cells = count(200, 224)
    assert [(cell.second, cell.requests) for cell in cells] == [(200, 10), (210, 10), (220, 4)]
    assert sum(len(cell.keys.hashes) for cell in cells) == 24
    cells = count(200, 10_000)
    assert sum(cell.requests for cell in cells) == 9_800
    assert [cell.second for cell in count(231, 233)] == [231, 232], "the next report is exact again"
