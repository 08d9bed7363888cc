"""What a worker says of requests that met an event: how many, and which keys, as hashes."""

from __future__ import annotations

import pytest

from proxy.dataplane import recorder
from proxy.routing.ledger import hash_of, salt_of
from proxy.stats.counts import ERROR, Counts, Events
from tests.dataplane.plane import Stage, mirrored, route, sticky
from tests.dataplane.scripted import answering
from tests.dataplane.wire import Wire, get, post

SALT = salt_of("churn")
FAILING = answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
KEYED = sticky("header", "x-customer")


async def ask(client: Wire, *customers: bytes) -> None:
    for customer in customers:
        await client.send(get(fields=[b"x-customer: " + customer] if customer else []))
        await client.answer()


def hashes(*customers: bytes) -> list[int]:
    return [hash_of(customer, SALT) for customer in customers]


async def test_an_error_comes_with_the_hash_of_its_key(stage: Stage) -> None:
    stage.backend("v2", FAILING)
    stage.use(route("v2", sticky=KEYED))
    client = await stage.client()
    await ask(client, b"ann", b"bob", b"", b"ann")
    cell = await stage.cell("v2")
    assert (cell.errors, cell.unkeyed) == (4, 1)
    assert cell.events == {ERROR: Events(keyed=3, keys=hashes(b"ann", b"bob", b"ann"))}
    assert b"ann" not in cell_bytes(stage)


def cell_bytes(stage: Stage) -> bytes:
    return repr(stage.plane.recorder.table.cells).encode()


async def test_what_goes_well_says_nothing(stage: Stage) -> None:
    stage.backend("v2")
    stage.use(route("v2", sticky=KEYED))
    await ask(await stage.client(), b"ann", b"")
    assert (await stage.cell("v2")).events == {}


async def test_a_route_without_a_key_counts_and_names_nobody(stage: Stage) -> None:
    stage.backend("v2", FAILING)
    stage.use(route("v2"))
    await ask(await stage.client(), b"ann", b"")
    cell = await stage.cell("v2")
    assert (cell.errors, cell.events) == (2, {})


async def test_a_copy_that_fails_names_its_key(stage: Stage) -> None:
    stage.backend("v2")
    stage.backend("v4", FAILING)
    stage.use(route("v2", sticky=sticky("json", "id"), mirrors=mirrored("v4")))
    client = await stage.client()
    await client.send(post(b'{"id": "ann"}'))
    await client.answer()
    shadow = await stage.shadow("v4")
    assert shadow is not None
    assert shadow.events == {ERROR: Events(keyed=1, keys=hashes(b"ann"))}
    assert (await stage.cell("v2")).events == {}


async def test_keys_beyond_the_room_of_a_report_are_dropped_on_both_sides_alike(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "KEYS_KEPT", 5)
    for name in ("v2", "v3"):
        stage.backend(name, FAILING)
    stage.use(route({"v2": 5000, "v3": 5000}, sticky=KEYED), route("v2", "other", sticky=KEYED))
    customers = [b"%d" % i for i in range(20)]
    await ask(await stage.client(), *customers)
    cells = [await stage.cell(name) for name in ("v2", "v3")]
    kept = {key for cell in cells for key in cell.events[ERROR].keys}
    assert kept == set(hashes(*customers[:5]))  # who comes first, whichever side that is
    assert sum(cell.events[ERROR].keyed for cell in cells) == sum(cell.errors for cell in cells) == 20
    taken = stage.plane.recorder.take()
    assert taken.dropped == {"event_keys": 15}
    await ask(stage.wires[0], b"ann")
    again = stage.plane.recorder.take()
    assert (again.dropped, sum(len(c.events[ERROR].keys) for c in again.cells)) == ({}, 1)
    assert stage.plane.recorder.take() == Counts()
