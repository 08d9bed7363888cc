"""`GET /api/v1/predictions/{route}`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import Any

import pytest

from crossfade.admin import predictions
from crossfade.control.prediction_rows import add_rows
from crossfade.quality.logged import LoggedExchange
from tests.admin.site import Site

PATH = "/api/v1/predictions/churn"
ROWS = 7


@pytest.fixture
async def logged(site: Site, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rows of the seconds 1000 to 1006, in pages of three."""
    monkeypatch.setattr(predictions, "PAGE", 3)
    rows = [
        LoggedExchange(b"%d" % n, 1000.0 + n, "v2", "champion", 1, None, 200, 0.1, "v2") for n in range(ROWS)
    ]
    await site.harness.controller.logs.write("churn", lambda log: add_rows(log, rows, [], 1007.0))
    yield site
    await site.harness.controller.logs.close()


async def ids(site: Site, query: str = "") -> list[int]:
    async with site.session.get(f"{site.url}{PATH}?{query}") as response:
        assert (response.status, response.content_type) == (200, "application/x-ndjson")
        return [int(json.loads(line)["request_id"]) for line in (await response.text()).splitlines()]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", range(ROWS)),
        ("limit=2", [5, 6]),
        ("labelled=true", []),
        ("labelled=false&since=1002&until=1004.5", [2, 3, 4]),
        ("since=1970-01-01T00:16:44%2B00:00&until=1970-01-01T00:16:45Z", [4]),
    ],
)
async def test_rows_come_as_lines(logged: Site, query: str, expected: Any) -> None:
    assert await ids(logged, query) == list(expected)


@pytest.mark.parametrize(
    "query",
    ["labelled=1", "since=yesterday", "since=1970-01-01T00:16:44", "until=-1", "until=nan", "limit=0", "limit=ten", "frm=1"],
)  # fmt: skip
async def test_a_parameter_that_is_not_valid_is_refused(logged: Site, query: str) -> None:
    answer = await logged.get(f"{PATH}?{query}", 422)
    assert answer["detail"].startswith(query.split("=")[0])


async def test_a_route_that_is_not_there_is_refused(site: Site) -> None:
    await site.get("/api/v1/predictions/nobody", 404)


async def test_a_route_without_a_log_has_no_rows(site: Site) -> None:
    assert await ids(site) == []


async def test_head_says_what_get_would(logged: Site) -> None:
    async with logged.session.head(logged.url + PATH) as response:
        assert (response.status, response.content_type) == (200, "application/x-ndjson")


async def test_a_log_that_cannot_be_read_is_said(logged: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(route: str, work: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(logged.harness.controller.logs, "read", read)
    answer = await logged.get(PATH, 503)
    assert "malformed" in answer["detail"]


async def test_an_answer_that_breaks_off_has_no_end(logged: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, read = [], logged.harness.controller.logs.read

    async def once(route: str, work: Any) -> Any:
        calls.append(work)
        if len(calls) > 2:
            raise sqlite3.OperationalError("disk I/O error")
        return await read(route, work)

    monkeypatch.setattr(logged.harness.controller.logs, "read", once)
    async with logged.session.get(logged.url + PATH) as response:
        with pytest.raises(Exception, match="payload"):
            await response.read()


async def test_a_reader_that_leaves_costs_nothing(logged: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", logged.server.port)
    writer.write(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % PATH.encode())
    await reader.readline()
    writer.close()
    assert await ids(logged) == list(range(ROWS))
