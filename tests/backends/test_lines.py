"""`POST /batch` as NDJSON."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from crossfade_backends.data import as_request, draw_sample
from crossfade_backends.lines import MAX_LINE, NDJSON, Line, LineSplitter
from crossfade_backends.rows import MAX_ROWS
from crossfade_backends.scoring import ServedModel, load_served_model
from crossfade_backends.server import MAX_BODY
from tests.backends.serving import ROW, fetch, serving

HEADERS = {"Content-Type": NDJSON}


def as_lines(rows: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def posted(client: aiohttp.ClientSession, body: Any) -> list[Any]:
    async with client.post("/batch", data=body, headers=HEADERS) as answer:
        assert (answer.status, answer.content_type) == (200, NDJSON)
        return [json.loads(line) for line in (await answer.read()).splitlines()]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_pieces_make_no_difference(body, cuts):
    body = body.replace(b"\x00", b"\n")
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    splitter = LineSplitter()
    found: list[Line] = []
    for start, end in itertools.pairwise(places):
        found += splitter.feed(body[start:end])
    found += splitter.close()
    expected = body.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert found == list(enumerate(expected, 1))


def test_a_line_that_is_too_long_takes_no_memory_and_hides_no_other():
    splitter = LineSplitter()
    found: list[Line] = []
    for _ in range(200):
        found += splitter.feed(b"x" * 1000)
        assert len(splitter._begun) <= MAX_LINE
    found += splitter.feed(b"\n" + b"y" * MAX_LINE + b"\nz")
    found += splitter.close()
    assert found == [(1, None), (2, b"y" * MAX_LINE), (3, b"z")]


async def test_lines_get_what_batch_answers(client):
    sample = draw_sample(1200, 12)
    rows = [as_request(sample, index) for index in range(1200)]
    found = await posted(client, as_lines(rows))
    _, answer = await fetch(client, "POST", "/batch", json={"rows": rows})
    for each in (*found, *answer["predictions"]):
        del each["prediction_timestamp"]
    assert found == answer["predictions"]


async def test_bad_lines_are_named_in_their_place(client):
    bad = ROW | {"support_tickets_90d": -1}
    body = as_lines([ROW, bad]) + b"\n  \r\n{\n" + b'"' + b"x" * MAX_LINE + b'"\n' + json.dumps(ROW).encode()
    first, second, third, fourth, last = await posted(client, body)
    assert first["model_version"] == last["model_version"] == "v3"
    assert (second["line"], second["detail"][0]["loc"]) == (2, ["body", "support_tickets_90d"])
    assert (third["line"], third["detail"][0]["type"]) == (5, "json_invalid")
    assert (fourth["line"], fourth["detail"][0]["msg"]) == (6, f"the line has more than {MAX_LINE} bytes")


@pytest.mark.parametrize("body", [b"", b"\n\n"])
async def test_no_lines_get_no_answers(client, body):
    assert await posted(client, body) == []


async def test_each_line_is_answered_while_the_next_is_not_sent_yet(client):
    answered: asyncio.Queue[bytes] = asyncio.Queue()

    async def lines() -> AsyncIterator[bytes]:
        for n in range(3):
            yield as_lines([ROW | {"customer_id": n}])
            assert json.loads(await answered.get())["customer_id"] == n

    async with client.post("/batch", data=lines(), headers=HEADERS) as answer:
        async for line in answer.content:
            answered.put_nowait(line)


async def test_a_body_may_be_larger_than_any_other(client):
    piece = as_lines([ROW] * 500)
    pieces = max(MAX_BODY // len(piece), MAX_ROWS // 500) + 1

    async def lines() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield piece

    found = 0
    async with client.post("/batch", data=lines(), headers=HEADERS) as answer:
        async for line in answer.content:
            assert b'"churn_probability"' in line
            found += 1
    assert found == 500 * pieces


async def test_faults_affect_lines_too(client):
    [good] = await posted(client, as_lines([ROW]))
    await client.put("/faults", json={"wrong_scores": True})
    [wrong] = await posted(client, as_lines([ROW]))
    assert wrong["churn_probability"] == 1 - good["churn_probability"]
    await client.put("/faults", json={"error_share": True, "error_status": 418})
    async with client.post("/batch", data=as_lines([ROW]), headers=HEADERS) as answer:
        assert answer.status == 418
    await client.put("/faults", json={"cut": True})
    with pytest.raises(aiohttp.ClientPayloadError):
        await posted(client, as_lines([ROW]))


async def test_lines_are_counted_as_predictions_and_not_as_one_duration(client):
    await posted(client, as_lines([ROW, {}, ROW]))
    async with client.get("/metrics") as answer:
        families = {each.name: each.samples for each in text_string_to_metric_families(await answer.text())}
    counts = {
        each.name: each.value for name in families for each in families[name] if each.name.endswith("_count")
    }
    assert counts["model_server_score_count"] == 2
    assert counts["model_server_prediction_duration_seconds_count"] == 0


async def test_without_a_model_no_line_is_read(registry):
    def fail(*arguments: Any) -> Any:
        raise ValueError("no model")

    async with (
        serving(registry, load=fail, wait=False) as client,
        client.post("/batch", data=as_lines([ROW]), headers=HEADERS) as answer,
    ):
        assert answer.status == 503


async def test_an_answer_ends_too_early_where_the_model_fails(registry):
    class Failing:
        def predict_proba(self, matrix: Any) -> Any:
            raise RuntimeError("the model is broken")

    def load(*arguments: Any) -> ServedModel:
        return ServedModel(load_served_model(*arguments).metadata, Failing())

    async with serving(registry, load=load) as client:
        with pytest.raises(aiohttp.ClientPayloadError):
            await posted(client, as_lines([ROW]))
        assert (await fetch(client, "GET", "/health"))[0] == 200
