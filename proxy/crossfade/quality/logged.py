"""What the prediction log gets of an exchange: from a worker when it ends, and from the observer what its answers said.

Rule: a worker passes on each exchange of a route with `feedback`, whatever it was answered. Outputs come later, and may be
missing: the observer may be behind, or the answer was not sampled. Batches stay encoded until the log is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crossfade.quality.answer import Decision


class LoggedExchange(msgspec.Struct, frozen=True, array_like=True):
    """One exchange. `backend`: the one assigned; `answered_by`: empty without an answer. `role`: of the assigned backend.

    `status`: what the client got, 0 for nothing. `seconds`: its duration. `key`: the sticky key's hash. `blamed`: it counts
    as an error of the backend.
    """

    request_id: bytes
    at: float  # seconds since the epoch, by the worker's clock, when it ended
    backend: str
    role: str
    ledger_version: int
    key: int | None
    status: int
    seconds: float
    answered_by: str = ""
    blamed: bool = False


class LoggedOutput(msgspec.Struct, frozen=True, array_like=True):
    """What one answer to a logged request said. `backend`: whose answer it is.

    `copy`: the backend got a mirrored copy of the request. `label`: as `decision_of` without a threshold. `segment`: in the
    order of `prediction.segment`. `body`: of the request, where the route keeps inputs; once for each request.
    """

    request_id: bytes
    backend: str
    score: float | None
    label: Decision | None
    segment: tuple[str, ...] = ()
    copy: bool = False
    body: bytes | None = None


class LoggedBatch(msgspec.Struct, frozen=True, array_like=True):
    """`n` rows of one route, encoded: exchanges of one worker, or outputs."""

    route: str
    n: int
    exchanges: bytes = b""
    outputs: bytes = b""

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.exchanges) + len(self.outputs)


_ENCODER = msgspec.msgpack.Encoder()
_EXCHANGES: msgspec.msgpack.Decoder[list[LoggedExchange]] = msgspec.msgpack.Decoder(list[LoggedExchange])
_OUTPUTS: msgspec.msgpack.Decoder[list[LoggedOutput]] = msgspec.msgpack.Decoder(list[LoggedOutput])


def batch_of_exchanges(route: str, rows: Sequence[LoggedExchange]) -> LoggedBatch:
    return LoggedBatch(route, len(rows), exchanges=_ENCODER.encode(rows))


def batch_of_outputs(route: str, rows: Sequence[LoggedOutput]) -> LoggedBatch:
    return LoggedBatch(route, len(rows), outputs=_ENCODER.encode(rows))


def exchanges_in(batch: LoggedBatch) -> list[LoggedExchange]:
    """Raises msgspec.MsgspecError."""
    return _EXCHANGES.decode(batch.exchanges) if batch.exchanges else []


def outputs_in(batch: LoggedBatch) -> list[LoggedOutput]:
    """Raises msgspec.MsgspecError."""
    return _OUTPUTS.decode(batch.outputs) if batch.outputs else []
