"""Each limit has its status, its stage and its number; what is over is shed at once, and nothing of it stays."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from crossfade.routing.snapshot import Rate, Sticky
from tests.dataplane.plane import Harness, route, sticky
from tests.dataplane.scripted import Conversation, each
from tests.dataplane.wire import Message, Wire, chunked, get, ok, post, wait_until

CODED = b"POST / HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 11)


@dataclass
class Row:
    """What is sent, and what comes of it where the route or the snapshot has these options."""

    raw: bytes
    status: int
    error: bytes
    counted: str
    route: dict[str, Any] = field(default_factory=dict)
    snapshot: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "request line": Row(get("/" + "x" * 600), 414, b"downstream/limits", "414:limits", snapshot={"head_bytes": 512}),
    "head": Row(get(fields=[b"X: " + b"x" * 600]), 431, b"downstream/limits", "431:limits", snapshot={"head_bytes": 512}),
    "fields": Row(get(fields=[b"X: 1"] * 9), 431, b"downstream/limits", "431:limits", snapshot={"head_count": 9}),
    "body": Row(post(b"x" * 11), 413, b"downstream/limits", "413:limits", route={"body_limit": 10}),
    "body in chunks": Row(CODED, 413, b"downstream/limits", "413:limits", route={"body_limit": 10}),
    "body that is looked into": Row(
        CODED, 413, b"downstream/limits", "413:limits", route={"body_limit": 10, "sticky": sticky("json", "a")}
    ),
    "connections": Row(get(), 503, b"internal/overload", "503:overload", snapshot={"connections": 0}),
    "rate": Row(get() * 2, 429, b"internal/rate", "429:rate", route={"rate": Rate(Sticky("client_ip"), 0.01, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_each_limit(harness: Harness, row: Row) -> None:
    harness.backend("v2")
    harness.use(route("v2", **row.route), **row.snapshot)
    client = await harness.client()
    if row.counted != "503:overload":  # there, sending would only meet a reset
        await client.send(row.raw)
    answer = await client.answer()
    if answer.status == 200:  # what the rate allows
        answer = await client.answer()
    assert (answer.status, answer.error, answer.backend) == (row.status, row.error, "")
    assert (answer.field("retry-after") is not None) == (row.status in (429, 503))
    assert harness.plane.recorder.table.refused == {row.counted: 1}
    client.close()
    await wait_until(lambda: not harness.plane.clients, "nothing of it stays")


class Gate:
    """A model that answers nothing until the gate is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def handle(self, conversation: Conversation, request: Message) -> None:
        await self.open.wait()
        await conversation.send(ok(b"v2"))


async def test_overload_is_shed_at_once_and_passes_by_itself(harness: Harness) -> None:
    """Ten times what fits: what fits is served, the rest hears so while the model still works."""
    gate = Gate()
    harness.backend("v2", each(gate.handle), max_in_flight=5)
    harness.use(route("v2"))
    clients = [await harness.client() for _ in range(50)]
    for client in clients:
        await client.send(get())
    refused: list[Wire] = []

    async def hear(client: Wire) -> None:
        await client.more()
        refused.append(client)

    hearing = [asyncio.create_task(hear(client)) for client in clients]
    await wait_until(lambda: len(refused) == 45, "all but five hear at once")
    for client in refused:
        answer = await client.answer()
        assert (answer.status, answer.error) == (503, b"internal/overload")
        assert answer.field("connection") is None, "it may ask again over the same connection"
    assert harness.plane.in_flight() == {"v2": 5}
    gate.open.set()
    await asyncio.gather(*hearing)
    for client in clients:
        if client.buffer:
            assert (await client.answer()).status == 200
    for client in clients:
        await client.send(get())
        assert (await client.answer()).status == 200
    cell = await harness.cell("v2")
    assert (cell.requests, cell.codes, cell.errors) == (100, {200: 55, 503: 45}, 0)
    assert cell.failures == {"overload": 45}


async def test_a_crowd_at_the_door_passes_by_itself(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"), connections=4)
    inside = [await harness.client() for _ in range(4)]
    await wait_until(lambda: len(harness.plane.clients) == 4)
    crowd = [await harness.client() for _ in range(20)]
    for client in crowd:
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (503, b"close")
        assert await client.rest() == (b"", "closed")
    await wait_until(lambda: len(harness.plane.clients) == 4, "the crowd holds nothing")
    for client in inside:  # who is inside never noticed
        await client.send(get())
        assert (await client.answer()).status == 200
        client.close()
    await wait_until(lambda: not harness.plane.clients)
    late = await harness.client()
    await late.send(get())
    assert (await late.answer()).status == 200
