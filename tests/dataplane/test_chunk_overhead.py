"""Chunk extensions are no way around a limit of the payload: many of them are refused, in both directions."""

from __future__ import annotations

import contextlib

from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, each, silent
from tests.dataplane.wire import Ended, Message, get

PADDED = b"1;" + b"e" * 1000 + b"\r\nx\r\n"
COUNT = 10_000  # 10 MiB around 10 kB of payload


async def test_a_request_of_extensions_is_refused(harness: Harness) -> None:
    backend = harness.backend("v2", silent)
    harness.use(route("v2", body_limit=1024 * 1024))
    client = await harness.client()
    with contextlib.suppress(ConnectionError):
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", PADDED * COUNT)
    answer = await client.answer()
    assert (answer.status, answer.error) == (400, b"downstream/parse")
    await harness.quiet()
    assert all(cell.errors == 0 for cell in harness.plane.recorder.table.cells.values())
    assert sum(len(c.received) for c in backend.conversations) < 100_000


async def test_an_answer_of_extensions_is_an_error_of_the_backend(harness: Harness) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + PADDED * COUNT)

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    with contextlib.suppress(Ended):  # cut off, if its beginning came before the excess
        assert (await client.answer()).status == 502
    assert (await harness.cell("v2")).errors == 1
    assert len(client.received) < 10_000
