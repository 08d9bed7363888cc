"""`cut_after`: after an abort, exchanges in flight to the challenger end within this time. A cut answer never looks complete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.errors import Stage
from crossfade.routing.ledger import BUCKETS, reweigh, salt_of
from crossfade.routing.snapshot import Cut, Match, Route
from tests.dataplane.plane import Harness, connecting_slowly, route, settle
from tests.dataplane.scripted import Conversation, each, silent
from tests.dataplane.wire import Message, chunked, get, ok, post, wait_until

FIRST_EVENT = b"data: 0\n\n"


async def begin_stream(conversation: Conversation, request: Message) -> None:
    await conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await conversation.send(chunked(FIRST_EVENT).removesuffix(b"0\r\n\r\n"))
    await conversation.over()


def taken_back(of: Route, *cuts: Cut) -> Route:
    """The route after the abort of v3."""
    ledger = reweigh(of.ledger, {"v2": BUCKETS}, salt_of(of.name))
    return replace(of, ledger=ledger, roles=tuple("member" for _ in ledger.backends), cuts=cuts)


async def client_in_an_answer_of_v3(harness: Harness, **options: Any) -> tuple[Any, Route]:
    """Return a client that has the first event of v3's answer, and its route."""
    harness.backend("v2")
    harness.backend("v3", each(begin_stream))
    split = route({"v2": 0, "v3": BUCKETS}, **options)
    harness.use(split)
    client = await harness.client()
    await client.send(get())
    assert (await client.head()).status == 200
    await client.until(FIRST_EVENT)
    return client, split


async def test_an_answer_in_progress_is_cut_without_its_last_chunk(harness: Harness) -> None:
    client, split = await client_in_an_answer_of_v3(harness)
    harness.use(taken_back(split, Cut("v3", 0.05)))
    rest, _ = await client.rest()
    assert b"0\r\n\r\n" not in rest
    cell = await harness.cell("v3")
    assert (cell.errors, cell.failures) == (0, {Stage.CUT: 1})


async def test_without_cut_after_an_answer_in_progress_is_completed(harness: Harness) -> None:
    finish = asyncio.Event()

    async def in_two_parts(conversation: Conversation, request: Message) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await finish.wait()
        await conversation.send(b"cd")

    harness.backend("v2")
    harness.backend("v3", each(in_two_parts))
    split = route({"v2": 0, "v3": BUCKETS})
    harness.use(split)
    client = await harness.client()
    await client.send(get())
    await client.until(b"\r\n\r\nab")
    harness.use(taken_back(split))
    await settle()
    finish.set()
    assert await client.exactly(2) == b"cd"
    assert (await harness.cell("v3")).failures == {}


@pytest.mark.parametrize(("pure", "status"), [(True, 200), (False, 503)])
async def test_a_cut_before_the_answer_uses_the_fallback_of_a_pure_route(
    harness: Harness, pure: bool, status: int
) -> None:
    harness.backend("v2")
    challenger = harness.backend("v3", silent)
    split = route({"v2": 0, "v3": BUCKETS}, fallback="v2", pure=pure)
    harness.use(split)
    client = await harness.client()
    await client.send(post(b"{}"))
    await wait_until(lambda: challenger.conversations, "v3 gets a connection")
    await wait_until(lambda: harness.plane.active, "the exchange is in flight")
    harness.use(taken_back(split, Cut("v3", 0.0)))
    answer = await client.answer("POST")
    assert (answer.status, answer.error) == (status, None if pure else b"internal/cut")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.fell_back, cell.failures) == (0, int(pure), {Stage.CUT: 1})


async def test_exchanges_that_the_cut_does_not_cover_continue(harness: Harness) -> None:
    """A cut does not cover other routes, nor exchanges that began after the abort (for example a tester's)."""
    client, split = await client_in_an_answer_of_v3(harness)
    other = replace(route("v2", name="other"), match=Match(path="/other"))
    harness.use(taken_back(other, Cut("v3", 0.0)), split)
    harness.use(replace(split, cuts=(Cut("v3", 0.0),)))
    await settle()
    (exchange,) = harness.plane.active
    assert not exchange.ended
    client.close()


async def test_a_challenger_cut_while_connecting_gets_no_request(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = connecting_slowly(monkeypatch)
    challenger = harness.backend("v3")
    release = asyncio.Event()

    async def after_release(conversation: Conversation, request: Message) -> None:
        await release.wait()
        await conversation.send(ok(b"v2"))

    harness.backend("v2", each(after_release))
    split = route({"v2": 0, "v3": BUCKETS}, fallback="v2", pure=True)
    harness.use(split)
    client = await harness.client()
    await client.send(post(b"{}"))
    await wait_until(lambda: harness.plane.active, "the exchange is in flight")
    harness.use(taken_back(split, Cut("v3", 0.0)))
    await wait_until(lambda: len(harness.plane.tasks) == 2, "the proxy also connects to the fallback")
    opening.set()
    await wait_until(lambda: not harness.plane.tasks, "both connections are open")
    release.set()
    assert (await client.answer()).body == b"v2"
    assert challenger.requests == []
