"""Drained endpoints in a worker (weight 0): nothing new goes there, also in a panic; what is there stays, and is counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import NamedTuple

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.dataplane.endpoint import BackendState
from crossfade.routing.balance import pick, pick_by_weight
from crossfade.routing.snapshot import Eject, with_drained
from tests.dataplane.plane import BACKEND, Harness, endpoint, mirrored, route, sticky
from tests.dataplane.scripted import Conversation, Script, ScriptedBackend, answering, closing, each, naming
from tests.dataplane.test_queue import Turns, asking, at_the_model, length, outcomes
from tests.dataplane.wire import get, post, wait_until
from tests.scenarios.websocket_model import WebSocketModel, websocket_model

EJECT = Eject(after=3, time=60.0, max_share=0.5, statuses=(503,))
UNAVAILABLE = answering(b"HTTP/1.1 503 Not now\r\nContent-Length: 0\r\n\r\n")


def three(harness: Harness, script: Script = naming, eject: Eject | None = None) -> list[ScriptedBackend]:
    """The endpoints of v2; the first one runs the script."""
    return [
        harness.backend("v2", script, eject=eject, slow_start=0.0),
        harness.another_endpoint("v2"),
        harness.another_endpoint("v2"),
    ]


def draining(harness: Harness, *drained: ScriptedBackend | WebSocketModel) -> None:
    """Serve with these endpoints drained, and no others."""
    ports = {model.port for model in drained}
    pairs = [
        (name, e.name) for name, spec in harness.specs.items() for e in spec.endpoints if e.port in ports
    ]
    snapshot, generation = harness.plane.snapshot, harness.plane.snapshot.generation + 1
    undrained = replace(snapshot, generation=generation, backends=dict(harness.specs))
    harness.plane.use(with_drained(undrained, pairs))


def failing(harness: Harness, *failed: ScriptedBackend) -> None:
    """From the next snapshot on these endpoints of v2 fail their probes, and all others pass them."""
    ports = {backend.port for backend in failed}
    spec = harness.specs["v2"]
    harness.specs["v2"] = replace(
        spec, endpoints=tuple(replace(e, up=e.port not in ports) for e in spec.endpoints)
    )


async def statuses(harness: Harness, count: int = 12, raw: bytes = post(b"x")) -> Counter[int]:
    out: Counter[int] = Counter()
    for _ in range(count):
        client = await harness.client()
        await client.send(raw)
        out[(await client.answer()).status] += 1
    return out


# ── who gets a request ────────────────────────────────────────────────────────────────────────────


async def test_in_a_panic_the_drained_endpoint_gets_nothing_although_it_is_the_only_one_that_passes(
    harness: Harness,
) -> None:
    first, second, third = three(harness)
    harness.use(route("v2"))
    failing(harness, second, third)
    draining(harness, first)
    assert await statuses(harness) == {200: 12}
    assert (len(first.requests), len(second.requests) + len(third.requests)) == (0, 12)


async def test_a_retry_goes_to_no_drained_endpoint(harness: Harness) -> None:
    first, second, third = three(harness, closing(b""))
    harness.use(route("v2", pure=True, retry_attempts=3))
    failing(harness, first, second)
    draining(harness, second, third)
    assert await statuses(harness, 2) == {502: 2}
    assert (len(second.conversations), len(third.conversations)) == (0, 0)


@pytest.mark.parametrize("fails", [False, True], ids=["up", "failing its probes"])
async def test_a_fallback_goes_to_no_drained_endpoint(harness: Harness, fails: bool) -> None:
    first, second, third = three(harness)
    harness.backend("v3", closing(b""))
    harness.use(route("v3", fallback="v2", pure=True))
    failing(harness, *((first,) if fails else ()))
    draining(harness, first, second, third)
    assert await statuses(harness, 3) == {503: 3}
    assert not first.conversations + second.conversations + third.conversations


async def test_a_copy_goes_to_no_drained_endpoint(harness: Harness) -> None:
    first, second, third = three(harness)
    harness.backend("v3")
    harness.use(route("v3", mirrors=mirrored("v2")))
    draining(harness, first, second)
    assert await statuses(harness) == {200: 12}
    await harness.quiet()
    assert (len(first.requests) + len(second.requests), len(third.requests)) == (0, 12)
    draining(harness, first, second, third)
    assert await statuses(harness) == {200: 12}
    await harness.quiet()
    assert harness.mirrors("v2") == {"sent": 12, "dropped_no_endpoint": 12}


async def test_a_backend_that_is_drained_keeps_its_keys(harness: Harness) -> None:
    """Health moves answers, never assignments (law 3)."""
    only = harness.backend("v2")
    harness.backend("v3")
    split = route({"v3": 5000, "v2": 5000}, sticky=sticky("header", "x-key"), fallback="v3")
    harness.use(split)
    requests = [get("/", [b"X-Key: %d" % n]) for n in range(20)]

    async def assigned() -> list[tuple[str, str]]:
        """The backends that were assigned, and that answered."""
        out = []
        for raw in requests:
            client = await harness.client()
            await client.send(raw)
            answer = await client.answer()
            of = (answer.field("x-crossfade-assigned") or answer.backend.encode()).decode()
            out.append((of, answer.backend))
        return out

    before = await assigned()
    assert {of for of, _ in before} == {"v2", "v3"}
    draining(harness, only)
    assert await assigned() == [(of, "v3") for of, _ in before]
    draining(harness)
    assert await assigned() == before


# ── what is there ─────────────────────────────────────────────────────────────────────────────────


async def test_a_websocket_stays_at_its_drained_endpoint_and_new_ones_go_elsewhere(harness: Harness) -> None:
    async with (
        websocket_model("first") as first,
        websocket_model("second") as second,
        aiohttp.ClientSession() as session,
    ):
        name = f"127.0.0.1:{first.port}"
        for model in (first, second):
            harness.replica("v2", endpoint(model.port))
        url = f"http://127.0.0.1:{harness.port}/chat"
        harness.use(route("v2"))
        draining(harness, second)
        async with session.ws_connect(url) as old:
            assert await old.receive_str() == "first"
            draining(harness, first)
            assert harness.plane.in_flight_at() == {"v2": {name: 1}}
            for n in range(6):
                async with session.ws_connect(url) as new:
                    assert await new.receive_str() == "second"
                await old.send_str(f"still {n}")
                assert await old.receive_str() == f"still {n}"
        await wait_until(lambda: harness.plane.in_flight_at() == {"v2": {name: 0}}, "the tunnel is gone")
        assert (first.opened, first.codes, second.opened) == (1, [1000], 6)


async def test_a_websocket_that_is_being_opened_at_a_drain_is_in_flight(harness: Harness) -> None:
    gate = asyncio.Event()

    async def late(conversation: Conversation) -> None:
        await gate.wait()

    first = harness.backend("v2", late)
    second = harness.another_endpoint("v2")
    harness.use(route("v2"))
    name = f"127.0.0.1:{first.port}"
    draining(harness, second)
    client = await harness.client()
    await client.send(get("/chat", [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x"]))
    await wait_until(lambda: first.conversations, "it is at the model")
    draining(harness, first)
    assert harness.plane.in_flight_at() == {"v2": {name: 1}}
    client.reset()
    await wait_until(lambda: harness.plane.in_flight_at() == {"v2": {name: 0}}, "it has ended")
    gate.set()


# ── what waits ────────────────────────────────────────────────────────────────────────────────────


async def test_requests_that_wait_go_to_the_other_endpoint(harness: Harness) -> None:
    model = Turns()

    first = harness.backend("v2", each(model.handle), max_in_flight=1, queue_max=10, queue_timeout=60.0)
    second = harness.another_endpoint("v2")
    harness.use(route("v2"))
    draining(harness, second)
    clients = await asking(harness, 4)
    assert length(harness) == 3
    draining(harness, first)
    assert (length(harness), len(second.requests)) == (3, 0), "the place is still in use"
    model.answer()
    assert [(await client.answer()).status for client in clients] == [200] * 4
    assert (len(first.requests), len(second.requests)) == (1, 3)
    assert outcomes(harness) == {"sent": 3}


@pytest.mark.parametrize("fallback", [None, "v3"])
@pytest.mark.parametrize("fails", [False, True], ids=["up", "failing its probes"])
async def test_requests_that_wait_do_not_wait_for_a_drained_backend(
    harness: Harness, fallback: str | None, fails: bool
) -> None:
    model = Turns()

    first = harness.backend("v2", each(model.handle), max_in_flight=1, queue_max=10, queue_timeout=60.0)
    harness.backend("v3")
    harness.use(route("v2", fallback=fallback))
    clients = await asking(harness, 3)
    await at_the_model(harness, 1)
    failing(harness, *((first,) if fails else ()))
    draining(harness, first)
    waited = [await client.answer() for client in clients[1:]]
    if fallback:
        assert [answer.body for answer in waited] == [b"v3", b"v3"]
    else:
        assert [(a.status, a.error) for a in waited] == [(503, b"upstream/no_endpoint")] * 2
    assert outcomes(harness) == {"no_endpoint": 2}
    model.answer()
    assert (await clients[0].answer()).body == b"/0"
    assert len(first.requests) == 1


# ── ejection ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_drained_endpoint_is_none_of_those_that_could_serve_instead(harness: Harness) -> None:
    """With one drained and one ejected, the last one is not ejected, however it fails."""
    first, second, third = three(harness, UNAVAILABLE, EJECT)
    second.script = UNAVAILABLE
    harness.use(route("v2"))
    draining(harness, third)
    counts = await statuses(harness, 30)
    assert counts == {503: 30}
    assert sum(harness.plane.recorder.table.ejections.values()) == 1
    assert len(third.conversations) == 0
    assert len(first.requests) + len(second.requests) == 30


async def test_an_ejected_endpoint_serves_when_all_others_are_drained(harness: Harness) -> None:
    first, second, third = three(harness, UNAVAILABLE, EJECT)
    harness.use(route("v2"))
    assert (await statuses(harness, 60))[503] == 3
    draining(harness, second, third)
    assert await statuses(harness, 4) == {503: 4}
    assert len(first.requests) == 7


async def test_failures_of_what_was_in_flight_at_a_drain_eject_nobody(harness: Harness) -> None:
    gate = asyncio.Event()

    async def failing_late(conversation: Conversation) -> None:
        await gate.wait()
        conversation.close()

    first, second, third = three(harness, failing_late, EJECT)
    harness.use(route("v2"))
    draining(harness, second, third)
    clients = [await harness.client() for _ in range(5)]
    for client in clients:
        await client.send(post(b"x"))
    await wait_until(lambda: len(first.conversations) == 5, "five are at the model")
    draining(harness, first)
    gate.set()
    assert [(await client.answer()).status for client in clients] == [502] * 5
    assert harness.plane.recorder.table.ejections == {}
    first.script = naming
    draining(harness, second, third)
    assert await statuses(harness, 4) == {200: 4}


# ── the law ───────────────────────────────────────────────────────────────────────────────────────

PLACES = 4


class Look(NamedTuple):
    """What a snapshot says of the endpoints, and which of them fail requests afterwards."""

    weights: tuple[int, ...]
    up: tuple[bool, ...]
    failing: frozenset[int]


LOOKS = st.builds(
    Look,
    st.tuples(*[st.sampled_from((0, 1, 3))] * PLACES),
    st.tuples(*[st.booleans()] * PLACES),
    st.frozensets(st.integers(0, PLACES - 1)),
)


async def keep_the_law(looks: list[Look], draw: float) -> None:
    spec = replace(
        BACKEND, name="v2", endpoints=tuple(endpoint(n) for n in range(1, PLACES + 1)), eject=EJECT
    )
    state = BackendState(spec, lambda backend, name: None)
    for look in looks:
        endpoints = tuple(
            replace(e, weight=weight, up=up)
            for e, weight, up in zip(spec.endpoints, look.weights, look.up, strict=True)
        )
        state.use(replace(spec, endpoints=endpoints))
        for _ in range(EJECT.after):
            for n, known in enumerate(state.endpoints.values()):
                if n in look.failing:
                    known.answered(503)
        with_weight = [e for e in state.endpoints.values() if e.weight]
        choices = state.available or state.last_resort
        assert bool(choices) == bool(with_weight)
        assert all(e.weight for e in (*choices, *state.in_service()))
        assert bool(state.available) == any(e.up for e in with_weight)
        if choices:
            chosen = pick_by_weight(choices, draw) if state.has_weights else pick(choices, draw)
            assert chosen.weight and (chosen.up or not state.available)


@settings(deadline=None)
@given(st.lists(LOOKS, min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_whatever_is_drained_fails_and_is_ejected_a_choice_has_a_weight_and_there_is_one_if_there_can_be(
    looks: list[Look], draw: float
) -> None:
    asyncio.run(keep_the_law(looks, draw), debug=False)
