"""Scores: the proxy reads them from sent answers, and counts each answer that has no score or is not read."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.dataplane import kept_answer, sampling
from crossfade.quality.prediction import Prediction
from crossfade.routing.ledger import hash_of, salt_of
from crossfade.stats.counts import Cell
from crossfade.stats.scores import Scores, bucket_of_score
from tests.dataplane.plane import Harness, route, sticky
from tests.dataplane.scripted import Script, answering, closing
from tests.dataplane.wire import chunked, get, ok

WITH_PREDICTION: dict[str, Any] = {"prediction": Prediction(("out", "p"))}
SERVER_ERROR = answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
CHUNKED_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(
    b'{"out":', b' {"p": 0.25}}'
)
UNTIL_CLOSE_ANSWER = b'HTTP/1.1 200 OK\r\n\r\n{"out": {"p": 0.25}}'


def scores(*values: float) -> Scores:
    result = Scores()
    for score in values:
        result.add(score)
    return result


async def cell_after(harness: Harness, script: Script, times: int = 1, **options: Any) -> Cell:
    harness.backend("v2", script)
    harness.use(route("v2", **options))
    for _ in range(times):
        client = await harness.client()
        await client.send(get(fields=[b"x-customer: ann"]))
        await client.answer()
    return await harness.cell("v2")


def dropped(harness: Harness) -> dict[str, int]:
    return harness.plane.recorder.table.dropped


@pytest.mark.parametrize(
    "script",
    [answering(ok(b'{"out": {"p": 0.25, "q": 1}}')), answering(CHUNKED_ANSWER), closing(UNTIL_CLOSE_ANSWER)],
    ids=["length", "chunked", "until close"],
)
async def test_a_score_is_read_in_each_framing_of_an_answer(harness: Harness, script: Script) -> None:
    cell = await cell_after(harness, script, times=2, **WITH_PREDICTION)
    assert (cell.scores, cell.keyed_scores, dropped(harness)) == (scores(0.25, 0.25), [], {})


async def test_the_score_of_a_keyed_request_is_kept_with_the_hash_of_its_key(harness: Harness) -> None:
    options = WITH_PREDICTION | {"sticky": sticky("header", "x-customer")}
    cell = await cell_after(harness, answering(ok(b'{"out": {"p": 7}}')), **options)
    assert cell.keyed_scores == [(hash_of(b"ann", salt_of("churn")), bucket_of_score(7))]
    assert cell.scores == Scores()


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[1]", b'{"out": 1}', b'{"out": {}}', b"\xff"),
        *(b'{"out": {"p": %b}}' % p for p in (b'"0.3"', b"true", b"-1" + b"0" * 400)),
    ],
)
async def test_an_answer_without_a_score_is_counted_as_dropped(harness: Harness, body: bytes) -> None:
    cell = await cell_after(harness, answering(ok(body)), **WITH_PREDICTION)
    assert (cell.requests, cell.scores, dropped(harness)) == (1, Scores(), {"unreadable": 1})
    assert (cell.read, cell.answers, cell.unreadable, cell.scoreless) == (1, 1, 1, 1)


async def test_an_answer_above_the_size_limit_is_not_read(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_answer, "LARGEST", 20)
    cell = await cell_after(harness, answering(ok(b'{"out": {"p": 0.25}, "more": 1}')), **WITH_PREDICTION)
    assert (cell.scores, dropped(harness)) == (Scores(), {"body_size": 1})


async def test_the_answers_read_between_two_reports_are_limited(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "READ", 3)
    cell = await cell_after(harness, answering(ok(b'{"out": {"p": 0.25}}')), times=5, **WITH_PREDICTION)
    assert (cell.scores.count, harness.plane.recorder.take().dropped) == (3, {"answers": 2})
    await harness.wires[-1].send(get())
    await harness.wires[-1].answer()
    assert (await harness.cell("v2")).scores.count == 1


async def test_no_score_is_read_from_an_error_answer(harness: Harness) -> None:
    cell = await cell_after(harness, SERVER_ERROR, **WITH_PREDICTION)
    assert (cell.scores, dropped(harness)) == (Scores(), {})


async def test_the_score_of_a_fallback_answer_does_not_count_for_the_challenger(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b'{"out": {"p": 0.25}}')))
    harness.backend("v3", SERVER_ERROR)
    harness.use(route("v3", fallback="v2", pure=True, **WITH_PREDICTION))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).backend == "v2"
    cell = await harness.cell("v3")
    assert (cell.fell_back, cell.scores, dropped(harness)) == (1, Scores(), {})


async def test_no_answer_is_kept_on_a_route_without_a_prediction(harness: Harness) -> None:
    cell = await cell_after(harness, answering(ok(b'{"out": {"p": 0.25}}')))
    assert (cell.scores, dropped(harness)) == (Scores(), {})
    (exchange,) = harness.accepted
    assert exchange.said == b""
