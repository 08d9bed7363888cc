"""DNS names of endpoints are looked up periodically. A scripted resolver gives the answers."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from time import monotonic

import pytest

from crossfade import dial
from crossfade.dial import Addresses, look_up
from crossfade.routing.snapshot import Endpoint, instance_name
from tests.dataplane.plane import Harness, route, settle
from tests.dataplane.scripted import Conversation, ScriptedBackend, answering, each
from tests.dataplane.wire import Message, get, ok, post, wait_until


class Resolver:
    """A resolver that knows the addresses of the names in `known`. Other names cannot be looked up."""

    def __init__(self) -> None:
        self.known: dict[str, Addresses] = {}
        self.lookups: Counter[str] = Counter()
        self.hangs = False

    async def look_up(self, host: str) -> Addresses:
        self.lookups[host] += 1
        if self.hangs:
            await asyncio.Event().wait()
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.known[host]

    async def next_lookup(self, host: str = "model") -> None:
        """Wait until a look-up that begins after this call has taken effect."""
        goal = self.lookups[host] + 1
        await wait_until(lambda: self.lookups[host] >= goal, "a look-up")
        await settle()


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    scripted = Resolver()
    monkeypatch.setattr(dial, "look_up", scripted.look_up)
    return scripted


def named_endpoint(port: int) -> Endpoint:
    return Endpoint("model", port, f"model:{port}", True, f"http://model:{port}")


def listening(harness: Harness, address: str, port: int, name: str) -> ScriptedBackend:
    """A model that listens at a given loopback address and port."""
    started = ScriptedBackend(name, answering(ok(name.encode())), at=(address, port))
    started.listen()
    harness.backends[name] = started
    return started


async def count_bodies(harness: Harness, count: int = 20) -> Counter[bytes]:
    client = await harness.client()
    bodies: Counter[bytes] = Counter()
    for _ in range(count):
        await client.send(post(b"x"))
        answer = await client.answer()
        assert answer.status == 200
        bodies[answer.body] += 1
    return bodies


async def test_each_address_of_a_name_is_an_endpoint(harness: Harness, resolver: Resolver) -> None:
    one = listening(harness, "127.0.0.1", 0, "one")
    listening(harness, "127.0.0.2", one.port, "two")
    resolver.known["model"] = Addresses(("127.0.0.1", "127.0.0.2"))
    harness.replica("v2", named_endpoint(one.port), resolve=0.01)
    harness.use(route("v2"))
    await resolver.next_lookup()
    assert set(await count_bodies(harness, 60)) == {b"one", b"two"}


async def test_an_address_that_is_out_gets_no_requests_while_there_is_another(
    harness: Harness, resolver: Resolver
) -> None:
    one = listening(harness, "127.0.0.1", 0, "one")
    listening(harness, "127.0.0.2", one.port, "two")
    resolver.known["model"] = Addresses(("127.0.0.1", "127.0.0.2"))
    out = (instance_name(f"model:{one.port}", "127.0.0.2"),)
    harness.replica("v2", named_endpoint(one.port), resolve=0.01, out=out)
    harness.use(route("v2"))
    await resolver.next_lookup()
    assert await count_bodies(harness) == {b"one": 20}
    resolver.known["model"] = Addresses(("127.0.0.2",))
    await resolver.next_lookup()
    assert await count_bodies(harness) == {b"two": 20}


async def test_an_address_added_later_has_slow_start_and_the_first_addresses_have_none(
    harness: Harness, resolver: Resolver
) -> None:
    harness.replica("v2", named_endpoint(1), resolve=0.01, slow_start=1000.0)
    harness.backend("other")
    harness.replica("v2", harness.specs["other"].endpoints[0])
    resolver.known["model"] = Addresses(("127.0.0.1",))
    harness.use(route("v2"))
    await resolver.next_lookup()
    state = harness.plane.backends["v2"]
    assert [e.share for e in state.endpoints.values()] == [1.0, 1.0]
    resolver.known["model"] = Addresses(("127.0.0.1", "127.0.0.2"))
    await resolver.next_lookup()
    shares = {e.addresses[0]: e.share for e in state.endpoints.values() if e.spec.port == 1}
    assert shares == {"127.0.0.1": 1.0, "127.0.0.2": 0.1}


async def test_requests_go_to_the_new_address_after_a_name_changes(
    harness: Harness, resolver: Resolver
) -> None:
    """No request is lost. A request in flight ends at the old address; then its connection is closed."""
    release = asyncio.Event()

    async def slow(conversation: Conversation, request: Message) -> None:
        if b"/slow" in request.first:
            await release.wait()
        await conversation.send(ok(b"old"))

    old = ScriptedBackend("old", each(slow))
    old.listen()
    harness.backends["old"] = old
    listening(harness, "127.0.0.2", old.port, "new")
    resolver.known["model"] = Addresses(("127.0.0.1",))
    harness.replica("v2", named_endpoint(old.port), resolve=0.01, slow_start=0.0)
    harness.use(route("v2"))
    await resolver.next_lookup()
    assert await count_bodies(harness) == {b"old": 20}
    waiting = await harness.client()
    await waiting.send(get("/slow"))
    await wait_until(lambda: any(b"/slow" in r.first for r in old.requests), "the slow request is in flight")
    resolver.known["model"] = Addresses(("127.0.0.2",))
    await resolver.next_lookup()
    assert await count_bodies(harness) == {b"new": 20}
    release.set()
    assert (await waiting.answer()).body == b"old"
    for conversation in old.conversations:
        await conversation.over()


async def test_a_failed_lookup_keeps_the_known_addresses_and_is_logged_once(
    harness: Harness, resolver: Resolver, caplog: pytest.LogCaptureFixture
) -> None:
    model = listening(harness, "127.0.0.1", 0, "one")
    resolver.known["model"] = Addresses(("127.0.0.1",))
    harness.replica("v2", named_endpoint(model.port), resolve=0.01)
    harness.use(route("v2"))
    await resolver.next_lookup()
    del resolver.known["model"]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await resolver.next_lookup()
    assert await count_bodies(harness) == {b"one": 20}
    assert len(model.conversations) == 1
    (record,) = caplog.records  # one warning for three failures in a row
    assert "model of v2 cannot be looked up: [Errno -2] Name or service not known" in record.getMessage()


async def test_a_hanging_lookup_delays_no_request_and_is_not_repeated(
    harness: Harness, resolver: Resolver
) -> None:
    """There is one look-up at a time per name. The drain at the end of the test does not wait for it."""
    model = listening(harness, "127.0.0.1", 0, "one")
    resolver.known["model"] = Addresses(("127.0.0.1",))
    harness.replica("v2", named_endpoint(model.port), resolve=0.01)
    harness.use(route("v2"))
    await resolver.next_lookup()
    resolver.hangs = True
    await resolver.next_lookup()
    lookups = resolver.lookups["model"]
    for _ in range(30):
        for backend in harness.plane.all_backends():
            backend.tend(monotonic() + 1e6)
        await settle()
    assert await count_bodies(harness) == {b"one": 20}
    assert resolver.lookups["model"] == lookups


async def test_requests_before_the_end_of_the_first_lookup_use_the_system_resolver(
    harness: Harness, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then, the connect call resolves the name."""
    resolver.hangs = True
    model = listening(harness, "127.0.0.1", 0, "one")
    by_name = Endpoint("localhost", model.port, "localhost", True, "http://localhost")
    harness.replica("v2", by_name)
    harness.use(route("v2"))
    assert await count_bodies(harness) == {b"one": 20}


