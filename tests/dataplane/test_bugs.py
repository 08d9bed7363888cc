"""A bug in the proxy fails one exchange only: its client gets a 500, and it has one outcome (law 1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crossfade.dataplane.downstream import Downstream
from crossfade.dataplane.exchange import Exchange
from crossfade.dataplane.upstream import Upstream
from crossfade.http1.request_head import RequestHead
from tests.build import interpreted
from tests.dataplane.plane import Harness, route
from tests.dataplane.wire import get

pytestmark = interpreted


def broken(*_: object) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(("side", "method"), [(Upstream, "ask"), (Downstream, "answer")])
async def test_a_bug_answers_500_and_leaves_other_exchanges_alone(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, side: type, method: str
) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    with monkeypatch.context() as patched:
        patched.setattr(side, method, broken)
        await client.send(get("/"))
        answer = await client.answer()
    assert answer.status == 500
    assert answer.field("x-crossfade-error") == b"internal/bug"
    other = await harness.client()
    await other.send(get("/"))
    assert (await other.answer()).status == 200
    cell = await harness.cell("v2")
    assert (cell.requests, cell.errors, cell.codes) == (2, 0, {500: 1, 200: 1})


async def test_a_bug_before_a_backend_is_assigned_answers_500(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    monkeypatch.setattr(Exchange, "decide", broken)
    await client.send(get("/"))
    assert (await client.answer()).status == 500


async def test_a_bug_in_a_pipelined_request_resets_the_connection(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    monkeypatch.setattr(Downstream, "start", failing_for(b"/b", Downstream.start))
    client = await harness.client()
    await client.send(get("/a") + get("/b"))
    assert (await client.answer()).status == 200
    assert await client.rest() == (b"", "reset")


def failing_for(path: bytes, start: Callable[..., None]) -> Callable[..., None]:
    def start_or_fail(self: Downstream, head: RequestHead, rest: bytes) -> None:
        if head.path == path:
            raise RuntimeError("a bug")
        start(self, head, rest)

    return start_or_fail
