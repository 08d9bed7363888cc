"""Requests above `max_in_flight` that wait: in order, for a limited time, and each with one outcome."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.errors import Stage
from crossfade.routing.ledger import BUCKETS
from crossfade.routing.snapshot import AccessLog, Cut
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, each
from tests.dataplane.test_cut_after import taken_back
from tests.dataplane.wire import Message, Wire, get, ok, post, wait_until

LONG = 60.0  # seconds


class Turns:
    """A model that answers one request for each call of `answer`."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(0)

    async def handle(self, conversation: Conversation, request: Message) -> None:
        await self.turns.acquire()
        await conversation.send(ok(request.first.split()[1]))

    @staticmethod
    async def at_once(conversation: Conversation, request: Message) -> None:
        await conversation.send(ok(request.first.split()[1]))

    def answer(self, count: int = 1) -> None:
        for _ in range(count):
            self.turns.release()


async def queueing(
    harness: Harness, limit: int = 1, most: int = 10, timeout: float = LONG, **options: Any
) -> Turns:
    model = Turns()
    harness.backend("v2", each(model.handle), max_in_flight=limit, queue_max=most, queue_timeout=timeout)
    harness.use(route("v2", **options))
    return model


def length(harness: Harness) -> int:
    return len(harness.plane.backends["v2"].capacity.queue)


async def have_come(harness: Harness, count: int) -> None:
    await wait_until(lambda: len(harness.plane.active) == count, f"{count} requests have come")


async def at_the_model(harness: Harness, count: int) -> None:
    await wait_until(lambda: len(harness.backends["v2"].requests) == count, f"{count} are at the model")


async def asking(harness: Harness, count: int) -> list[Wire]:
    """Clients that ask for /0, /1, … in this order."""
    clients = [await harness.client() for _ in range(count)]
    for n, client in enumerate(clients):
        await client.send(get(f"/{n}"))
        await have_come(harness, n + 1)
    return clients


def outcomes(harness: Harness, name: str = "v2") -> dict[str, int]:
    return dict(harness.plane.backends[name].capacity.outcomes)


async def test_requests_wait_and_are_served_in_order(harness: Harness) -> None:
    model = await queueing(harness)
    clients = await asking(harness, 4)
    assert (length(harness), harness.plane.in_flight()) == (3, {"v2": 1})
    for n, client in enumerate(clients):
        await at_the_model(harness, n + 1)
        assert harness.plane.in_flight() == {"v2": 1}
        model.answer()
        assert (await client.answer()).body == b"/%d" % n
    assert outcomes(harness) == {"sent": 3}
    assert harness.plane.backends["v2"].capacity.waits.count == 3


async def test_above_the_length_of_the_queue_a_request_is_refused_at_once(harness: Harness) -> None:
    model = await queueing(harness, limit=2, most=3)
    clients = await asking(harness, 5)
    late = await harness.client()
    await late.send(get())
    answer = await late.answer()
    assert (answer.status, answer.error, answer.field("retry-after")) == (503, b"internal/overload", b"1")
    model.answer(5)
    assert [(await client.answer()).status for client in clients] == [200] * 5


async def test_after_its_time_a_request_gets_503(harness: Harness) -> None:
    model = await queueing(harness, timeout=0.1)
    first, second = await asking(harness, 2)
    answer = await second.answer()
    assert (answer.status, answer.error, answer.field("retry-after")) == (503, b"internal/overload", b"1")
    model.answer()
    assert (await first.answer()).status == 200
    cell = await harness.cell("v2")
    assert (cell.requests, cell.errors, cell.failures) == (2, 0, {Stage.OVERLOAD: 1})
    assert outcomes(harness) == {"timeout": 1}
    await second.send(get("/again"))
    model.answer()
    assert (await second.answer()).body == b"/again"


async def test_a_client_that_leaves_gives_its_turn_to_the_next(harness: Harness) -> None:
    model = await queueing(harness)
    first, second, third = await asking(harness, 3)
    second.reset()
    await wait_until(lambda: length(harness) == 1, "it waits no more")
    model.answer(2)
    assert [(await client.answer()).body for client in (first, third)] == [b"/0", b"/2"]
    cell = await harness.cell("v2")
    assert (cell.abandoned, cell.errors, len(harness.backends["v2"].requests)) == (1, 0, 2)
    assert outcomes(harness) == {"client_left": 1, "sent": 1}


@pytest.mark.parametrize("fallback", [None, "v3"])
async def test_when_the_backend_goes_down_the_fallback_answers(
    harness: Harness, fallback: str | None
) -> None:
    """Without one, endpoints that fail their probes get the requests that wait, as they do others (panic)."""
    harness.backend("v3")
    model = await queueing(harness, fallback=fallback)
    first, second = await asking(harness, 2)
    harness.down("v2")
    harness.use(route("v2", fallback=fallback))
    if fallback:
        assert (await second.answer()).body == b"v3"
        assert outcomes(harness) == {"no_endpoint": 1}
    model.answer(2)
    assert (await first.answer()).body == b"/0"
    if not fallback:
        assert (await second.answer()).body == b"/1"


