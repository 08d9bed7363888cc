"""In a busy worker, what is read in one turn of the loop is handled together, and what comes of it is written together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from crossfade.dataplane.downstream import Downstream
from crossfade.dataplane.plane import Plane
from crossfade.dataplane.turn import COLLECTED, SMALL, TURN
from tests.dataplane.plane import Harness, keep_busy, route
from tests.dataplane.scripted import Conversation
from tests.dataplane.wire import get, ok, post, wait_until
from tests.fuzz.laws import UPGRADE, Exchanges
from tests.fuzz.memory import MemoryTransport, Origin, Script

GRANTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
UPLOAD = post(bytes(SMALL))


def refused(plane: Plane) -> int:
    return sum(plane.recorder.table.refused.values())


class Peer(MemoryTransport):
    """A client whose bytes the test gives to the proxy. `events`: what the proxy did to all such clients, in order."""

    def __init__(self, harness: Harness, name: str, events: list[str]) -> None:
        self.name, self.events = name, events
        self.answers = b""
        self.refused = 0  # requests of all clients before the first write to this one
        self.client = Downstream(harness.plane)
        super().__init__(self.client, self.note)

    def note(self, data: bytes) -> None:
        self.refused = self.refused or refused(self.client.plane)
        self.answers += data
        self.events.append(f"{self.name} is written to")

    def sends(self, data: bytes) -> None:
        self.client.data_received(data)

    @property
    def is_answered(self) -> bool:
        return self.answers.startswith(b"HTTP/1.1 404 ")


@pytest.fixture
def busy(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The harness has begun its turns before."""
    keep_busy(monkeypatch)
    yield
    TURN.end()


@pytest.fixture
async def peer(harness: Harness) -> AsyncIterator[Peer]:
    peer = Peer(harness, "a", [])
    yield peer
    peer.close()


async def test_a_worker_is_busy_by_the_messages_of_the_time_between_two_sweeps(harness: Harness) -> None:
    harness.plane.check_deadlines()
    TURN.messages = 10**9
    seen = []
    for _ in range(2):
        harness.plane.check_deadlines()
        seen.append(TURN.is_busy)
    assert seen == [True, False]


@pytest.mark.usefixtures("busy")
async def test_a_new_data_plane_is_not_busy(harness: Harness) -> None:
    TURN.begin()
    assert not TURN.is_busy


@pytest.mark.usefixtures("busy")
async def test_no_turn_begins_within_one(peer: Peer) -> None:
    """Else what the inner one writes would come before what the outer one holds."""
    TURN.is_handling = True
    peer.sends(get())
    TURN.end()
    assert peer.answers == b""
    TURN.is_handling = False
    TURN.end()
    assert peer.is_answered


async def test_messages_of_clients_and_of_backends_count(harness: Harness) -> None:
    harness.plane.stop_sweeping()  # each sweep counts from 0
    TURN.messages = 0
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    for _ in range(3):
        await client.send(get())
        await client.answer()
    assert TURN.messages == 6


async def test_a_worker_that_is_not_busy_answers_at_once(peer: Peer) -> None:
    peer.sends(get())
    assert peer.is_answered


@pytest.mark.usefixtures("busy")
async def test_requests_of_a_turn_are_handled_behind_all_that_is_read_and_answered_behind_that(
    harness: Harness,
) -> None:
    events: list[str] = []
    a, b = Peer(harness, "a", events), Peer(harness, "b", events)
    a.sends(get())
    b.sends(get())
    assert events == []
    await asyncio.sleep(0)
    assert events == ["a is written to", "b is written to"]
    assert a.refused == 2, "that of b is handled before a gets its answer"
    a.close()
    b.close()


@pytest.mark.usefixtures("busy")
async def test_what_is_written_to_one_connection_in_a_turn_is_one_write(harness: Harness) -> None:
    events: list[str] = []
    peer = Peer(harness, "a", events)
    outlet = peer.client.transport
    TURN.is_handling = True
    outlet.write(b"1")
    outlet.write(b"2")
    assert peer.answers == b""
    outlet.writelines([b"3", b"4"])
    assert peer.answers == b"1234"
    assert events == ["a is written to"] * 2
    outlet.write(b"5")
    outlet.close()
    TURN.is_handling = False
    assert peer.answers == b"12345"


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("end", ["write_eof", "abort", "get_write_buffer_size"])
async def test_what_is_done_to_a_connection_comes_behind_what_was_written(peer: Peer, end: str) -> None:
    TURN.is_handling = True
    peer.client.transport.write(b"1")
    getattr(peer.client.transport, end)()
    TURN.is_handling = False
    assert peer.answers == b"1"


@pytest.mark.usefixtures("busy")
async def test_a_request_is_handled_before_its_clients_end(peer: Peer) -> None:
    peer.sends(get())
    peer.client.eof_received()
    assert peer.is_answered


@pytest.mark.usefixtures("busy")
async def test_a_request_of_a_client_that_is_lost_counts(harness: Harness) -> None:
    peer = Peer(harness, "a", [])
    peer.sends(get())
    peer.client.connection_lost(None)
    assert refused(harness.plane) == 1
    await asyncio.sleep(0)
    assert refused(harness.plane) == 1


