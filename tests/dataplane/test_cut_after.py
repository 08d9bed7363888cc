"""`cut_after`: what is in flight to a challenger that was taken back ends in time, and never looks complete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.errors import Stage as FailureStage
from crossfade.routing.ledger import BUCKETS, reweigh, salt_of
from crossfade.routing.snapshot import Cut, Match, Route
from tests.dataplane.plane import Stage, connecting_slowly, route, settle
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


async def stream_of_challenger(stage: Stage, **options: Any) -> tuple[Any, Route]:
    """A client in the middle of v3's answer; the route it came by."""
    stage.backend("v2")
    stage.backend("v3", each(begin_stream))
    trial = route({"v2": 0, "v3": BUCKETS}, **options)
    stage.use(trial)
    client = await stage.client()
    await client.send(get())
    assert (await client.head()).status == 200
    await client.until(FIRST)
    return client, trial


async def test_half_an_answer_is_cut_so_that_it_cannot_look_complete(stage: Stage) -> None:
    client, trial = await stream_of_challenger(stage)
    stage.use(taken_back(trial, Cut("v3", 0.05)))
    rest, _ = await client.rest()
    assert b"0\r\n\r\n" not in rest
    cell = await stage.cell("v3")
    assert (cell.errors, cell.failures) == (0, {FailureStage.CUT: 1})


async def test_without_it_they_finish(stage: Stage) -> None:
    finish = asyncio.Event()

    async def until_told(conversation: Conversation, request: Message) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await finish.wait()
        await conversation.send(b"cd")

    stage.backend("v2")
    stage.backend("v3", each(until_told))
    trial = route({"v2": 0, "v3": BUCKETS})
    stage.use(trial)
    client = await stage.client()
    await client.send(get())
    await client.until(b"\r\n\r\nab")
    stage.use(taken_back(trial))
    await settle()
    finish.set()
    assert await client.exactly(2) == b"cd"
    assert (await stage.cell("v3")).failures == {}


@pytest.mark.parametrize(("pure", "status"), [(True, 200), (False, 503)])
async def test_an_answer_not_begun_comes_from_the_fallback_where_it_may(
    stage: Stage, pure: bool, status: int
) -> None:
    stage.backend("v2")
    challenger = stage.backend("v3", silent)
    trial = route({"v2": 0, "v3": BUCKETS}, fallback="v2", pure=pure)
    stage.use(trial)
    client = await stage.client()
    await client.send(post(b"{}"))
    await wait_until(lambda: challenger.conversations, "v3 is asked")
    await wait_until(lambda: stage.plane.active, "the exchange is under way")
    stage.use(taken_back(trial, Cut("v3", 0.0)))
    answer = await client.answer("POST")
    assert (answer.status, answer.error) == (status, None if pure else b"internal/cut")
    cell = await stage.cell("v3")
    assert (cell.errors, cell.spilled, cell.failures) == (0, int(pure), {FailureStage.CUT: 1})


async def test_others_go_on(stage: Stage) -> None:
    """Those of another route, and who began after it was taken back, as a tester may."""
    client, trial = await stream_of_challenger(stage)
    other = replace(route("v2", name="other"), match=Match(path="/other"))
    stage.use(taken_back(other, Cut("v3", 0.0)), trial)
    stage.use(replace(trial, cuts=(Cut("v3", 0.0),)))
    await settle()
    (exchange,) = stage.plane.active
    assert not exchange.ended
    client.close()


async def test_while_a_connection_is_opened_it_is_not_asked_beside_the_fallback(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = connecting_slowly(monkeypatch)
    challenger = stage.backend("v3")
    answering = asyncio.Event()

    async def when_told(conversation: Conversation, request: Message) -> None:
        await answering.wait()
        await conversation.send(ok(b"v2"))

    stage.backend("v2", each(when_told))
    trial = route({"v2": 0, "v3": BUCKETS}, fallback="v2", pure=True)
    stage.use(trial)
    client = await stage.client()
    await client.send(post(b"{}"))
    await wait_until(lambda: stage.plane.active, "the exchange is under way")
    stage.use(taken_back(trial, Cut("v3", 0.0)))
    await wait_until(lambda: len(stage.plane.tasks) == 2, "the fallback is connected to as well")
    opening.set()
    await wait_until(lambda: not stage.plane.tasks, "both are connected")
    answering.set()
    assert (await client.answer()).body == b"v2"
    assert challenger.requests == []