async def test_what_waits_at_a_drain_is_served(harness: Harness) -> None:
    model = await queueing(harness)
    clients = await asking(harness, 3)
    draining = asyncio.create_task(harness.plane.drain(10.0))
    for n, client in enumerate(clients):
        model.answer()
        assert (await client.answer()).body == b"/%d" % n
    await draining
    assert outcomes(harness) == {"sent": 2}


async def test_at_the_end_of_a_drain_those_that_wait_get_503(harness: Harness) -> None:
    await queueing(harness)
    _, second = await asking(harness, 2)
    await harness.plane.drain(0.05)
    answer = await second.answer()
    assert (answer.status, answer.error) == (503, b"internal/overload")
    assert outcomes(harness) == {"drain": 1}


async def test_a_reload_changes_the_queue_and_the_limit(harness: Harness) -> None:
    model = await queueing(harness, limit=1, most=2)
    clients = await asking(harness, 3)
    harness.specs["v2"] = replace(harness.specs["v2"], max_in_flight=2, queue_max=0)
    harness.use(route("v2"))
    await wait_until(lambda: len(harness.backends["v2"].requests) == 2, "the second has a place at once")
    assert (await clients[2].answer()).status == 503, "there is no queue any more"
    model.answer(2)
    assert [(await client.answer()).status for client in clients[:2]] == [200, 200]


async def test_a_request_that_waits_is_cut_with_its_challenger(harness: Harness) -> None:
    model = Turns()
    harness.backend("v2")
    harness.backend("v3", each(model.handle), max_in_flight=1, queue_max=5, queue_timeout=LONG)
    split = route({"v2": 0, "v3": BUCKETS}, fallback="v2", pure=True)
    harness.use(split)
    first, second = await asking(harness, 2)
    harness.use(taken_back(split, Cut("v3", 0.01)))
    assert [(await client.answer()).body for client in (first, second)] == [b"v2", b"v2"]
    assert outcomes(harness, "v3") == {"cut": 1}


async def test_the_wait_is_in_no_duration_of_the_model_and_in_the_access_log(
    harness: Harness, tmp_path: Path
) -> None:
    file = tmp_path / "access.log"
    model = await queueing(harness)
    harness.use(route("v2"), access_log=AccessLog(str(file), 1.0, False))
    first, second = await asking(harness, 2)
    await asyncio.sleep(0.4)
    model.answer()
    await first.answer()
    model.answer()
    await second.answer()
    cell = await harness.cell("v2")
    assert cell.duration.count == 2
    assert cell.duration.total < 0.8, "the second did not take 0.4 s too"
    await wait_until(lambda: file.exists() and file.read_text().count("\n") == 2, "two lines")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert "queued" not in lines[0]
    assert lines[1]["queued"] >= 0.4 > lines[1]["duration"]


async def test_a_body_that_waits_is_held_within_limits(harness: Harness) -> None:
    """Above the inspect limit the client is not read until the request has a place."""
    model = await queueing(harness, inspect_limit=16 * 1024)
    first = (await asking(harness, 1))[0]
    second = await harness.client(send_buffer=16 * 1024)
    body = b"x" * 4_000_000
    sending = asyncio.create_task(second.pour(post(body, "/long")))
    await wait_until(lambda: length(harness) == 1, "it waits")
    await asyncio.sleep(0.2)
    (waiting,) = (exchange for exchange in harness.plane.active if exchange.waiting_since)
    assert waiting.kept < 1_000_000
    assert not sending.done()
    model.answer()
    await first.answer()
    model.answer()
    assert (await second.answer()).body == b"/long"
    await sending
    assert len(harness.backends["v2"].requests[1].body) == len(body)


async def test_a_retry_waits_at_the_end_of_the_queue(harness: Harness) -> None:
    gate = asyncio.Event()

    async def closing_late(conversation: Conversation) -> None:
        await conversation.request()
        await gate.wait()
        conversation.close()

    harness.backend("v2", closing_late, max_in_flight=1, queue_max=5, queue_timeout=LONG)
    harness.use(route("v2", pure=True))
    clients = await asking(harness, 3)
    harness.another_endpoint("v2", each(Turns.at_once))
    harness.use(route("v2", pure=True))
    gate.set()
    assert {(await client.answer()).body for client in clients} <= {b"/0", b"/1", b"/2"}
    assert outcomes(harness)["sent"] >= 3


async def test_a_request_waits_for_places_that_another_worker_holds_in_advance(harness: Harness) -> None:
    """Played by a second row of the table: it gives its share back when it is told to."""
    model = await queueing(harness, limit=100, most=0)
    places, capacity = harness.plane.places, harness.plane.backends["v2"].capacity
    table, slot = places.table, capacity.slot
    other = table.join(2, 0, 0)
    table.enter(table.digests()[slot], other)
    capacity.end_far()
    assert table.go_far(slot, other, 0, 75, 100)
    clients = await asking(harness, 26)
    assert (length(harness), harness.plane.in_flight()) == (1, {"v2": 25})
    table.end_far(slot, other, 75)
    answer = await clients[25].answer()
    assert (answer.status, answer.error) == (503, b"internal/overload"), "all of them are in use"
    model.answer(25)
    assert [(await client.answer()).status for client in clients[:25]] == [200] * 25
    table.clear(slot, other)
