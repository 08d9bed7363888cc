"""What an open tunnel counts as, and what reloads, drains and cuts do to it."""

from __future__ import annotations

import asyncio

from msgspec.json import encode
from msgspec.structs import replace

from crossfade.routing.ledger import reweigh, salt_of
from crossfade.routing.snapshot import Cut
from tests.dataplane.plane import Harness, mirrored, route, settle
from tests.dataplane.scripted import Conversation, each
from tests.dataplane.upgrades import (
    SMALL_BUFFER,
    UPGRADE_REQUEST,
    echo,
    open_tunnel,
    resetting,
    tunnel_gone,
    upgrading,
    watch,
)
from tests.dataplane.wire import Message, get, ok, wait_until

# ── counts ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_tunnel_has_one_outcome_with_status_101(harness: Harness) -> None:
    """The duration and the end of a tunnel are not counted: they do not measure the model."""
    reset_now = asyncio.Event()
    harness.backend("v2", upgrading(resetting(reset_now)))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    cell = await harness.cell("v2")
    assert (cell.requests, cell.codes, cell.errors, cell.duration.count) == (1, {101: 1}, 0, 1)
    assert harness.plane.in_flight() == {"v2": 1}, "an open tunnel counts as in flight"
    counted = encode(cell)
    reset_now.set()
    assert await client.rest() == (b"", "reset")
    await tunnel_gone(harness)
    assert harness.plane.in_flight() == {"v2": 0}
    assert encode(await harness.cell("v2")) == counted


async def test_an_open_tunnel_counts_against_max_in_flight(harness: Harness) -> None:
    harness.backend("v2", upgrading(watch), max_in_flight=1)
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    second = await harness.client()
    await second.send(get())
    assert (await second.answer()).error == b"internal/overload"
    client.close()
    await wait_until(lambda: not harness.plane.tunnels, "the tunnel is gone")


async def test_an_upgrade_is_not_mirrored(harness: Harness) -> None:
    harness.backend("v2", upgrading(watch))
    shadow = harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await open_tunnel(harness)
    client.close()
    await tunnel_gone(harness)
    assert harness.mirrors("v4") == {"dropped_upgrade": 1}
    assert shadow.requests == []


async def test_the_fallback_answers_an_upgrade_when_the_first_backend_refuses(harness: Harness) -> None:
    harness.refusing("v3")
    harness.backend("v2", upgrading(echo))
    harness.use(route("v3", fallback="v2"))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST + b"early")
    answer = await client.head()
    assert (answer.status, answer.backend, answer.field("x-crossfade-assigned")) == (101, "v2", b"v3")
    assert await client.exactly(5) == b"early"
    client.close()
    await tunnel_gone(harness)
    assert (await harness.cell("v3")).fell_back == 1


# ── reload, drain, cut ────────────────────────────────────────────────────────────────────────────


async def test_a_tunnel_survives_reloads_that_remove_its_route_and_backend(harness: Harness) -> None:
    harness.backend("v2", upgrading(echo))
    harness.backend("v3")
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    del harness.specs["v2"]
    harness.use(route("v3", name="other", upgrades=()))
    for _ in range(3):
        await client.send(b"frame")
        assert await client.exactly(5) == b"frame"
        await settle()
    client.half_close()
    assert await client.rest() == (b"", "closed")
    await tunnel_gone(harness)


async def test_a_drain_resets_a_tunnel_after_its_timeout(harness: Harness) -> None:
    backend = harness.backend("v2", upgrading(echo))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    draining = asyncio.create_task(harness.plane.drain(2.5))
    await wait_until(lambda: harness.plane.draining, "the drain has begun")
    for _ in range(10):
        await client.send(b"frame")
        assert await client.exactly(5) == b"frame"
        await asyncio.sleep(0.12)
    assert await client.rest() == (b"", "reset")
    assert await backend.conversations[0].over() == "reset"
    await draining


async def test_a_drain_ends_when_the_last_tunnel_ends(harness: Harness) -> None:
    harness.backend("v2", upgrading(echo))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    draining = asyncio.create_task(harness.plane.drain(1000.0))
    await wait_until(lambda: harness.plane.draining, "the drain has begun")
    await client.send(b"frame")
    client.half_close()
    assert await client.rest() == (b"frame", "closed")
    await draining


async def test_a_drain_closes_a_tunnel_whose_backend_does_not_read_the_last_bytes(
    harness: Harness,
) -> None:
    async def script(conversation: Conversation) -> None:
        conversation.half_close()
        await asyncio.Event().wait()

    harness.backend("v2", upgrading(script), receive_buffer=SMALL_BUFFER)
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    assert await client.rest() == (b"", "closed")
    (tunnel,) = harness.plane.tunnels
    while not tunnel.upstream.transport.get_write_buffer_size():
        await client.send(bytes(16 * 1024))
        await asyncio.sleep(0.005)
    client.half_close()
    await wait_until(lambda: not harness.plane.clients, "the client is gone")
    assert harness.plane.tunnels
    await harness.plane.drain(0)
    assert not harness.plane.tunnels


async def test_a_cut_resets_tunnels_to_the_challenger(harness: Harness) -> None:
    backend = harness.backend("v3", upgrading(echo))
    harness.backend("v2")
    before = route({"v2": 0, "v3": 10_000})
    harness.use(before)
    client = await open_tunnel(harness)
    after = reweigh(before.ledger, {"v2": 10_000, "v3": 0}, salt_of("churn"))
    harness.use(replace(before, ledger=after, cuts=(Cut("v3", 0.05),)))
    assert await client.rest() == (b"", "reset")
    await backend.conversations[0].over()
    await tunnel_gone(harness)


async def test_ordinary_requests_are_served_beside_a_tunnel(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        if conversation.number == 0:
            await upgrading(echo)(conversation)
        else:
            await each(answer)(conversation)

    async def answer(conversation: Conversation, request: Message) -> None:
        await conversation.send(ok(b"plain"))

    harness.backend("v2", script)
    harness.use(route("v2"))
    tunnel = await open_tunnel(harness)
    client = await harness.client()
    for _ in range(3):
        await client.send(get())
        assert (await client.answer()).body == b"plain"
        await tunnel.send(b"frame")
        assert await tunnel.exactly(5) == b"frame"
    tunnel.close()
    client.close()
    await tunnel_gone(harness)
