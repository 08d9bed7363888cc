"""Names of endpoints: looked up again and again, by a resolver that does what the test says."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from time import monotonic

import pytest

from crossfade import dial
from crossfade.dial import Addresses, look_up
from crossfade.routing.snapshot import Endpoint
from tests.dataplane.plane import Harness, route, settle
from tests.dataplane.scripted import Conversation, ScriptedBackend, answering, each
from tests.dataplane.wire import Message, get, ok, post, wait_until


class Resolver:
    """`known`: what a name stands for; a name that is not there cannot be looked up."""

    def __init__(self) -> None:
        self.known: dict[str, Addresses] = {}
        self.asked: Counter[str] = Counter()
        self.hangs = False

    async def look_up(self, host: str) -> Addresses:
        self.asked[host] += 1
        if self.hangs:
            await asyncio.Event().wait()
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.known[host]

    async def settled(self, host: str = "model") -> None:
        """Wait until an answer that is asked for from now on has had its effect."""
        goal = self.asked[host] + 1
        await wait_until(lambda: self.asked[host] >= goal, "a look-up")
        await settle()


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    made = Resolver()
    monkeypatch.setattr(dial, "look_up", made.look_up)
    return made


def named(port: int) -> Endpoint:
    return Endpoint("model", port, f"model:{port}", True, f"http://model:{port}")


def listening(harness: Harness, address: str, port: int, name: str) -> ScriptedBackend:
    """A model at another address of this machine, at the same port."""
    started = ScriptedBackend(name, answering(ok(name.encode())), at=(address, port))
    started.listen()
    harness.backends[name] = started
    return started


async def answers(harness: Harness, count: int = 20) -> Counter[bytes]:
    client = await harness.client()
    bodies: Counter[bytes] = Counter()
    for _ in range(count):
        await client.send(post(b"x"))
        answer = await client.answer()
        assert answer.status == 200
        bodies[answer.body] += 1
    return bodies


async def test_every_address_of_a_name_is_an_endpoint(harness: Harness, resolver: Resolver) -> None:
    one = listening(harness, "127.0.0.1", 0, "one")
    listening(harness, "127.0.0.2", one.port, "two")
    resolver.known["model"] = Addresses(("127.0.0.1", "127.0.0.2"))
    harness.replica("v2", named(one.port), resolve=0.01)
    harness.use(route("v2"))
    await resolver.settled()
    assert set(await answers(harness, 60)) == {b"one", b"two"}


async def test_addresses_that_join_begin_slowly_and_those_of_the_start_do_not(
    harness: Harness, resolver: Resolver
) -> None:
    harness.replica("v2", named(1), resolve=0.01, slow_start=1000.0)
    harness.backend("other")
    harness.replica("v2", harness.specs["other"].endpoints[0])
    resolver.known["model"] = Addresses(("127.0.0.1",))
    harness.use(route("v2"))
    await resolver.settled()
    state = harness.plane.backends["v2"]
    assert [e.share for e in state.endpoints.values()] == [1.0, 1.0]
    resolver.known["model"] = Addresses(("127.0.0.1", "127.0.0.2"))
    await resolver.settled()
    shares = {e.addresses[0]: e.share for e in state.endpoints.values() if e.spec.port == 1}
    assert shares == {"127.0.0.1": 1.0, "127.0.0.2": 0.1}


async def test_a_model_that_moves_is_followed(harness: Harness, resolver: Resolver) -> None:
    """No request is lost; the one in flight ends where it began, and then its connection."""
    turn = asyncio.Event()

    async def slow(conversation: Conversation, request: Message) -> None:
        if b"/slow" in request.first:
            await turn.wait()
        await conversation.send(ok(b"old"))

    old = ScriptedBackend("old", each(slow))
    old.listen()
    harness.backends["old"] = old
    listening(harness, "127.0.0.2", old.port, "new")
    resolver.known["model"] = Addresses(("127.0.0.1",))
    harness.replica("v2", named(old.port), resolve=0.01, slow_start=0.0)
    harness.use(route("v2"))
    await resolver.settled()
    assert await answers(harness) == {b"old": 20}
    waiting = await harness.client()
    await waiting.send(get("/slow"))
    await wait_until(lambda: any(b"/slow" in r.first for r in old.requests), "it is under way")
    resolver.known["model"] = Addresses(("127.0.0.2",))
    await resolver.settled()
    assert await answers(harness) == {b"new": 20}
    turn.set()
    assert (await waiting.answer()).body == b"old"
    for conversation in old.conversations:
        await conversation.over()


async def test_a_lookup_that_fails_changes_nothing(
    harness: Harness, resolver: Resolver, caplog: pytest.LogCaptureFixture
) -> None:
    model = listening(harness, "127.0.0.1", 0, "one")
    resolver.known["model"] = Addresses(("127.0.0.1",))
    harness.replica("v2", named(model.port), resolve=0.01)
    harness.use(route("v2"))
    await resolver.settled()
    del resolver.known["model"]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await resolver.settled()
    assert await answers(harness) == {b"one": 20}
    assert len(model.conversations) == 1
    (record,) = caplog.records  # once in a row
    assert "model of v2 cannot be looked up: [Errno -2] Name or service not known" in record.getMessage()


async def test_a_resolver_that_hangs_holds_nobody_up(harness: Harness, resolver: Resolver) -> None:
    """Nor is it asked twice at a time, and a drain does not wait for it."""
    model = listening(harness, "127.0.0.1", 0, "one")
    resolver.known["model"] = Addresses(("127.0.0.1",))
    harness.replica("v2", named(model.port), resolve=0.01)
    harness.use(route("v2"))
    await resolver.settled()
    resolver.hangs = True
    await resolver.settled()
    asked = resolver.asked["model"]
    for _ in range(30):
        for backend in harness.plane.all_backends():
            backend.tend(monotonic() + 1e6)
        await settle()
    assert await answers(harness) == {b"one": 20}
    assert resolver.asked["model"] == asked


async def test_requests_before_the_first_lookup_has_ended(
    harness: Harness, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then connecting looks the name up itself, as the system does it."""
    resolver.hangs = True
    model = listening(harness, "127.0.0.1", 0, "one")
    at = Endpoint("localhost", model.port, "localhost", True, "http://localhost")
    harness.replica("v2", at)
    harness.use(route("v2"))
    assert await answers(harness) == {b"one": 20}


