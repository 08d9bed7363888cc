"""`POST /api/v1/feedback`: bodies, limits, what is stored when a call fails half way."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.admin import connections, feedback
from crossfade.admin.feedback import LONGEST_LINE, MAX_BODY, MAX_ROWS
from crossfade.control.prediction_logs import PredictionLogs, Work
from tests.admin.metrics_page import at, samples_of
from tests.admin.site import Site, serving
from tests.control.harness import HEADING
from tests.control.prediction_rows import Predicted, add_predictions, values_of

PATH = "/api/v1/feedback"
NDJSON = {"Content-Type": "application/x-ndjson"}
FILE = HEADING + "    feedback: {horizon: 1h}\n"


class Logs(PredictionLogs):
    """`left`: writes until the disk is full."""

    left = 1_000_000

    async def write(self, route: str, work: Work[Any]) -> Any:
        if self.left <= 0:
            raise sqlite3.OperationalError("database or disk is full")
        self.left -= 1
        return await super().write(route, work)


class Fed:
    def __init__(self, site: Site, logs: Logs) -> None:
        self.site = site
        self.logs = logs

    async def predict(self, *ids: str) -> None:
        rows = [Predicted(one, self.site.harness.now) for one in ids]
        await self.logs.write("churn", lambda connection: add_predictions(connection, rows))

    async def post(self, body: Any, status: int = 202, **options: Any) -> Any:
        if isinstance(body, bytes):
            body = BytesIO(body)
        how = {"data": body} if isinstance(body, BytesIO | AsyncIterator) else {"json": body}
        if "data" in how:
            options.setdefault("headers", {"Content-Type": "application/json"})
        return await self.site.ask("POST", PATH, status, **how, **options)

    async def values(self) -> Any:
        return await self.logs.read("churn", values_of)


@pytest.fixture
async def fed(tmp_path: Path) -> AsyncIterator[Fed]:
    async with serving() as site:
        logs = site.harness.controller.feedback.logs = Logs(tmp_path / "log")
        await site.harness.load(FILE)
        await site.harness.tick()
        yield Fed(site, logs)
        await logs.close()


def lines(rows: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def labels(ids: Iterable[int]) -> list[dict[str, Any]]:
    return [{"request_id": f"r{i}", "label": i % 2} for i in ids]


def counts(answer: dict[str, Any]) -> dict[str, int]:
    return {name: n for name, n in answer.items() if isinstance(n, int) and n}


async def test_one_object_a_list_and_lines_are_taken(fed: Fed) -> None:
    await fed.predict("r1", "r2", "r3")
    answer = await fed.post({"request_id": "r1", "label": 1})
    assert answer == {
        "accepted": 1,
        "duplicate": 0,
        "corrected": 0,
        "conflicting": 0,
        "unmatched": 0,
        "late": 0,
        "invalid": 0,
        "errors": [],
        "errors_left_off": 0,
    }
    assert counts(await fed.post(labels([1, 2]))) == {"accepted": 1, "duplicate": 1}
    body = b'\n{"request_id": "r3", "name": "revenue", "value": 9.5}\r\n\n{"request_id": "r2", "label": 1}'
    assert counts(await fed.post(body, headers=NDJSON)) == {"accepted": 1, "corrected": 1}
    assert await fed.values() == {("r1", "label"): 1, ("r2", "label"): 1, ("r3", "revenue"): 9.5}
    assert counts(await fed.post([])) == {}
    assert counts(await fed.post(b"", headers=NDJSON)) == {}


async def test_wrong_rows_refuse_only_themselves(fed: Fed) -> None:
    await fed.predict("r1", "r2")
    rows = [
        *labels([1]),
        7,
        {"request_id": "r2"},
        {"request_id": "r2", "label": 0, "route": "chrun"},
        *labels([2]),
    ]
    answer = await fed.post(rows)
    assert counts(answer) == {"accepted": 2, "invalid": 3}
    assert [(e["row"], e["detail"]) for e in answer["errors"]] == [
        (2, "Expected `object`, got `int`"),
        (3, "value is missing (or label)"),
        (4, "no route is called chrun; did you mean churn?"),
    ]
    answer = await fed.post(b'{"request_id": "r1", "label": 1}\n\nnonsense\n[]\n', headers=NDJSON)
    assert counts(answer) == {"duplicate": 1, "invalid": 2}
    assert [e["row"] for e in answer["errors"]] == [3, 4]


async def test_where_no_row_is_valid_the_call_is_not(fed: Fed) -> None:
    refused = await fed.post({"request_id": "r1"}, 422)
    assert refused["detail"] == "No row is valid. Row 1: value is missing (or label)."
    assert refused["so_far"]["invalid"] == 1
    await fed.post([{"request_id": "r1"}, 3], 422)
    await fed.post(b"nonsense\n", 422, headers=NDJSON)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[{]", b'[{"request_id": "r1"}', b"[" * 100_000, b'{"request_id": "r"} {}']
)
async def test_a_body_that_is_no_json_is_a_bad_request(fed: Fed, body: bytes) -> None:
    assert "JSON" in (await fed.post(body, 400))["detail"]


@pytest.mark.parametrize("body", [b"3", b'"text"', b"null", b"true"])
async def test_a_body_of_another_kind_is_not_valid(fed: Fed, body: bytes) -> None:
    await fed.post(body, 422)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
    ],
)
async def test_other_media_types_and_codings_are_refused(fed: Fed, headers: dict[str, str]) -> None:
    await fed.post(b"[]", 415, headers=headers)


async def test_a_body_larger_than_other_calls_may_have_is_taken(fed: Fed) -> None:
    rows = labels(range(20_000))
    body = json.dumps(rows, indent=8).encode()
    assert len(body) > 1 << 20
    await fed.predict(*(f"r{i}" for i in range(20_000)))
    assert counts(await fed.post(body)) == {"accepted": 20_000}
    assert counts(await fed.post(lines(rows), headers=NDJSON)) == {"duplicate": 20_000}


async def test_a_body_that_is_too_large_is_refused_before_anything_is_stored(fed: Fed) -> None:
    assert f"{MAX_BODY} exceeded" in (await fed.post(b" " * (MAX_BODY + 1), 413))["detail"]
    many = b"[" + b",".join([b"1"] * (MAX_ROWS + 1)) + b"]"
    assert "More than 100000 rows" in (await fed.post(many, 413))["detail"]


async def test_too_many_lines_are_refused_and_what_was_stored_is_said(
    fed: Fed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "MAX_ROWS", 2000)
    await fed.predict(*(f"r{i}" for i in range(1500)))
    refused = await fed.post(lines(labels(range(2001))), 413, headers=NDJSON)
    assert counts(refused["so_far"]) == {"accepted": 1500, "unmatched": 500}
    assert len(await fed.values()) == 1500


@given(
    st.lists(st.sampled_from([b"1", b"{}", b"", b" ", b"\r", b"abc" * 30]), max_size=12),
    st.lists(st.integers(0, 400)),
)
def test_how_lines_are_cut_into_parts_changes_nothing(rows: list[bytes], cuts: list[int]) -> None:
    body = b"\n".join(rows)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]

    async def parts() -> AsyncIterator[bytes]:
        for a, b in pairwise(edges):
            yield body[a:b]

    async def taken() -> list[Any]:
        return [row async for chunk in feedback._chunks_of(parts()) for row in chunk]

    assert asyncio.run(taken()) == [(n, row) for n, row in enumerate(rows, 1) if row.strip()]


async def test_a_chunk_of_long_lines_has_few_of_them() -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * (LONGEST_LINE - 1) + b"\n"

    sizes = [len(chunk) async for chunk in feedback._chunks_of(parts())]
    assert sum(sizes) == 40 and max(sizes) == 17


async def test_only_a_few_large_documents_are_held(fed: Fed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "SMALL_BODY", 100)
    monkeypatch.setattr(connections, "BODY_TIME", 60.0)
    await fed.predict("r1", "r2")
    begun: asyncio.Queue[None] = asyncio.Queue()
    end = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        """Begins when the handler has: until then the client waits for its 100."""
        begun.put_nowait(None)
        yield b"["
        await end.wait()
        yield b"]"

    held = [asyncio.ensure_future(fed.post(slow(), expect100=True)) for _ in range(feedback.LARGE_BODIES)]
    for _ in held:
        await begun.get()
    refused = await fed.post(labels([1, 2, 1, 2]), 503)
    assert "large calls" in refused["detail"]
    assert counts(await fed.post(labels([1]))) == {"accepted": 1}
    assert counts(await fed.post(lines(labels([1, 2, 1, 2])), headers=NDJSON)) == {
        "duplicate": 3,
        "accepted": 1,
    }
    end.set()
    assert [counts(answer) for answer in await asyncio.gather(*held)] == [{}] * feedback.LARGE_BODIES
    assert counts(await fed.post(labels([1, 2, 1, 2]))) == {"duplicate": 4}


async def test_a_line_has_a_limit(fed: Fed) -> None:
    await fed.predict("r1")
    long = b'{"request_id": "r1", "label": "' + b"x" * LONGEST_LINE
    for body in (lines(labels([1])) + long, lines(labels([1])) + long + b'"}\n'):
        assert "Line 2 is longer" in (await fed.post(body, 413, headers=NDJSON))["detail"]


async def test_a_full_disk_is_an_answer_that_says_what_was_stored(fed: Fed) -> None:
    await fed.predict(*(f"r{i}" for i in range(2500)))
    fed.logs.left = 2
    async with fed.site.session.post(
        fed.site.url + PATH, data=lines(labels(range(2500))), headers=NDJSON
    ) as response:
        refused = await response.json(content_type=None)
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert "disk is full" in refused["detail"]
    assert refused["type"] == "urn:crossfade:problem:unwritten"
    assert counts(refused["so_far"]) == {"accepted": 2000}
    fed.logs.left = 10
    assert counts(await fed.post(labels(range(2500)))) == {"duplicate": 2000, "accepted": 500}


async def test_lines_are_stored_as_they_come(fed: Fed) -> None:
    await fed.predict(*(f"r{i}" for i in range(1200)))
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        """Its end is sent when its beginning has been stored."""
        yield lines(labels(range(1100)))
        while len(await fed.values() or ()) < 1000:
            await asyncio.sleep(0.01)
        seen.put_nowait(len(await fed.values()))
        yield lines(labels(range(1100, 1200)))

    assert counts(await fed.post(body(), headers=NDJSON)) == {"accepted": 1200}
    assert seen.get_nowait() == 1000


async def test_a_body_that_stops_coming_is_given_up(fed: Fed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_TIME", 0.05)
    await fed.predict("r1")

    async def body() -> AsyncIterator[bytes]:
        yield lines(labels([1]))
        await asyncio.sleep(3600)

    assert (await fed.post(body(), 408, headers=NDJSON))["so_far"]["accepted"] == 0


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/json"])
async def test_a_client_that_leaves_half_way_is_no_fault_of_the_proxy(
    fed: Fed, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    await fed.predict(*(f"r{i}" for i in range(1500)))
    host, port = "127.0.0.1", fed.site.server.port
    _, writer = await asyncio.open_connection(host, port)
    head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 9999999\r\n\r\n"
    writer.write(head.encode() + lines(labels(range(1500))))
    await writer.drain()
    while kind != "application/json" and len(await fed.values()) < 1000:
        await asyncio.sleep(0.01)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.2)
    assert "failed" not in caplog.text
    assert counts(await fed.post(labels(range(1500))))["accepted"] >= 500


async def test_rows_of_predictions_are_written_between_chunks(
    fed: Fed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large call does not keep the writing thread: what is asked for meanwhile is written before its end."""
    await fed.predict(*(f"r{i}" for i in range(3000)))
    call = asyncio.ensure_future(fed.post(lines(labels(range(3000))), headers=NDJSON))
    while not await fed.values():
        await asyncio.sleep(0)
    await fed.predict("between")
    between = len(await fed.values())
    assert counts(await call) == {"accepted": 3000}
    assert between < 3000


async def test_feedback_has_metrics(fed: Fed) -> None:
    await fed.predict("r1", "r2")
    await fed.site.harness.tick(seconds=700.0)
    await fed.post([*labels([1, 2, 1, 3]), {"request_id": "r1", "name": "revenue", "value": 3}, 7])
    samples = await samples_of(fed.site)
    label = {"route": "churn", "name": "label"}
    assert at(samples, "feedback_total", outcome="accepted", **label) == 2
    assert at(samples, "feedback_total", outcome="duplicate", **label) == 1
    assert at(samples, "feedback_total", outcome="unmatched", **label) == 1
    assert at(samples, "feedback_total", outcome="invalid", route="", name="") == 1
    assert at(samples, "feedback_delay_seconds_bucket", le="600.0", **label) == 0
    assert at(samples, "feedback_delay_seconds_bucket", le="3600.0", **label) == 2
    assert at(samples, "feedback_delay_seconds_count", route="churn", name="revenue") == 1


async def test_feedback_needs_the_token(tmp_path: Path) -> None:
    async with serving(token="t0ken") as site:
        await site.ask("POST", PATH, 401, json=[])
        await site.ask("POST", PATH, 202, json=[], headers={"Authorization": "Bearer t0ken"})
