"""The messages between a control process and its workers, and between two control processes in a takeover.

They are msgpack, each with its length before it. The first message on a connection to the lock holder is JSON, with
descriptors (`local_socket`), so that two versions understand each other.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from crossfade.control.seam import QueueStatus
from crossfade.frames import FRAME, framed
from crossfade.quality.logged import LoggedBatch
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts


class Publish(msgspec.Struct, tag=True):
    snapshot: Snapshot


class Closing(msgspec.Struct, tag=True):
    """The proxy will end: answers close their connections from now on. Accepting goes on."""


class Drain(msgspec.Struct, tag=True):
    """Finish the requests in flight within `timeout` seconds, then end. Snapshots that come meanwhile are used.

    `inherited`: another worker already accepts from the same sockets. Of several orders the earliest end counts.
    """

    timeout: float
    inherited: bool = False


class Release(msgspec.Struct, tag=True):
    """The control process ends, and the worker does not: send a last report, then serve without it."""


class Renew(msgspec.Struct, tag=True):
    """Read the certificate files again."""


class Report(msgspec.Struct, tag=True):
    """The state of a worker; since its last report `counts`, and `sampled` encoded `samples` (`quality.samples`).

    `generation` is 0 while it has no snapshot, and so does not serve. `leaving`: it was told by a signal to end; it
    serves until it is told to drain.
    """

    generation: int
    counts: Counts
    connections: int
    loop_lag: float
    in_flight: dict[str, int]
    samples: bytes = b""
    sampled: int = 0
    leaving: bool = False
    queues: dict[str, QueueStatus] = {}  # since the worker's start
    in_flight_at: dict[
        str, dict[str, int]
    ] = {}  # by backend and endpoint, of endpoints that get no new requests
    logged: list[LoggedBatch] = []


class Certificate(msgspec.Struct, frozen=True):
    """PEM files of one listener. `others`: (certificate, key) for the hosts that the certificate names."""

    cert: str
    key: str
    client_ca: str | None = None
    client_required: bool = True  # False: a client may connect without a certificate
    others: tuple[tuple[str, str], ...] = ()


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
    places_fd: int = -1  # memory shared by all workers: the table of places in flight
    workers: int = 1  # how many there are


# ── between control processes ─────────────────────────────────────────────────────────────────────


class Hello(msgspec.Struct):
    """To the lock holder: from a detached worker, with its listening sockets, or from a successor.

    `generation`: of the snapshot that the worker serves from. `places`: a worker sends the descriptor of the table of
    places behind its sockets; a successor wants that descriptor behind the others.
    """

    what: Literal["detached", "successor"]
    pid: int
    generation: int = 0
    places: bool = False


class Holdings(msgspec.Struct, tag=True):
    """To a successor, with these descriptors in this order: the lock, the socket of the holder, the admin socket, the
    listening sockets, and with `places` the table of places. The holder keeps its own until the successor serves.
    `generation`: of its snapshot."""

    pid: int
    generation: int
    places: bool = False


class Refusal(msgspec.Struct, tag=True):
    """To a successor that cannot take over now."""

    reason: str


class Leave(msgspec.Struct, tag=True):
    """The successor is ready to serve: decide no more, and release the state."""


class Left(msgspec.Struct, tag=True):
    """The answer to `Leave`, and the last message after `Serving`: the counts that the health loop has not taken, and the
    rows that the prediction logs have not got."""

    counts: Counts
    logged: list[LoggedBatch] = []


class Serving(msgspec.Struct, tag=True):
    """The successor's workers serve: leave yours to it, and end."""


ANSWER: msgspec.json.Decoder[Holdings | Refusal] = msgspec.json.Decoder(Holdings | Refusal)
FROM_SUCCESSOR: msgspec.msgpack.Decoder[Leave | Publish | Serving] = msgspec.msgpack.Decoder(
    Leave | Publish | Serving
)
FROM_HOLDER: msgspec.msgpack.Decoder[Left] = msgspec.msgpack.Decoder(Left)
DOWNWARD: msgspec.msgpack.Decoder[Publish | Closing | Drain | Release | Renew] = msgspec.msgpack.Decoder(
    Publish | Closing | Drain | Release | Renew
)
UPWARD: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def write_frame(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    """Writes nothing to a closed connection: uvloop would raise RuntimeError, which is no OSError."""
    if writer.is_closing():
        return
    writer.write(framed(message))


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Raises IncompleteReadError when the other side has closed."""
    (length,) = FRAME.unpack(await reader.readexactly(FRAME.size))
    return await reader.readexactly(length)
