"""Frames over the seam: what is written arrives, and a side that is gone breaks nobody."""

from __future__ import annotations

import asyncio
import socket

import uvloop

from crossfade.stats.counts import Counts
from crossfade.stats.observation import Observation
from crossfade.workers.messages import DOWNWARD, ENCODER, UPWARD, Drain, Report, read_frame, write_frame


def test_what_is_written_arrives() -> None:
    async def both_ends() -> object:
        ours, theirs = socket.socketpair()
        _, writer = await asyncio.open_unix_connection(sock=ours)
        reader, other = await asyncio.open_unix_connection(sock=theirs)
        write_frame(writer, Drain(2.5))
        message = DOWNWARD.decode(await read_frame(reader))
        for side in (writer, other):
            side.close()
            await side.wait_closed()
        return message

    assert uvloop.run(both_ends()) == Drain(2.5)


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


def test_observations_come_up_beside_the_counts() -> None:
    labels: list[bool | int | float | str | None] = [None, True, -3, 0.5, "low", 2**63 - 1]
    seen = [
        Observation("abc", 1.5, "churn", "v2", "v1", 3, 2**64 - 1, 0.25, label, ("DE", ""))
        for label in labels
    ]
    report = Report(1, Counts(refused={"404:no_route": 1}), 2, 0.0, {"v2": 1}, seen)
    arrived = UPWARD.decode(ENCODER.encode(report))
    assert arrived == report
    assert [type(o.label) for o in arrived.observations] == [type(label) for label in labels]
