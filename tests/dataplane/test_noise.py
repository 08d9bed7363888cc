"""The champion's own noise: its second answer to a request beside its first."""

from __future__ import annotations

import asyncio

import pytest

from crossfade.dataplane import comparison
from crossfade.routing.ledger import BUCKETS
from crossfade.stats.pairs import Pairs
from tests.dataplane.pairing import (
    DECISION,
    NO,
    YES,
    compared,
    decisions,
    dropped,
    noise_mirror,
    ok_bodies,
)
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, Script, each
from tests.dataplane.wire import Message, get, ok, wait_until


@pytest.mark.parametrize(
    ("second", "challenger", "expected"),
    [
        (YES, YES, Pairs(n=1, chances=1, twice=1)),
        (YES, NO, Pairs(n=1, changed=1, lowered=1, chances=1, twice=1)),
        (NO, YES, Pairs(n=1, chances=1, twice=1, noise=1)),
        (NO, NO, Pairs(n=1, changed=1, lowered=1, chances=1, twice=1, noise=1, both=1)),
        (b"?", YES, Pairs(n=1, chances=1, twice=1, noise=1)),
    ],
)
async def test_the_champion_s_second_answer_is_compared_with_its_first(
    harness: Harness, second: bytes, challenger: bytes, expected: Pairs
) -> None:
    """A second answer that cannot be read counts as noise of the champion."""
    cell = await compared(harness, ok_bodies(YES, second), ok_bodies(challenger), mirrors=noise_mirror())
    assert (decisions(cell), dropped(harness)) == (expected, {})
    live, again = harness.backends["v2"].requests
    assert (live.first, live.body) == (again.first, again.body)
    assert (live.field("x-crossfade-mirror"), again.field("x-crossfade-mirror")) == (None, b"1")
    assert (harness.mirrors("v2"), harness.mirrors("v3")) == ({"sent": 1}, {"sent": 1})
    assert (await harness.cell("v2")).requests == 1
    assert await harness.shadow("v2") is None, "the second answer counts in the pair only"


@pytest.mark.parametrize("second", [b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", b"garbage\r\n\r\n", b""])
async def test_a_failed_second_answer_counts_as_noise(harness: Harness, second: bytes) -> None:
    requests = 0

    async def once(conversation: Conversation) -> None:
        nonlocal requests
        await conversation.request()
        requests += 1
        await conversation.send(ok(YES) if requests == 1 else second)
        conversation.close()

    cell = await compared(harness, once, ok_bodies(YES), mirrors=noise_mirror())
    assert (decisions(cell), dropped(harness)) == (Pairs(n=1, chances=1, twice=1, noise=1), {})


async def test_a_second_request_that_is_dropped_counts_as_noise(harness: Harness) -> None:
    async def last(conversation: Conversation, request: Message) -> None:
        harness.down("v2")
        harness.use(route("v2", mirrors=noise_mirror(), prediction=DECISION))
        await conversation.send(ok(YES))

    cell = await compared(harness, each(last), ok_bodies(YES), mirrors=noise_mirror())
    assert (harness.mirrors("v2"), dropped(harness)) == ({"dropped_no_endpoint": 1}, {})
    assert decisions(cell) == Pairs(n=1, chances=1, twice=1, noise=1)


async def test_the_copy_of_a_pair_asked_twice_is_sent_beside_the_second_request(harness: Harness) -> None:
    """So that the latencies of both are comparable."""
    order: list[str] = []

    def noted(name: str) -> Script:
        async def handler(conversation: Conversation, request: Message) -> None:
            order.append(name if request.field("x-crossfade-mirror") is None else f"{name} again")
            if len(order) == 1:
                await asyncio.sleep(0.05)
            await conversation.send(ok(YES))

        return each(handler)

    cell = await compared(harness, noted("v2"), noted("v3"), mirrors=noise_mirror())
    assert order[0] == "v2" and sorted(order[1:]) == ["v2 again", "v3 again"]
    assert cell.pairs.latency.both


async def test_each_pipelined_request_makes_a_pair(harness: Harness) -> None:
    harness.backend("v2", ok_bodies(YES))
    harness.backend("v3", ok_bodies(NO))
    harness.use(route("v2", mirrors=noise_mirror(), prediction=DECISION))
    client = await harness.client()
    await client.send(get() * 20)
    for _ in range(20):
        assert (await client.answer()).body == YES
    shadow = await harness.shadow("v3")
    assert shadow is not None
    assert decisions(shadow) == Pairs(n=20, changed=20, lowered=20, chances=20, twice=20)


async def test_a_share_of_requests_is_asked_twice(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([0.3, 0.1, 0.24, 0.9])
    monkeypatch.setattr(comparison, "random", lambda: next(draws))
    cell = await compared(harness, ok_bodies(YES), ok_bodies(YES), 4, mirrors=noise_mirror(BUCKETS // 4))
    assert decisions(cell) == Pairs(n=4, chances=1.0, twice=2)
    assert len(harness.backends["v2"].requests) == 6


async def test_the_champion_is_asked_twice_only_after_the_client_has_its_answer(harness: Harness) -> None:
    """The client goes on with further requests while the second answer hangs."""
    mirrored_flags: list[bool] = []

    async def hanging(conversation: Conversation, request: Message) -> None:
        mirrored_flags.append(request.field("x-crossfade-mirror") is not None)
        if mirrored_flags[-1]:
            assert answered
            await asyncio.Event().wait()
        await conversation.send(ok(YES))

    answered: list[bytes] = []
    harness.backend("v2", each(hanging), first_byte_timeout=60.0)
    harness.backend("v3", ok_bodies(YES))
    harness.use(route("v2", mirrors=noise_mirror(), prediction=DECISION))
    client = await harness.client()
    for n in range(3):
        await client.send(get())
        answered.append((await client.answer()).body)
        await wait_until(lambda n=n: sum(mirrored_flags) == n + 1, "the champion is asked twice")  # type: ignore[misc]
    assert answered == [YES] * 3
    assert harness.plane.in_flight() == {"v2": 0, "v3": 0}
