"""`cut_after`: what is in flight to a challenger that was taken back ends in time, and never looks complete."""

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

FIRST = b"data: 0\n\n"


async def begin_stream(conversation: Conversation, request: Message) -> None:
    await conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await conversation.send(chunked(FIRST).removesuffix(b"0\r\n\r\n"))
    await conversation.over()


def taken_back(of: Route, *cuts: Cut) -> Route:
    """The route after an abort of v3."""
    ledger = reweigh(of.ledger, {"v2": BUCKETS}, salt_of(of.name))
    return replace(of, ledger=ledger, roles=tuple("member" for _ in ledger.backends), cuts=cuts)


async def stream_of_challenger(harness: Harness, **options: Any) -> tuple[Any, Route]:
    """A client in the middle of v3's answer; the route it came by."""
    harness.backend("v2")
    harness.backend("v3", each(begin_stream))
    trial = route({"v2": 0, "v3": BUCKETS}, **options)
    harness.use(trial)
    client = await harness.client()
    await client.send(get())
    assert (await client.head()).status == 200
    await client.until(FIRST)
    return client, trial


async def test_half_an_answer_is_cut_so_that_it_cannot_look_complete(harness: Harness) -> None:
    client, trial = await stream_of_challenger(harness)
    harness.use(taken_back(trial, Cut("v3", 0.05)))
    rest, _ = await client.rest()
    assert b"0\r\n\r\n" not in rest
    cell = await harness.cell("v3")
    assert (cell.errors, cell.failures) == (0, {Stage.CUT: 1})


async def test_without_it_they_finish(harness: Harness) -> None:
    finish = asyncio.Event()

    async def until_told(conversation: Conversation, request: Message) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await finish.wait()
        await conversation.send(b"cd")

    harness.backend("v2")
    harness.backend("v3", each(until_told))
    trial = route({"v2": 0, "v3": BUCKETS})
    harness.use(trial)
    client = await harness.client()
    await client.send(get())
    await client.until(b"\r\n\r\nab")
    harness.use(taken_back(trial))
    await settle()
    finish.set()
    assert await client.exactly(2) == b"cd"
    assert (await harness.cell("v3")).failures == {}


@pytest.mark.parametrize(("pure", "status"), [(True, 200), (False, 503)])
async def test_an_answer_not_begun_comes_from_the_fallback_where_it_may(
    harness: Harness, pure: bool, status: int
) -> None:
    harness.backend("v2")
    challenger = harness.backend("v3", silent)
    trial = route({"v2": 0, "v3": BUCKETS}, fallback="v2", pure=pure)
    harness.use(trial)
    client = await harness.client()
    await client.send(post(b"{}"))
    await wait_until(lambda: challenger.conversations, "v3 is asked")
    await wait_until(lambda: harness.plane.active, "the exchange is under way")
    harness.use(taken_back(trial, Cut("v3", 0.0)))
    answer = await client.answer("POST")
    assert (answer.status, answer.error) == (status, None if pure else b"internal/cut")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.fell_back, cell.failures) == (0, int(pure), {Stage.CUT: 1})


async def test_others_go_on(harness: Harness) -> None:
    """Those of another route, and who began after it was taken back, as a tester may."""
    client, trial = await stream_of_challenger(harness)
    other = replace(route("v2", name="other"), match=Match(path="/other"))
    harness.use(taken_back(other, Cut("v3", 0.0)), trial)
    harness.use(replace(trial, cuts=(Cut("v3", 0.0),)))
    await settle()
    (exchange,) = harness.plane.active
    assert not exchange.ended
    client.close()


async def test_while_a_connection_is_opened_it_is_not_asked_beside_the_fallback(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = connecting_slowly(monkeypatch)
    challenger = harness.backend("v3")
    answering = asyncio.Event()

    async def when_told(conversation: Conversation, request: Message) -> None:
        await answering.wait()
        await conversation.send(ok(b"v2"))

    harness.backend("v2", each(when_told))
    trial = route({"v2": 0, "v3": BUCKETS}, fallback="v2", pure=True)
    harness.use(trial)
    client = await harness.client()
    await client.send(post(b"{}"))
    await wait_until(lambda: harness.plane.active, "the exchange is under way")
    harness.use(taken_back(trial, Cut("v3", 0.0)))
    await wait_until(lambda: len(harness.plane.tasks) == 2, "the fallback is connected to as well")
    opening.set()
    await wait_until(lambda: not harness.plane.tasks, "both are connected")
    answering.set()
    assert (await client.answer()).body == b"v2"
    assert challenger.requests == []
