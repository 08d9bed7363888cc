"""Every answer has one Date field: the backend's own, or one of the proxy (RFC 9110 section 6.6.1)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import answering
from tests.dataplane.wire import Message, get, ok, post

OWN = b"Sat, 21 Nov 2026 00:00:00 GMT"


async def answer_to(harness: Harness, raw: bytes) -> Message:
    client = await harness.client()
    await client.send(raw)
    return await client.answer()


def expect_date_of_now(answer: Message) -> None:
    (date,) = answer.all("date")
    assert len(date) == 29
    assert date.endswith(b" GMT")
    age = datetime.now(UTC) - parsedate_to_datetime(date.decode())
    assert timedelta(0) <= age < timedelta(seconds=30)


@pytest.mark.parametrize("raw", [get(), b"GET /predict HTTP/1.0\r\n\r\n"], ids=["1.1", "1.0"])
async def test_an_answer_without_a_date_gets_one(harness: Harness, raw: bytes) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    expect_date_of_now(await answer_to(harness, raw))


@pytest.mark.parametrize("name", [b"Date", b"date", b"DATE"])
async def test_the_date_of_a_backend_is_kept(harness: Harness, name: bytes) -> None:
    harness.backend("v2", answering(ok(b"x", [b"%b: %b" % (name, OWN)])))
    harness.use(route("v2"))
    for _ in range(2):
        assert (await answer_to(harness, get())).all("date") == [OWN]


async def test_a_date_that_connection_names_is_replaced(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"x", [b"Connection: date", b"Date: " + OWN])))
    harness.use(route("v2"))
    expect_date_of_now(await answer_to(harness, get()))


async def test_answers_of_the_proxy_have_a_date(harness: Harness) -> None:
    harness.refusing("v2")
    harness.use(route("v2"))
    for raw in (b"bad\r\n", post(b"x")):
        expect_date_of_now(await answer_to(harness, raw))
    harness.use()
    expect_date_of_now(await answer_to(harness, get()))


async def test_the_date_follows_the_clock(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    first = (await answer_to(harness, get())).field("date")
    harness.plane.second = 0
    harness.plane.date = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    while harness.plane.second == 0:  # until the next sweep
        await asyncio.sleep(0.01)
    last = (await answer_to(harness, get())).field("date")
    assert first is not None
    assert last is not None
    assert b"1970" not in last
