"""Event counts of a worker: how many requests had an event, and the hashes of their keys."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crossfade.dataplane import recorder
from crossfade.routing.ledger import hash_of, salt_of
from crossfade.stats.counts import ERROR, Cell, Counts, Events
from tests.dataplane.plane import Harness, mirrored, route, sticky
from tests.dataplane.scripted import Conversation, answering, each
from tests.dataplane.wire import Message, Wire, get, ok, post, wait_until

SALT = salt_of("churn")
FAILING = answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
KEYED = sticky("header", "x-customer")


async def ask(client: Wire, *customers: bytes) -> None:
    for customer in customers:
        await client.send(get(fields=[b"x-customer: " + customer] if customer else []))
        await client.answer()


def hashes(*customers: bytes) -> list[int]:
    return [hash_of(customer, SALT) for customer in customers]


async def test_an_error_comes_with_the_hash_of_its_key(harness: Harness) -> None:
    harness.backend("v2", FAILING)
    harness.use(route("v2", sticky=KEYED))
    client = await harness.client()
    await ask(client, b"ann", b"bob", b"", b"ann")
    cell = await harness.cell("v2")
    assert (cell.errors, cell.unkeyed) == (4, 1)
    assert cell.events == {ERROR: Events(keyed=3, keys=hashes(b"ann", b"bob", b"ann"))}
    assert b"ann" not in cell_bytes(harness)


def cell_bytes(harness: Harness) -> bytes:
    return repr(harness.plane.recorder.table.cells).encode()


async def test_a_success_has_no_event(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", sticky=KEYED))
    await ask(await harness.client(), b"ann", b"")
    assert (await harness.cell("v2")).events == {}


async def test_an_error_on_a_route_without_a_key_has_no_event(harness: Harness) -> None:
    harness.backend("v2", FAILING)
    harness.use(route("v2"))
    await ask(await harness.client(), b"ann", b"")
    cell = await harness.cell("v2")
    assert (cell.errors, cell.events) == (2, {})


async def test_the_error_of_a_copy_comes_with_the_hash_of_its_key(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v4", FAILING)
    harness.use(route("v2", sticky=sticky("json", "id"), mirrors=mirrored("v4")))
    client = await harness.client()
    await client.send(post(b'{"id": "ann"}'))
    await client.answer()
    shadow = await harness.shadow("v4")
    assert shadow is not None
    assert shadow.events == {ERROR: Events(keyed=1, keys=hashes(b"ann"))}
    assert (await harness.cell("v2")).events == {}


async def test_keys_over_the_limit_of_a_report_are_dropped_for_both_backends_alike(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "KEYS_KEPT", 5)
    for name in ("v2", "v3"):
        harness.backend(name, FAILING)
    harness.use(route({"v2": 5000, "v3": 5000}, sticky=KEYED), route("v2", "other", sticky=KEYED))
    customers = [b"%d" % i for i in range(20)]
    await ask(await harness.client(), *customers)
    cells = [await harness.cell(name) for name in ("v2", "v3")]
    kept = {key for cell in cells for key in cell.events[ERROR].keys}
    assert kept == set(hashes(*customers[:5]))  # the first five, whichever backend they belong to
    assert sum(cell.events[ERROR].keyed for cell in cells) == sum(cell.errors for cell in cells) == 20
    taken = harness.plane.recorder.take()
    assert taken.dropped == {"event_keys": 15}
    await ask(harness.wires[0], b"ann")
    again = harness.plane.recorder.take()
    assert (again.dropped, sum(len(c.events[ERROR].keys) for c in again.cells)) == ({}, 1)
    assert harness.plane.recorder.take() == Counts()


def limits(**seconds: float) -> dict[str, Any]:
    """Latency limits of backend v2 in seconds, by the name of the check, in rising order."""
    return {"limits": {"v2": tuple(seconds.items())}}


async def test_a_slow_answer_counts_once_for_each_limit_that_it_exceeds(harness: Harness) -> None:
    async def slow(conversation: Conversation, request: Message) -> None:
        await asyncio.sleep(0.05)
        await conversation.send(ok(b"late"))

    harness.backend("v2", each(slow))
    harness.use(route("v2", sticky=KEYED, **limits(p50=0.001, p90=0.01, p99=60.0)))
    await ask(await harness.client(), b"ann", b"")
    cell = await harness.cell("v2")
    expected = Events(unkeyed=1, keyed=1, keys=hashes(b"ann"))
    assert cell.events == {"p50": expected, "p90": expected}
    assert cell.duration.count == 2


async def test_the_limits_of_another_backend_do_not_apply(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", limits={"v3": (("p99", 0.0),)}))
    await ask(await harness.client(), b"")
    assert (await harness.cell("v2")).events == {}


async def test_a_slow_answer_to_a_copy_counts(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4"), limits={"v4": (("p99", 0.0),)}))
    client = await harness.client()
    await client.send(post(b"{}"))
    await client.answer()
    shadow = await harness.shadow("v4")
    assert shadow is not None
    assert shadow.events == {"p99": Events(unkeyed=1)}


def start_waiting_backend(harness: Harness, **options: Any) -> asyncio.Event:
    """Start a backend that answers once the returned event is set."""
    released = asyncio.Event()

    async def answer_when_released(conversation: Conversation, request: Message) -> None:
        await released.wait()
        await conversation.send(ok(b"v2"))

    harness.backend("v2", each(answer_when_released))
    harness.use(route("v2", sticky=KEYED, **limits(p99=0.01), **options))
    return released


async def early_events(harness: Harness, n: int = 1) -> list[Cell]:
    """Wait until the sweep has counted `n` early events; return the cells with events reported so far."""
    taken: list[Cell] = []

    def has_counted() -> bool:
        taken.extend(harness.plane.recorder.take().cells)
        return sum(c.events["p99"].early for c in taken if c.events) >= n

    await wait_until(has_counted, "the sweep counts the requests over the limit")
    return [c for c in taken if c.events]


async def test_a_request_over_the_limit_counts_before_its_answer_and_only_once(harness: Harness) -> None:
    released = start_waiting_backend(harness)
    client = await harness.client()
    await client.send(get(fields=[b"x-customer: ann"]))
    (cell,) = await early_events(harness)
    assert (cell.requests, cell.duration.count) == (0, 0)
    assert cell.events == {"p99": Events(keyed=1, early=1, keys=hashes(b"ann"))}
    released.set()
    await client.answer()
    cell = await harness.cell("v2")
    assert (cell.requests, cell.duration.count) == (1, 1)
    assert cell.events == {"p99": Events(early=-1)}  # from now on it counts among the answers


async def test_a_request_over_the_limit_counts_even_if_its_client_leaves(harness: Harness) -> None:
    start_waiting_backend(harness)
    client = await harness.client()
    await client.send(get())
    (cell,) = await early_events(harness)
    assert cell.events == {"p99": Events(unkeyed=1, early=1)}
    client.close()
    cell = await harness.cell("v2")
    assert (cell.requests, cell.abandoned, cell.events) == (1, 1, {})


async def test_a_slow_upload_is_no_event(harness: Harness) -> None:
    released = start_waiting_backend(harness)
    released.set()
    client = await harness.client()
    await client.send(b"POST /predict HTTP/1.1\r\nHost: models\r\nContent-Length: 5\r\n\r\n12")
    await wait_until(lambda: harness.plane.active, "the request is under way")
    sweeps = harness.plane.sweeps
    await wait_until(lambda: harness.plane.sweeps > sweeps + 2, "the deadlines are swept")
    client.close()
    cell = await harness.cell("v2")
    assert (cell.requests, cell.abandoned, cell.events) == (1, 1, {})
