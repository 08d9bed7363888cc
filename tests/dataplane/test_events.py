"""What a worker says of requests that met an event: how many, and which keys, as hashes."""

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


async def test_what_goes_well_says_nothing(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", sticky=KEYED))
    await ask(await harness.client(), b"ann", b"")
    assert (await harness.cell("v2")).events == {}


async def test_a_route_without_a_key_counts_and_names_nobody(harness: Harness) -> None:
    harness.backend("v2", FAILING)
    harness.use(route("v2"))
    await ask(await harness.client(), b"ann", b"")
    cell = await harness.cell("v2")
    assert (cell.errors, cell.events) == (2, {})


async def test_a_copy_that_fails_names_its_key(harness: Harness) -> None:
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


async def test_keys_beyond_the_room_of_a_report_are_dropped_on_both_sides_alike(
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
    assert kept == set(hashes(*customers[:5]))  # who comes first, whichever side that is
    assert sum(cell.events[ERROR].keyed for cell in cells) == sum(cell.errors for cell in cells) == 20
    taken = harness.plane.recorder.take()
    assert taken.dropped == {"event_keys": 15}
    await ask(harness.wires[0], b"ann")
    again = harness.plane.recorder.take()
    assert (again.dropped, sum(len(c.events[ERROR].keys) for c in again.cells)) == ({}, 1)
    assert harness.plane.recorder.take() == Counts()


def limits(**seconds: float) -> dict[str, Any]:
    """Of one backend: a check for each, as rising limits are."""
    return {"limits": {"v2": tuple(seconds.items())}}


async def test_an_answer_that_is_too_slow_counts_once_for_each_limit_that_it_passed(harness: Harness) -> None:
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


async def test_the_limits_of_another_backend_are_not_its_own(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", limits={"v3": (("p99", 0.0),)}))
    await ask(await harness.client(), b"")
    assert (await harness.cell("v2")).events == {}


async def test_a_copy_that_is_too_slow_counts(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4"), limits={"v4": (("p99", 0.0),)}))
    client = await harness.client()
    await client.send(post(b"{}"))
    await client.answer()
    shadow = await harness.shadow("v4")
    assert shadow is not None
    assert shadow.events == {"p99": Events(unkeyed=1)}


def hanging(harness: Harness, **options: Any) -> asyncio.Event:
    """A backend that answers once it may."""
    may = asyncio.Event()

    async def hang(conversation: Conversation, request: Message) -> None:
        await may.wait()
        await conversation.send(ok(b"v2"))

    harness.backend("v2", each(hang))
    harness.use(route("v2", sticky=KEYED, **limits(p99=0.01), **options))
    return may


async def early(harness: Harness, n: int = 1) -> list[Cell]:
    """What was reported by the time that so many requests have been found too old."""
    taken: list[Cell] = []

    def found() -> bool:
        taken.extend(harness.plane.recorder.take().cells)
        return sum(c.events["p99"].early for c in taken if c.events) >= n

    await wait_until(found, "the sweep counts who is too old")
    return [c for c in taken if c.events]


async def test_who_is_too_old_counts_before_the_answer_and_not_again_with_it(harness: Harness) -> None:
    may = hanging(harness)
    client = await harness.client()
    await client.send(get(fields=[b"x-customer: ann"]))
    (cell,) = await early(harness)
    assert (cell.requests, cell.duration.count) == (0, 0)
    assert cell.events == {"p99": Events(keyed=1, early=1, keys=hashes(b"ann"))}
    may.set()
    await client.answer()
    cell = await harness.cell("v2")
    assert (cell.requests, cell.duration.count) == (1, 1)
    assert cell.events == {"p99": Events(early=-1)}  # it counts among the answers from now on


async def test_who_leaves_after_too_long_a_wait_has_waited_for_too_long(harness: Harness) -> None:
    hanging(harness)
    client = await harness.client()
    await client.send(get())
    (cell,) = await early(harness)
    assert cell.events == {"p99": Events(unkeyed=1, early=1)}
    client.close()
    cell = await harness.cell("v2")
    assert (cell.requests, cell.abandoned, cell.events) == (1, 1, {})


async def test_a_client_that_is_slow_to_ask_blames_nobody(harness: Harness) -> None:
    may = hanging(harness)
    may.set()
    client = await harness.client()
    await client.send(b"POST /predict HTTP/1.1\r\nHost: models\r\nContent-Length: 5\r\n\r\n12")
    await wait_until(lambda: harness.plane.active, "the request is under way")
    sweeps = harness.plane.sweeps
    await wait_until(lambda: harness.plane.sweeps > sweeps + 2, "the deadlines are swept")
    client.close()
    cell = await harness.cell("v2")
    assert (cell.requests, cell.abandoned, cell.events) == (1, 1, {})
