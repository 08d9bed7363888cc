"""Each limit has its status, stage and counter. Excess requests are refused at once and leave nothing behind."""

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
    """The bytes sent, and the refusal with these options of the route and the snapshot."""

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
    "inspected body": Row(
        CODED, 413, b"downstream/limits", "413:limits", route={"body_limit": 10, "sticky": sticky("json", "a")}
    ),
    "connections": Row(get(), 503, b"internal/overload", "503:overload", snapshot={"connections": 0}),
    "rate": Row(get() * 2, 429, b"internal/rate", "429:rate", route={"rate": Rate(Sticky("client_ip"), 0.01, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_request_over_a_limit_is_refused_and_counted(harness: Harness, row: Row) -> None:
    harness.backend("v2")
    harness.use(route("v2", **row.route), **row.snapshot)
    client = await harness.client()
    if row.counted != "503:overload":  # the proxy closes this connection unread; sending would cause a reset
        await client.send(row.raw)
    answer = await client.answer()
    if answer.status == 200:  # the first request, which the rate allows
        answer = await client.answer()
    assert (answer.status, answer.error, answer.backend) == (row.status, row.error, "")
    assert (answer.field("retry-after") is not None) == (row.status in (429, 503))
    assert harness.plane.recorder.table.refused == {row.counted: 1}
    client.close()
    await wait_until(lambda: not harness.plane.clients, "the connection is gone")


class Gate:
    """A model that answers no request until `open` is set."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def handle(self, conversation: Conversation, request: Message) -> None:
        await self.open.wait()
        await conversation.send(ok(b"v2"))


async def test_overload_is_refused_at_once_and_ends_with_the_load(harness: Harness) -> None:
    """50 requests, 5 fit: 5 are served, 45 are refused while the model still works."""
    gate = Gate()
    harness.backend("v2", each(gate.handle), max_in_flight=5)
    harness.use(route("v2"))
    clients = [await harness.client() for _ in range(50)]
    for client in clients:
        await client.send(get())
    refused: list[Wire] = []

    async def await_answer(client: Wire) -> None:
        await client.more()
        refused.append(client)

    waiting = [asyncio.create_task(await_answer(client)) for client in clients]
    await wait_until(lambda: len(refused) == 45, "45 clients are refused at once")
    for client in refused:
        answer = await client.answer()
        assert (answer.status, answer.error) == (503, b"internal/overload")
        assert answer.field("connection") is None, "the client may use the connection again"
    assert harness.plane.in_flight() == {"v2": 5}
    gate.open.set()
    await asyncio.gather(*waiting)
    for client in clients:
        if client.buffer:
            assert (await client.answer()).status == 200
    for client in clients:
        await client.send(get())
        assert (await client.answer()).status == 200
    cell = await harness.cell("v2")
    assert (cell.requests, cell.codes, cell.errors) == (100, {200: 55, 503: 45}, 0)
    assert cell.failures == {"overload": 45}


async def test_connections_over_the_limit_are_refused_until_others_close(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"), connections=4)
    admitted = [await harness.client() for _ in range(4)]
    await wait_until(lambda: len(harness.plane.clients) == 4)
    excess = [await harness.client() for _ in range(20)]
    for client in excess:
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (503, b"close")
        assert await client.rest() == (b"", "closed")
    await wait_until(lambda: len(harness.plane.clients) == 4, "refused connections are gone")
    for client in admitted:  # their connections are not affected
        await client.send(get())
        assert (await client.answer()).status == 200
        client.close()
    await wait_until(lambda: not harness.plane.clients)
    late = await harness.client()
    await late.send(get())
    assert (await late.answer()).status == 200
