"""Rows for the prediction log: one for each exchange of a route that has one, whatever it was answered."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.dataplane import logged_rows
from crossfade.quality.logged import LoggedExchange, exchanges_in
from crossfade.quality.prediction import Prediction
from crossfade.quality.samples import AnswerSample
from crossfade.routing.ledger import hash_of, salt_of
from crossfade.routing.snapshot import Cors
from tests.dataplane.plane import Harness, route, settle, sticky
from tests.dataplane.scripted import Script, answering, closing
from tests.dataplane.wire import get, ok, post

LOGGED: dict[str, Any] = {"logs": True, "sticky": sticky("header", "x-customer")}
WITH_INPUTS: dict[str, Any] = {"logs": True, "inputs": True, "prediction": Prediction(("p",))}
ERROR = answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
PREFLIGHT = b"OPTIONS /predict HTTP/1.1\r\nHost: h\r\nOrigin: https://a\r\nAccess-Control-Request-Method: POST\r\n\r\n"


async def ask(harness: Harness, *requests: bytes) -> None:
    client = await harness.client()
    for request in requests:
        await client.send(request)
        await client.answer()


def rows(harness: Harness, name: str = "churn") -> list[LoggedExchange]:
    batches = harness.plane.recorder.logged.take()
    return [row for batch in batches if batch.route == name for row in exchanges_in(batch)]


async def test_a_row_has_what_was_decided_and_answered(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"{}")))
    harness.use(route("v2", **LOGGED))
    await ask(harness, get(fields=[b"x-customer: ann", b"x-request-id: one"]), get())
    first, second = rows(harness)
    assert (first.request_id, first.backend, first.answered_by, first.role) == (
        b"one",
        "v2",
        "v2",
        "champion",
    )
    assert (first.key, second.key) == (hash_of(b"ann", salt_of("churn")), None)
    assert (first.status, first.blamed, first.ledger_version) == (200, False, 1)
    assert 0 < first.seconds < 60
    assert 0 <= second.at - first.at < 60 < first.at
    assert rows(harness) == []


async def test_the_fallback_answers_for_the_assigned_backend(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"{}")))
    harness.backend("v3", ERROR)
    harness.use(route("v3", fallback="v2", pure=True, **LOGGED))
    await ask(harness, get())
    (row,) = rows(harness)
    assert (row.backend, row.answered_by, row.status, row.blamed) == ("v3", "v2", 200, True)


@pytest.mark.parametrize(
    ("script", "status", "by"), [(ERROR, 500, "v2"), (closing(b""), 502, "")], ids=["an error", "nothing"]
)
async def test_a_failed_exchange_has_a_row_too(
    harness: Harness, script: Script, status: int, by: str
) -> None:
    harness.backend("v2", script)
    harness.use(route("v2", **LOGGED))
    await ask(harness, get())
    (row,) = rows(harness)
    assert (row.status, row.answered_by, row.blamed) == (status, by, True)


async def test_what_the_proxy_answers_itself_has_no_row(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"{}")))
    harness.use(route("v2", cors=Cors(("*",), ("*",)), **LOGGED))
    await ask(harness, PREFLIGHT)
    assert rows(harness) == []


async def test_other_routes_have_no_rows(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"{}")))
    harness.use(route("v2"))
    await ask(harness, get())
    assert harness.plane.recorder.logged.take() == []


async def test_rows_between_two_reports_are_limited_and_those_above_counted(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logged_rows, "MOST", 3)
    harness.backend("v2", answering(ok(b"{}")))
    harness.use(route("v2", **LOGGED))
    await ask(harness, *[get()] * 5)
    assert len(rows(harness)) == 3
    assert harness.plane.recorder.take().dropped == {"prediction_log": 2}
    await ask(harness, get())
    assert (len(rows(harness)), harness.plane.recorder.take().dropped) == (1, {})


@pytest.mark.parametrize(
    ("body", "limit", "kept"),
    [
        (b'{"x": 1}', 65_536, True),
        (b"x" * 60_000, 65_536, True),
        (b"x" * 60_000, 1_000, False),  # above the replay limit, only a part of it was kept
        (b"x" * 70_000, 200_000, False),
    ],
)
async def test_the_body_of_a_request_is_passed_on_whole_or_not_at_all(
    harness: Harness, body: bytes, limit: int, kept: bool
) -> None:
    harness.backend("v2", answering(ok(b'{"p": 0.5}')))
    harness.use(route("v2", replay_limit=limit, **WITH_INPUTS))
    client, request = await harness.client(), post(body)
    await client.send(request[:-10])
    await settle()
    await client.send(request[-10:])
    await client.answer()
    (sample,) = harness.plane.recorder.samples.take()
    assert isinstance(sample, AnswerSample)
    assert sample.asked.body == (body if kept else None)
