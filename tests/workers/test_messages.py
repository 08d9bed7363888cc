"""Frames over the seam: what is written arrives, and a side that is gone breaks nobody."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest
import uvloop

from crossfade.frames import framed
from crossfade.stats.counts import Cell, Counts
from crossfade.workers.messages import (
    DOWNWARD,
    UPWARD,
    Drain,
    Publish,
    Release,
    Renew,
    Report,
    read_frame,
    write_frame,
)
from tests.dataplane.plane import SNAPSHOT

REPORT = Report(7, Counts([Cell("r", "v2", "champion", 3, requests=5)]), 2, 0.25, {"v2": 1})


def reader_of(*pieces: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    return reader


@pytest.mark.parametrize(
    "message", [Publish(SNAPSHOT), Drain(2.5), Drain(0.0, inherited=True), Release(), Renew()]
)
def test_what_is_written_down_arrives(message: Publish | Drain | Release | Renew) -> None:
    async def both_ends() -> object:
        ours, theirs = socket.socketpair()
        _, writer = await asyncio.open_unix_connection(sock=ours)
        reader, other = await asyncio.open_unix_connection(sock=theirs)
        write_frame(writer, message)
        found = DOWNWARD.decode(await read_frame(reader))
        for side in (writer, other):
            side.close()
            await side.wait_closed()
        return found

    assert uvloop.run(both_ends()) == message


async def test_a_report_arrives_with_its_counts() -> None:
    assert UPWARD.decode(await read_frame(reader_of(framed(REPORT)))) == REPORT


def test_samples_come_up_beside_the_counts_and_nobody_reads_them_on_the_way() -> None:
    report = msgspec.structs.replace(REPORT, samples=b"\xff\x00", sampled=3)
    assert UPWARD.decode(msgspec.msgpack.encode(report)) == report


async def test_frames_may_come_in_pieces_or_several_at_once() -> None:
    both = framed(Drain(1.0)) + framed(Release())
    for reader in (reader_of(both), reader_of(*(bytes([byte]) for byte in both))):
        assert DOWNWARD.decode(await read_frame(reader)) == Drain(1.0)
        assert DOWNWARD.decode(await read_frame(reader)) == Release()


@pytest.mark.parametrize("kept", [0, 2, 5], ids=["nothing", "half a length", "half a message"])
async def test_a_side_that_ends_within_a_frame_is_gone(kept: int) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await read_frame(reader_of(framed(Drain(1.0))[:kept]))


def test_a_side_that_is_gone_breaks_nobody() -> None:
    """A worker whose control process was killed writes its next report to nobody, and serves on."""

    async def alone() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        theirs.close()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        write_frame(writer, Drain(2.5))

    uvloop.run(alone())
