"""Routes with a cache, models whose every answer is another one, and what is said of a hit."""

from __future__ import annotations

import asyncio
from typing import Any

from crossfade.routing.snapshot import Cache, Route
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, Script, ScriptedBackend, each
from tests.dataplane.wire import Message, Wire, ok

HOUR = 3600.0
CACHE = Cache(HOUR, 1024 * 1024)
WORD = "x-crossfade-cache"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def cached(split: Any = "v2", cache: Cache = CACHE, **options: Any) -> Route:
    return route(split, pure=True, cache=cache, **options)


def numbered(harness: Harness, name: str = "v2", fields: tuple[bytes, ...] = ()) -> ScriptedBackend:
    """A model whose every answer is another one."""

    async def handler(conversation: Conversation, request: Message) -> None:
        n = len(conversation.backend.requests)
        await conversation.send(ok(b"%b %d" % (conversation.backend.name.encode(), n), fields))

    return harness.backend(name, each(handler))


def holding(may_answer: asyncio.Event) -> Script:
    async def handler(conversation: Conversation, request: Message) -> None:
        await may_answer.wait()
        await conversation.send(ok(b"%d" % len(conversation.backend.requests)))

    return each(handler)


async def ask(client: Wire, *requests: bytes, to: str = "GET") -> list[Message]:
    answers = []
    for request in requests:
        await client.send(request)
        answers.append(await client.answer(to=to))
    return answers


def words(answers: list[Message]) -> list[str]:
    return [(answer.field(WORD) or b"-").decode() for answer in answers]


def did(harness: Harness) -> dict[str, int]:
    return {
        what.partition(":")[2]: n
        for what, n in harness.plane.recorder.table.cache.items()
        if what.startswith("churn:")
    }
