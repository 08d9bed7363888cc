"""The end of a drain for WebSockets: a Close 1001 to both sides, between two frames and never inside one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.dataplane.websocket import CLOSE_TO_CLIENT, MOST_FRAMES, Frames, close_to_backend
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, Script
from tests.dataplane.upgrades import UPGRADE_REQUEST, open_tunnel, upgrading
from tests.dataplane.wire import Ended, wait_until

CLOSE = 0x8


def frame(payload: bytes, opcode: int = 1, mask: bytes = b"", final: bool = True) -> bytes:
    size = len(payload)
    masked = 0x80 if mask else 0
    if size < 126:
        length = bytes((masked | size,))
    elif size < 1 << 16:
        length = bytes((masked | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((masked | 127,)) + size.to_bytes(8, "big")
    hidden = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload)) if mask else payload
    return bytes(((0x80 if final else 0) | opcode,)) + length + mask + hidden


MASK = b"\1\2\3\4"


def unmasked(close: bytes) -> bytes:
    """The payload of a Close that a client sent."""
    assert close[:2] == b"\x88\x82"
    return bytes(byte ^ close[2 + n] for n, byte in enumerate(close[6:8]))


# ── where frames end ──────────────────────────────────────────────────────────────────────────────

FRAMES = st.lists(
    st.builds(
        frame,
        st.binary(max_size=300) | st.integers(65_530, 65_540).map(bytes),
        st.sampled_from([0, 1, 2, 9, 10]),
        st.sampled_from([b"", MASK]),
        st.booleans(),
    ),
    max_size=5,
)


@given(FRAMES, st.data())
def test_however_the_bytes_are_cut_it_is_known_where_frames_end(
    frames: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(frames)
    ends = {0}
    for one in frames:
        ends.add(max(ends) + len(one))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    reading, at = Frames(), 0
    for cut in [*cuts, len(whole)]:
        assert reading.read(whole[at:cut]) == cut - at
        at = cut
        assert reading.is_between() is (at in ends)
        assert not reading.has_closed


def test_very_many_frames_in_one_read_are_not_followed() -> None:
    """Empty frames of two bytes kept a worker busy until it was taken for hung, and killed."""
    reading, usual = Frames(), Frames()
    assert usual.read(frame(b"x" * 60) * MOST_FRAMES) == 62 * MOST_FRAMES
    assert usual.is_between()
    assert reading.read(bytes(256 * 1024)) == 256 * 1024
    assert not reading.is_between()
    assert reading.read(frame(b"", CLOSE), True) == 2
    assert not reading.is_between()
    assert not reading.has_closed


@given(FRAMES.filter(bool), st.data())
def test_the_end_of_the_current_frame_is_found(frames: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(frames)
    start = data.draw(st.integers(1, len(frames[0]) - 1)) if len(frames[0]) > 1 else 1
    reading = Frames()
    reading.read(whole[:start])
    assert start + reading.read(whole[start:], only_one=True) == len(frames[0])
    assert reading.is_between()


@pytest.mark.parametrize("close", [frame(b"", CLOSE), frame(b"\x03\xe8bye", CLOSE, MASK)])
def test_a_close_is_the_last_frame(close: bytes) -> None:
    reading = Frames()
    for byte in frame(b"hello") + close:
        reading.read(bytes((byte,)))
    assert reading.has_closed and reading.is_between()


# ── over real connections ─────────────────────────────────────────────────────────────────────────


async def drain(harness: Harness, seconds: float = 0.6) -> asyncio.Task[None]:
    """Less than the second in which WebSockets may answer, so they are told at once."""
    task = asyncio.create_task(harness.plane.drain(seconds))
    await wait_until(lambda: harness.plane.draining, "the drain has begun")
    return task


def reading(seen: list[bytes], first: bytes = b"") -> Script:
    """A backend that collects what it gets until the end."""

    async def script(conversation: Conversation) -> None:
        try:
            while True:
                data, conversation.buffer = conversation.buffer, b""
                seen.append(data)
                await conversation.more()
        except Ended as end:
            conversation.ended = end.how
        conversation.close()

    return upgrading(script, first)


async def test_a_peer_that_does_not_answer_gets_the_close_and_an_orderly_end(harness: Harness) -> None:
    seen: list[bytes] = []
    backend = harness.backend("v2", reading(seen))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    await (await drain(harness, 0.2))
    assert await client.rest() == (CLOSE_TO_CLIENT, "closed")
    assert await backend.conversations[0].over() == "closed"
    assert unmasked(b"".join(seen)) == b"\x03\xe9"


async def test_a_close_waits_for_the_end_of_the_current_frame(harness: Harness) -> None:
    """Nothing follows it, although the peers send on."""
    seen: list[bytes] = []
    more = asyncio.Event()
    down, up = frame(bytes(range(100)), 2), frame(bytes(range(50)), 2, MASK)

    async def script(conversation: Conversation) -> None:
        await more.wait()
        await conversation.send(down[60:] + frame(b"and another"))
        try:
            while True:
                await conversation.more()
        except Ended as end:
            seen.append(conversation.buffer)
            conversation.ended = end.how
        conversation.close()

    harness.backend("v2", upgrading(script, down[:60]))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    assert await client.exactly(60) == down[:60]
    await client.send(up[:3])
    draining = await drain(harness, 0.8)
    await asyncio.sleep(0.1)
    await client.send(up[3:] + frame(b"and another", 1, MASK))
    more.set()
    assert await client.rest() == (down[60:] + CLOSE_TO_CLIENT, "closed")
    await draining
    await wait_until(lambda: seen, "the backend has it all")
    assert seen[0].startswith(up)
    assert unmasked(seen[0][len(up) :]) == b"\x03\xe9"


async def test_inside_a_frame_the_connection_is_reset_at_the_end(harness: Harness) -> None:
    """A truncated frame must not look complete, and a Close inside it would be part of its payload."""
    seen: list[bytes] = []
    harness.backend("v2", reading(seen, frame(bytes(100))[:50]))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    await client.exactly(50)
    await (await drain(harness, 0.2))
    assert await client.rest() == (b"", "reset")
    await wait_until(lambda: unmasked(b"".join(seen)) == b"\x03\xe9", "the other side is told")


async def test_between_the_fragments_of_a_message_a_close_may_come(harness: Harness) -> None:
    part = frame(b"first part", 1, final=False)
    harness.backend("v2", reading([], part))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    await client.exactly(len(part))
    await (await drain(harness, 0.2))
    assert await client.rest() == (CLOSE_TO_CLIENT, "closed")


async def test_nothing_follows_a_close_of_the_peers_own(harness: Harness) -> None:
    own = frame(b"\x03\xe8", CLOSE)
    seen: list[bytes] = []
    harness.backend("v2", reading(seen, own))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    assert await client.exactly(len(own)) == own
    await (await drain(harness, 0.2))
    data, _ = await client.rest()
    assert data == b""
    assert unmasked(b"".join(seen)) == b"\x03\xe9"


async def test_early_bytes_of_the_client_count_as_frames(harness: Harness) -> None:
    seen: list[bytes] = []
    whole = frame(b"early", 1, MASK)
    harness.backend("v2", reading(seen))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST + whole[:4])
    assert (await client.head()).status == 101
    await wait_until(lambda: b"".join(seen) == whole[:4], "they have passed")
    draining = await drain(harness, 0.8)
    await asyncio.sleep(0.05)
    assert b"".join(seen) == whole[:4], "no Close inside a frame"
    await client.send(whole[4:])
    await draining
    got = b"".join(seen)
    assert got.startswith(whole) and unmasked(got[len(whole) :]) == b"\x03\xe9"


async def test_a_tunnel_of_another_protocol_is_reset(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: upgrade\r\n\r\n"
        )
        await conversation.watch()
        conversation.close()

    harness.backend("v2", script)
    harness.use(route("v2", upgrades=(b"chat",)))
    client = await harness.client()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
    assert (await client.head()).status == 101
    await (await drain(harness, 0.2))
    assert await client.rest() == (b"", "reset")


def test_the_close_to_a_backend_is_masked_anew_each_time() -> None:
    assert unmasked(close_to_backend()) == b"\x03\xe9"
    assert len({close_to_backend() for _ in range(10)}) > 1
