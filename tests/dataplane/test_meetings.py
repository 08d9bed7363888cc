"""Features that meet in one request: what each of them keeps, they keep together."""

from __future__ import annotations

import asyncio
import time

import pytest

from crossfade.dataplane import expectation
from crossfade.quality.prediction import Prediction
from crossfade.routing.ledger import BUCKETS
from crossfade.routing.snapshot import Cut, Rewrite
from tests.dataplane.plane import Harness, connecting_slowly, mirrored, route, settle
from tests.dataplane.scripted import Conversation, each
from tests.dataplane.test_cut_after import taken_back
from tests.dataplane.test_queue import LONG, Turns, have_come
from tests.dataplane.wire import get, post, wait_until

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON = b"Content-Type: application/json"
EXPECT = b"Expect: 100-continue"
BODY = b'{"model": "old"}'
SMALL_BUFFER = 64 * 1024


async def reading_head_and_closing(conversation: Conversation) -> None:
    conversation.requests.append(await conversation.head())
    conversation.close()


async def test_a_connection_that_comes_late_gets_no_request_that_waits_elsewhere(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rollout is cut while a connection is opened, and the fallback has no free place."""
    model = Turns()
    harness.backend("v2", each(model.handle), max_in_flight=1, queue_max=5, queue_timeout=LONG)
    late = harness.backend("v3")
    split = route({"v2": 0, "v3": BUCKETS}, fallback="v2", pure=True)
    harness.use(route("v2"))
    first, second = await harness.client(), await harness.client()
    await first.send(get("/0"))
    await at_the_model_named(harness, "v2", 1)
    opening = connecting_slowly(monkeypatch)
    harness.use(split)
    await second.send(get("/1"))
    await have_come(harness, 2)
    harness.use(taken_back(split, Cut("v3", 0.01)))
    await wait_until(
        lambda: len(harness.plane.backends["v2"].capacity.queue) == 1, "it waits at the fallback"
    )
    opening.set()
    await settle()
    await wait_until(lambda: not harness.plane.tasks, "the connection is there")
    await settle()
    model.answer(2)
    assert (await first.answer()).body == b"/0"
    assert (await second.answer()).body == b"/1"
    assert late.requests == []


async def at_the_model_named(harness: Harness, name: str, count: int) -> None:
    await wait_until(lambda: len(harness.backends[name].requests) == count, f"{count} are at {name}")


async def test_a_request_with_an_expectation_does_not_wait_longer_in_the_queue_of_the_fallback(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expectation, "WAIT", 0.01)
    model = Turns()
    harness.backend("v2", each(model.handle), max_in_flight=1, queue_max=5, queue_timeout=0.2)
    harness.backend("v3", reading_head_and_closing)
    harness.use(route("v2"))
    first, second = await harness.client(), await harness.client()
    await first.send(get("/0"))
    await at_the_model_named(harness, "v2", 1)
    monkeypatch.setattr(expectation, "WAIT", LONG)
    harness.use(route("v3", fallback="v2", pure=True))
    await second.send(post(BODY, fields=[EXPECT]).removesuffix(BODY))
    await wait_until(
        lambda: len(harness.plane.backends["v2"].capacity.queue) == 1, "it waits at the fallback"
    )
    await second.send(BODY[:5])
    answer = await second.answer()
    if answer.status == 100:
        answer = await second.answer()
    assert (answer.status, answer.error) == (503, b"internal/overload")
    model.answer()
    await first.answer()


async def test_the_time_in_the_queue_of_the_fallback_is_not_the_models(harness: Harness) -> None:
    model = Turns()
    harness.backend(
        "v2", each(model.handle), max_in_flight=1, queue_max=5, queue_timeout=LONG, total_timeout=10.0
    )
    harness.backend("v3", reading_head_and_closing, total_timeout=0.8)
    harness.use(route("v2"))
    first, second = await harness.client(), await harness.client()
    await first.send(get("/0"))
    await at_the_model_named(harness, "v2", 1)
    harness.use(route("v3", fallback="v2", pure=True))
    await second.send(get("/1"))
    await wait_until(
        lambda: len(harness.plane.backends["v2"].capacity.queue) == 1, "it waits at the fallback"
    )
    await asyncio.sleep(0.9)
    model.answer()
    await at_the_model_named(harness, "v2", 2)
    await asyncio.sleep(0.15)
    model.answer()
    assert [(await client.answer()).body for client in (first, second)] == [b"/0", b"/1"]


async def test_a_client_that_waits_for_its_100_breaks_no_rate(harness: Harness) -> None:
    """The request waits in the queue, so nobody has told the client to send its body."""
    model = Turns()
    harness.backend("v2", each(model.handle), max_in_flight=1, queue_max=5, queue_timeout=LONG)
    harness.use(route("v2"), min_rate=1000, min_rate_grace=0.2)
    first, second = await harness.client(), await harness.client()
    await first.send(get("/0"))
    await at_the_model_named(harness, "v2", 1)
    await second.send(post(BODY, "/1", fields=[EXPECT]).removesuffix(BODY))
    await wait_until(lambda: len(harness.plane.backends["v2"].capacity.queue) == 1, "it waits")
    await asyncio.sleep(0.9)
    assert second.received == b""
    model.answer(2)
    for endpoint in harness.plane.backends["v2"].endpoints.values():
        endpoint.expect_from = time.monotonic() + LONG  # the proxy itself sends the 100
    assert (await first.answer()).status == 200
    assert await second.until(b"\r\n\r\n") == CONTINUE
    await second.send(BODY)
    assert (await second.answer()).body == b"/1"


async def test_the_time_until_its_100_is_no_silence_of_the_client(harness: Harness) -> None:
    model = Turns()
    harness.backend("v2", each(model.handle), max_in_flight=1, queue_max=5, queue_timeout=LONG)
    harness.use(route("v2"), keep_alive=0.2)
    first, second = await harness.client(), await harness.client()
    await first.send(get("/0"))
    await at_the_model_named(harness, "v2", 1)
    await second.send(post(BODY, "/1", fields=[EXPECT]).removesuffix(BODY))
    await wait_until(lambda: len(harness.plane.backends["v2"].capacity.queue) == 1, "it waits")
    await asyncio.sleep(0.9)
    for endpoint in harness.plane.backends["v2"].endpoints.values():
        endpoint.expect_from = time.monotonic() + LONG
    model.answer(2)
    assert (await first.answer()).status == 200
    assert await second.until(b"\r\n\r\n") == CONTINUE
    await second.send(BODY)
    assert (await second.answer()).body == b"/1"


async def test_a_pair_of_a_request_that_found_no_place_is_forgotten(harness: Harness) -> None:
    """Its body came in two parts, and was rewritten."""
    model = Turns()
    harness.backend("v2", each(model.handle), max_in_flight=1, request=Rewrite(json=(("model", '"new"'),)))
    harness.backend("v3")
    harness.use(route("v2", mirrors=mirrored("v3"), prediction=Prediction(("p",), decision=0.5)))
    first, second = await harness.client(), await harness.client()
    await first.send(post(BODY, "/0", [JSON]))
    await at_the_model_named(harness, "v2", 1)
    await second.send(post(BODY, "/1", [JSON])[:-4])
    await have_come(harness, 2)
    await second.send(BODY[-4:])
    assert (await second.answer()).status == 503
    model.answer()
    await first.answer()
    await harness.quiet()
    assert harness.plane.mirrors.waiting == {}


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_body_in_the_queue_counts_as_held_until_it_is_sent(harness: Harness, leaves: bool) -> None:
    model = Turns()
    harness.backend(
        "v2", each(model.handle), max_in_flight=1, queue_max=5, queue_timeout=LONG,
        request=Rewrite(json=(("model", '"new"'),)),
    )  # fmt: skip
    harness.use(route("v2"))
    first, second = await harness.client(), await harness.client()
    await first.send(post(BODY, "/0", [JSON]))
    await at_the_model_named(harness, "v2", 1)
    long = b'{"model": "old", "text": "%b"}' % (b"x" * 300_000)
    await second.send(post(long, "/1", [JSON]))
    await wait_until(lambda: len(harness.plane.backends["v2"].capacity.queue) == 1, "it waits")
    assert 100_000 < harness.plane.held_bytes <= len(long) - 64 * 1024
    if leaves:
        second.reset()
        await wait_until(lambda: not harness.plane.backends["v2"].capacity.queue, "it waits no more")
        assert harness.plane.held_bytes == 0
        model.answer()
    else:
        model.answer()
        await at_the_model_named(harness, "v2", 2)
        (waiting,) = harness.plane.active
        assert (harness.plane.held_bytes, waiting.more, waiting.replayable) == (0, None, False)
        model.answer()
        assert (await second.answer()).body == b"/1"
    assert (await first.answer()).body == b"/0"


async def test_half_of_a_pipelined_upload_is_no_request(harness: Harness) -> None:
    """The client has ended its side behind it, so the rest never comes."""
    model = Turns()
    harness.backend("v2", each(model.handle))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get("/0") + post(BODY, "/1")[:-3])
    client.half_close()
    await at_the_model_named(harness, "v2", 1)
    await settle()
    model.answer(1)
    rest, how = await client.rest()
    assert (rest.count(b"HTTP/1.1 200"), how) == (1, "closed")
    await harness.quiet()
    assert harness.plane.in_flight() == {"v2": 0}


async def test_a_backend_that_a_reload_removed_keeps_its_places_while_a_request_may_fall_back_to_it(
    harness: Harness,
) -> None:
    """Its places would be of another backend by then, and the request would take one of those."""
    released = asyncio.Event()

    async def fails_later(conversation: Conversation) -> None:
        await conversation.request()
        await released.wait()
        conversation.close()

    harness.backend("v2", fails_later)
    harness.backend("v3", max_in_flight=1)
    harness.use(route("v2", fallback="v3", pure=True))
    client = await harness.client()
    await client.send(get())
    await wait_until(lambda: harness.plane.active, "the request is under way")
    del harness.specs["v3"]
    harness.use(route("v2"))
    harness.plane.forget_ended()
    assert list(harness.plane.leaving) == ["v3"]
    released.set()
    await client.answer()
    await wait_until(lambda: not harness.plane.active)
    harness.plane.forget_ended()
    assert not harness.plane.leaving