@pytest.mark.usefixtures("busy")
async def test_one_piece_of_a_connection_waits(peer: Peer) -> None:
    """A second one ends the turn, so that both are read in order and none waits for another protocol."""
    peer.sends(get()[:10])
    peer.sends(get()[10:])
    assert peer.answers == b"", "the second waits in the next turn"
    peer.sends(b"more")
    assert peer.is_answered


@pytest.mark.usefixtures("busy")
async def test_a_large_piece_does_not_wait(peer: Peer) -> None:
    peer.sends(UPLOAD)
    assert peer.is_answered


@pytest.mark.usefixtures("busy")
async def test_what_waits_is_bounded(harness: Harness) -> None:
    piece = get(fields=[b"X-Padding: " + bytes(SMALL - 200).replace(b"\0", b"p")])
    events: list[str] = []
    peers = [Peer(harness, str(n), events) for n in range(COLLECTED // len(piece) + 1)]
    for peer in peers[:-1]:
        peer.sends(piece)
    assert events == []
    peers[-1].sends(piece)
    assert all(peer.is_answered for peer in peers)
    for peer in peers:
        peer.close()


@pytest.mark.usefixtures("busy")
async def test_a_body_does_not_wait(harness: Harness, peer: Peer) -> None:
    async def reading(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(ok(b"got it"))
        await conversation.watch()

    harness.backend("v2", reading)
    harness.use(route("v2"))
    peer.sends(post(b"a piece")[:-7])
    await asyncio.sleep(0)
    for piece in (b"a ", b"pie", b"ce"):
        peer.sends(piece)
        assert not peer.client.waits
    await wait_until(lambda: b"got it" in peer.answers)


@pytest.mark.usefixtures("busy")
async def test_a_client_whose_request_waits_is_not_idle(peer: Peer) -> None:
    """A drain would close it."""
    assert peer.client.is_idle()
    peer.sends(get())
    assert not peer.client.is_idle()
    await asyncio.sleep(0)
    assert peer.client.is_idle()


@pytest.mark.usefixtures("busy")
async def test_a_request_that_was_read_in_time_is_no_timeout(harness: Harness, peer: Peer) -> None:
    peer.sends(get())
    peer.client.deadline = 0.0
    for _ in range(40):  # each twentieth sweep looks at the clients
        harness.plane.check_deadlines()
    assert peer.is_answered


@pytest.mark.usefixtures("busy")
async def test_a_client_that_was_closed_in_the_turn_is_not_read(harness: Harness, peer: Peer) -> None:
    peer.sends(get())
    peer.client.close()
    await asyncio.sleep(0)
    assert peer.answers == b""
    assert refused(harness.plane) == 0


@pytest.mark.usefixtures("busy")
async def test_pipelined_requests_are_answered_in_order(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"".join(get(f"/{n}") for n in range(20)))
    for _ in range(20):
        assert (await client.answer()).status == 200
    lines = [request.first for request in harness.backends["v2"].requests]
    assert lines == [b"GET /%d HTTP/1.1" % n for n in range(20)]


# ── of a model ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def exchanges() -> Iterator[Exchanges]:
    """Of a busy worker, with models whose bytes and whose end may come in one turn."""
    with Exchanges(busy=True) as exchanges:
        yield exchanges


def answer_to(exchanges: Exchanges, request: bytes, script: Script) -> bytes:
    return exchanges.relay(exchanges.memories[0], [request], script).to_client


def test_an_answer_is_read_before_the_end_of_its_connection(exchanges: Exchanges) -> None:
    def script(origin: Origin) -> None:
        origin.send(b"HTTP/1.1 200 OK\r\n\r\nwhole")
        origin.transport.end()

    assert b"whole" in answer_to(exchanges, get(), script)


def test_an_answer_is_read_before_its_connection_is_reset(exchanges: Exchanges) -> None:
    def script(origin: Origin) -> None:
        origin.send(ok(b"whole"))
        origin.transport.closing = True
        origin.protocol.connection_lost(ConnectionResetError())

    assert b"whole" in answer_to(exchanges, get(), script)


def test_the_frames_behind_a_101_reach_the_client(exchanges: Exchanges) -> None:
    def script(origin: Origin) -> None:
        origin.send(GRANTED)
        origin.send(b"\x81\x02hi")
        origin.transport.end()

    assert answer_to(exchanges, UPGRADE, script).endswith(b"\x81\x02hi")


def test_a_tunnel_begins_before_the_end_of_its_models_bytes(exchanges: Exchanges) -> None:
    def script(origin: Origin) -> None:
        origin.send(GRANTED)
        origin.transport.end()

    assert answer_to(exchanges, UPGRADE, script).startswith(b"HTTP/1.1 101 ")


def test_the_body_of_an_answer_does_not_wait(exchanges: Exchanges) -> None:
    waits = []

    def script(origin: Origin) -> None:
        origin.send(ok(b"in parts")[:-5])
        TURN.end()
        origin.send(b"pa")
        waits.append(origin.protocol.waits)
        origin.send(b"rts")

    assert b"in parts" in answer_to(exchanges, get(), script)
    assert waits == [False]