async def test_a_spare_address_is_tried_where_the_first_refuses(harness: Harness, resolver: Resolver) -> None:
    """As with localhost, where only ::1 may be listening."""
    model = listening(harness, "127.0.0.2", 0, "spare")
    resolver.known["model"] = Addresses(("127.0.0.1",), ("127.0.0.2",))
    harness.replica("v2", named(model.port), resolve=0.01)
    harness.use(route("v2"))
    await resolver.settled()
    assert await answers(harness) == {b"spare": 20}
    assert (await harness.cell("v2")).errors == 0


async def test_addresses_are_not_looked_up(harness: Harness, resolver: Resolver) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    for _ in range(3):
        await answers(harness, 1)
        for backend in harness.plane.all_backends():
            backend.tend(monotonic() + 1e6)
        await settle()
    assert resolver.asked == {}


async def test_a_backend_that_is_gone_is_not_looked_up(harness: Harness, resolver: Resolver) -> None:
    harness.backend("v3")
    harness.replica("v2", named(1), resolve=0.01)
    resolver.hangs = True
    harness.use(route("v2"))
    await resolver.settled() if not resolver.asked else await settle()
    looking = harness.plane.backends["v2"].looking
    assert looking is not None
    del harness.specs["v2"]
    harness.use(route("v3"))
    await wait_until(looking.cancelled, "the look-up is given up")


# ── what a look-up says ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["10.0.0.2", "10.0.0.1", "10.0.0.2"], Addresses(("10.0.0.1", "10.0.0.2"))),
        (["::1", "127.0.0.1"], Addresses(("127.0.0.1",), ("::1",))),
        (["fd00::2", "fd00::1"], Addresses(("fd00::1", "fd00::2"))),
    ],
)
async def test_one_family_at_a_time(
    monkeypatch: pytest.MonkeyPatch, found: list[str], expected: Addresses
) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET6 if ":" in at else socket.AF_INET, 1, 6, "", (at, 0)) for at in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    assert await look_up("model") == expected


async def test_a_name_without_an_address_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[object]:
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(OSError, match="no address"):
        await look_up("model")


async def test_a_name_that_cannot_be_is_not_found() -> None:
    with pytest.raises(OSError, match="not valid in DNS"):
        await look_up("a" * 64)


@pytest.mark.parametrize(
    ("host", "name"), [("model", True), ("127.0.0.1", False), ("::1", False), ("", False)]
)
def test_what_is_a_name(host: str, name: bool) -> None:
    assert dial.is_name(host) is name
