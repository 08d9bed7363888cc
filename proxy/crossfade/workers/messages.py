"""The messages between the control process and a worker: msgpack, each with its length before it."""

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
    """Finish the requests in flight within `timeout` seconds, then end.

    `inherited`: the workers of a successor already accept from the same sockets.
    """

    timeout: float
    inherited: bool = False


class Release(msgspec.Struct, tag=True):
    """The control process ends, and the worker does not: send a last report, then serve without it."""


class Renew(msgspec.Struct, tag=True):
    """Read the certificate files again."""


class Report(msgspec.Struct, tag=True):
    """The state of a worker; `counts` and `observations` since its last report."""

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
    client_required: bool = True  # False: a client may connect without a certificate


class Listening(msgspec.Struct):
    """A bound socket; with `tls` its clients speak TLS."""

    fd: int
    tls: Certificate | None = None


class WorkerOptions(msgspec.Struct):
    """What a worker needs before the first snapshot."""

    seam_fd: int
    listening: list[Listening]
    rates_fd: int = -1  # memory shared by all workers: the table of the rate limits
    lock_file: str | None = None


ENCODER = msgspec.msgpack.Encoder()
DOWNWARD: msgspec.msgpack.Decoder[Publish | Drain | Release | Renew] = msgspec.msgpack.Decoder(
    Publish | Drain | Release | Renew
)
UPWARD: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def write_frame(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    """Writes nothing to a closed connection: uvloop would raise RuntimeError, which is no OSError."""
    if writer.is_closing():
        return
    data = ENCODER.encode(message)
    writer.write(FRAME.pack(len(data)) + data)


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Raises IncompleteReadError when the other side has closed."""
    (length,) = FRAME.unpack(await reader.readexactly(FRAME.size))
    return await reader.readexactly(length)
