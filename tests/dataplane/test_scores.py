"""What answers say: scores are read from answers that have gone out, and what is not read is counted."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.dataplane import observe
from crossfade.routing.ledger import hash_of, salt_of
from crossfade.routing.snapshot import Prediction
from crossfade.stats.counts import Cell
from crossfade.stats.scores import Scores, bucket_of_score
from tests.dataplane.plane import Harness, route, sticky
from tests.dataplane.scripted import Script, answering, closing
from tests.dataplane.wire import chunked, get, ok

READING: dict[str, Any] = {"prediction": Prediction(("out", "p"))}
FAILING = answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b'{"out":', b' {"p": 0.25}}')
WITHOUT_END = b'HTTP/1.1 200 OK\r\n\r\n{"out": {"p": 0.25}}'


def scores(*found: float) -> Scores:
    out = Scores()
    for score in found:
        out.add(score)
    return out


async def asked(harness: Harness, script: Script, times: int = 1, **options: Any) -> Cell:
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
    [answering(ok(b'{"out": {"p": 0.25, "q": 1}}')), answering(IN_CHUNKS), closing(WITHOUT_END)],
    ids=["whole", "in chunks", "until close"],
)
async def test_a_score_is_read_however_the_answer_comes(harness: Harness, script: Script) -> None:
    cell = await asked(harness, script, times=2, **READING)
    assert (cell.scores, cell.keyed_scores, dropped(harness)) == (scores(0.25, 0.25), [], {})


async def test_with_a_key_the_score_comes_with_its_hash(harness: Harness) -> None:
    options = READING | {"sticky": sticky("header", "x-customer")}
    cell = await asked(harness, answering(ok(b'{"out": {"p": 7}}')), **options)
    assert cell.keyed_scores == [(hash_of(b"ann", salt_of("churn")), bucket_of_score(7))]
    assert cell.scores == Scores()


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[1]", b'{"out": 1}', b'{"out": {}}', b"\xff"),
        *(b'{"out": {"p": %b}}' % p for p in (b'"0.3"', b"true", b"NaN", b"1e999", b"-1" + b"0" * 400)),
    ],
)
async def test_what_is_no_score_is_counted_and_harms_nobody(harness: Harness, body: bytes) -> None:
    cell = await asked(harness, answering(ok(body)), **READING)
    assert (cell.requests, cell.scores, dropped(harness)) == (1, Scores(), {"no_score": 1})


async def test_an_answer_that_is_too_large_is_not_read(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "LARGEST", 20)
    cell = await asked(harness, answering(ok(b'{"out": {"p": 0.25}, "more": 1}')), **READING)
    assert (cell.scores, dropped(harness)) == (Scores(), {"body_size": 1})


async def test_so_many_answers_are_read_between_reports(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "READ", 3)
    cell = await asked(harness, answering(ok(b'{"out": {"p": 0.25}}')), times=5, **READING)
    assert (cell.scores.count, harness.plane.recorder.take().dropped) == (3, {"answers": 2})
    await harness.wires[-1].send(get())
    await harness.wires[-1].answer()
    assert (await harness.cell("v2")).scores.count == 1


async def test_an_error_predicts_nothing(harness: Harness) -> None:
    cell = await asked(harness, FAILING, **READING)
    assert (cell.scores, dropped(harness)) == (Scores(), {})


async def test_the_answer_of_the_fallback_is_not_the_challenger_s(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b'{"out": {"p": 0.25}}')))
    harness.backend("v3", FAILING)
    harness.use(route("v3", fallback="v2", pure=True, **READING))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).backend == "v2"
    cell = await harness.cell("v3")
    assert (cell.fell_back, cell.scores, dropped(harness)) == (1, Scores(), {})


async def test_nothing_is_kept_of_answers_where_nobody_asks(harness: Harness) -> None:
    cell = await asked(harness, answering(ok(b'{"out": {"p": 0.25}}')))
    assert (cell.scores, dropped(harness)) == (Scores(), {})
    (exchange,) = harness.accepted
    assert exchange.said == b""
