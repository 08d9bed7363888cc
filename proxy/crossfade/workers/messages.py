"""What crosses the seam, as length-prefixed msgpack."""

from __future__ import annotations

import asyncio
import struct

import msgspec

from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts
from crossfade.stats.observation import Observation

FRAME = struct.Struct(">I")


class Publish(msgspec.Struct, tag=True):
    snapshot: Snapshot


class Drain(msgspec.Struct, tag=True):
    """Finish within so many seconds. `inherited`: a successor accepts from the same sockets already."""

    timeout: float
    inherited: bool = False


class Release(msgspec.Struct, tag=True):
    """The control process leaves in good order: report what is counted, then serve on alone."""


class Renew(msgspec.Struct, tag=True):
    """Read the certificates' files again."""


class Report(msgspec.Struct, tag=True):
    """What a worker says of itself; `counts` and `observations` since its last report."""

    generation: int
    counts: Counts
    connections: int
    loop_lag: float
    in_flight: dict[str, int]
    observations: list[Observation] = []


class Certificate(msgspec.Struct, frozen=True):
    """PEM files of one listener."""

    cert: str
    key: str
    client_ca: str | None = None
    client_required: bool = True  # or else a client may come without a certificate


class Listening(msgspec.Struct):
    """A socket that is bound, and how to speak on it."""

    fd: int
    tls: Certificate | None = None


class WorkerOptions(msgspec.Struct):
    """All that a worker is told before the first snapshot."""

    seam_fd: int
    listening: list[Listening]
    rates_fd: int = -1  # memory that all workers share: the rate limits' table
    lock_file: str | None = None


ENCODER = msgspec.msgpack.Encoder()
DOWNWARD: msgspec.msgpack.Decoder[Publish | Drain | Release | Renew] = msgspec.msgpack.Decoder(
    Publish | Drain | Release | Renew
)
UPWARD: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def write_frame(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    """Nothing is written to a side that is gone: uvloop raises RuntimeError then, which is no OSError."""
    if writer.is_closing():
        return
    data = ENCODER.encode(message)
    writer.write(FRAME.pack(len(data)) + data)


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Raises IncompleteReadError when the other side is gone."""
    (length,) = FRAME.unpack(await reader.readexactly(FRAME.size))
    return await reader.readexactly(length)