async def test_a_spare_address_is_tried_when_the_first_address_refuses(
    harness: Harness, resolver: Resolver
) -> None:
    """This happens with localhost when a server listens at ::1 only."""
    model = listening(harness, "127.0.0.2", 0, "spare")
    resolver.known["model"] = Addresses(("127.0.0.1",), ("127.0.0.2",))
    harness.replica("v2", named_endpoint(model.port), resolve=0.01)
    harness.use(route("v2"))
    await resolver.next_lookup()
    assert await count_bodies(harness) == {b"spare": 20}
    assert (await harness.cell("v2")).errors == 0


async def test_an_ip_address_is_not_looked_up(harness: Harness, resolver: Resolver) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    for _ in range(3):
        await count_bodies(harness, 1)
        for backend in harness.plane.all_backends():
            backend.tend(monotonic() + 1e6)
        await settle()
    assert resolver.lookups == {}


async def test_the_lookup_of_a_removed_backend_is_cancelled(harness: Harness, resolver: Resolver) -> None:
    harness.backend("v3")
    harness.replica("v2", named_endpoint(1), resolve=0.01)
    resolver.hangs = True
    harness.use(route("v2"))
    await resolver.next_lookup() if not resolver.lookups else await settle()
    lookup = harness.plane.backends["v2"].looking
    assert lookup is not None
    del harness.specs["v2"]
    harness.use(route("v3"))
    await wait_until(lookup.cancelled, "the look-up is cancelled")


# ── look_up and is_name ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["10.0.0.2", "10.0.0.1", "10.0.0.2"], Addresses(("10.0.0.1", "10.0.0.2"))),
        (["::1", "127.0.0.1"], Addresses(("127.0.0.1",), ("::1",))),
        (["fd00::2", "fd00::1"], Addresses(("fd00::1", "fd00::2"))),
    ],
)
async def test_a_lookup_returns_the_addresses_of_one_family_and_the_other_as_spare(
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


async def test_an_invalid_name_is_not_found() -> None:
    with pytest.raises(OSError, match="not valid in DNS"):
        await look_up("a" * 64)


@pytest.mark.parametrize(
    ("host", "expected"), [("model", True), ("127.0.0.1", False), ("::1", False), ("", False)]
)
def test_is_name_tells_names_from_addresses(host: str, expected: bool) -> None:
    assert dial.is_name(host) is expected
