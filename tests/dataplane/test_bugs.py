"""A bug of the proxy's own costs one exchange: its client is told, and it has an outcome (law 1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crossfade.dataplane.downstream import Downstream
from crossfade.dataplane.exchange import Exchange
from crossfade.dataplane.upstream import Upstream
from crossfade.http1.head import RequestHead
from tests.build import interpreted
from tests.dataplane.plane import Harness, route
from tests.dataplane.wire import get

pytestmark = interpreted


def broken(*_: object) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(("side", "says"), [(Upstream, "ask"), (Downstream, "answer")])
async def test_the_client_is_told(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, side: type, says: str
) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    with monkeypatch.context() as patched:
        patched.setattr(side, says, broken)
        await client.send(get("/"))
        answer = await client.answer()
    assert answer.status == 500
    assert answer.field("x-crossfade-error") == b"internal/bug"
    other = await harness.client()
    await other.send(get("/"))
    assert (await other.answer()).status == 200
    cell = await harness.cell("v2")
    assert (cell.requests, cell.errors, cell.codes) == (2, 0, {500: 1, 200: 1})


async def test_before_a_backend_is_known(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    monkeypatch.setattr(Exchange, "decide", broken)
    await client.send(get("/"))
    assert (await client.answer()).status == 500


async def test_in_a_request_that_waited_behind_another(
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
    def fails(self: Downstream, head: RequestHead, rest: bytes) -> None:
        if head.path == path:
            raise RuntimeError("a bug")
        start(self, head, rest)

    return fails
