"""The event stream: live, without gaps after a reconnect, closed at a shutdown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientError, ClientResponse

from crossfade.admin import connections, events
from crossfade.admin.access import COOKIE, Access
from crossfade.admin.sessions import LASTS
from crossfade.config.admin import AdminConfig
from crossfade.control.views import StatusChange, Verb
from tests.admin.site import Site, serving


class Event(NamedTuple):
    id: int | None
    kind: str
    data: Any


class Reader:
    def __init__(self, response: ClientResponse) -> None:
        self.response = response

    async def block(self) -> str:
        """Up to the next empty line; "" at the end of the stream."""
        lines = []
        while line := (await self.response.content.readline()).decode():
            if line == "\n":
                break
            lines.append(line)
        return "".join(lines)

    async def event(self) -> Event:
        while True:
            block = await self.block()
            assert block, "the stream has ended"
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if fields:
                number = int(fields["id"]) if "id" in fields else None
                return Event(number, fields["event"], json.loads(fields["data"]))


@asynccontextmanager
async def reading(site: Site, last: object = None) -> AsyncIterator[Reader]:
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    async with site.session.get(site.url + "/api/v1/events", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        reader = Reader(response)
        assert (await reader.block()).startswith(":")
        yield reader


async def command(site: Site, verb: Verb) -> None:
    await site.harness.controller.command("churn", verb, "test", site.harness.now)


async def test_events_are_sent_live(site: Site) -> None:
    async with reading(site) as reader:
        await command(site, Verb.PAUSE)
        event = await reader.event()
        newest = (await site.harness.decisions())[-1]
        assert (event.kind, event.id) == ("decision", newest.id)
        assert event.data["action"] == "pause" and event.data["from"]["phase"] == "progressing"
        site.harness.controller.endpoints_changed(frozenset({("v3", "127.0.0.1:9003")}), site.harness.now)
        event = await reader.event()
        assert (event.kind, event.id) == ("status", None)
        assert event.data["what"] == "endpoints"


async def test_a_reader_that_reconnects_gets_missed_decisions_once_and_in_order(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAGE", 3)
    for verb in (Verb.PAUSE, Verb.RESUME) * 4:
        await command(site, verb)
    ids = [d.id for d in await site.harness.decisions()]
    async with reading(site, last=ids[1]) as reader:
        await command(site, Verb.ABORT)
        seen = [await reader.event() for _ in ids[1:]]
    assert [e.id for e in seen] == [*ids[2:], ids[-1] + 1]
    assert seen[-1].data["action"] == "abort"


async def test_decisions_that_a_full_subscription_drops_are_read_from_the_journal(site: Site) -> None:
    async with reading(site, last=0) as reader:
        known = [(await reader.event()).id for _ in await site.harness.actions()]
        (subscription,) = site.harness.controller.feed.subscriptions
        for verb in (Verb.PAUSE, Verb.RESUME, Verb.PAUSE):
            await command(site, verb)
        while len(subscription.waiting) > 1:
            subscription.waiting.popleft()
        seen = [(await reader.event()).id for _ in range(3)]
        assert known + seen == [d.id for d in await site.harness.decisions()]


@pytest.mark.parametrize("last", ["x", "-1", "1" * 30, "1.5"])
async def test_an_invalid_last_event_id_is_ignored(site: Site, last: str) -> None:
    async with reading(site, last) as reader:
        site.harness.controller.feed.publish(StatusChange(1.0, "workers", None, "x"))
        assert (await reader.event()).kind == "status"


async def test_heartbeats_are_sent_without_events(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.01)
    async with reading(site) as reader:
        assert [await reader.block() for _ in range(3)] == [": still here\n"] * 3


async def test_a_shutdown_ends_the_stream() -> None:
    async with serving() as site, reading(site) as reader:
        closing = asyncio.ensure_future(site.server.close())
        assert await reader.block() == ""
        await closing


async def test_a_reader_that_closes_is_removed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.01)
    async with reading(site):
        assert len(site.harness.controller.feed.subscriptions) == 1
    while site.harness.controller.feed.subscriptions:
        await asyncio.sleep(0.01)


async def test_a_reader_that_does_not_read_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)
    controller = site.harness.controller
    async with reading(site) as reader:
        for _ in range(30):
            controller.feed.publish(StatusChange(1.0, "workers", None, "x" * 1_000_000))
        while controller.feed.subscriptions:
            await asyncio.sleep(0.01)
        with pytest.raises(ClientError):
            await reader.response.content.read()


async def test_streams_are_limited(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 4)
    async with reading(site):
        await site.get("/api/v1/events", 503)


@pytest.mark.parametrize("by", ["token", "session", "role"])
@pytest.mark.parametrize("is_woken", [True, False])
async def test_a_stream_ends_when_its_reader_may_read_no_more(
    monkeypatch: pytest.MonkeyPatch, by: str, is_woken: bool
) -> None:
    """By the next event, or by the next sign of life."""
    monkeypatch.setattr(events, "HEARTBEAT", 60.0 if is_woken else 0.01)
    token = {"name": "alice", "role": "viewer", "token": "alice-has-a-long-token"}
    now, known = [0.0], [AdminConfig.model_validate({"tokens": [token]})]
    async with serving(access=Access(lambda: known[0], now=lambda: now[0])) as site:
        headers = {"Authorization": f"Bearer {token['token']}"}
        if by == "session":
            cookie = site.access.sessions.begin(site.access.callers.known[0].token)
            headers = {"Cookie": f"{COOKIE}={cookie}"}
        async with site.session.get(site.url + "/api/v1/events", headers=headers) as response:
            assert response.status == 200
            reader = Reader(response)
            await reader.block()
            if by == "session":
                now[0] = LASTS
            else:
                more = {"role": "feedback"} if by == "role" else {"token": "another-token-of-alice"}
                known[0] = AdminConfig.model_validate({"tokens": [token | more]})
            if is_woken:
                await command(site, Verb.PAUSE)
            while block := await reader.block():
                assert block.startswith(":"), "no event after that"


async def test_the_first_connection_may_name_the_last_event_in_its_address(site: Site) -> None:
    await site.ask("POST", "/api/v1/rollouts/churn/pause")
    known = (await site.get("/api/v1/decisions"))["decisions"]
    for headers, first in (({}, known[1]["id"]), ({"Last-Event-ID": str(known[1]["id"])}, known[2]["id"])):
        url = f"{site.url}/api/v1/events?last_event_id={known[0]['id']}"
        async with site.session.get(url, headers=headers) as response:
            lines = [line async for line in _until_id(response)]
        assert lines[-1] == f"id: {first}"


async def _until_id(response: ClientResponse) -> AsyncIterator[str]:
    async for line in response.content:
        text = line.decode().strip()
        yield text
        if text.startswith("id: "):
            return
