"""Samples: what workers pass on to the observer, as bytes that nobody has read yet.

Rule: which exchanges are sampled depends neither on the backend nor on what it answered, so that a comparison of what
is read stays unbiased.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crossfade.quality.answer import RawAnswer
from crossfade.stats.counts import CellKey


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """The request of a sample. `head` and `body` only where a segment is found there."""

    request_id: bytes
    at: float  # seconds since the epoch, by the worker's clock, when it ended
    target: bytes
    key: int | None  # the sticky key's hash
    head: bytes = b""
    body: bytes | None = None


class CopySample(msgspec.Struct, frozen=True, array_like=True):
    """The challenger's answer to the copy of one request.

    `shadow`: the cell of the copy. `chance`: the probability with which the champion is asked twice. `second`: its second
    answer; None: it was not asked twice.
    """

    shadow: CellKey
    champion: str
    chance: float
    copy: RawAnswer
    second: RawAnswer | None = None


class AnswerSample(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """One exchange of a route that reads answers. `cell`: what it is counted in.

    `answer` is None where the client got no status of 2xx. `own`: it is the assigned backend's own answer, and complete.
    `copies`: those that were answered before the sample was reported.
    """

    cell: CellKey
    asked: Asked
    answered_by: str
    own: bool
    answer: RawAnswer | None
    copies: list[CopySample] = []


class PairSample(msgspec.Struct, frozen=True, array_like=True, tag="pair"):
    """The champion's answer to a client and a copy of its request. The exchange is no sample, or one that was reported before."""

    asked: Asked
    live: RawAnswer
    copied: CopySample


class SpanSample(msgspec.Struct, frozen=True, array_like=True, tag="span"):
    """One exchange of a trace. `ids`: of trace, span and parent in hexadecimal digits; no parent: the span is the first.

    `at`: when it ended, by the worker's clock. `request`: method, path, version and host. `place`: route, assigned backend and role;
    empty where there was no route. `answered_by` and `endpoint`: empty without an answer. `step`: of the rollout, from 0.
    `resent`: how often it was sent again, to a fallback too. `code`: what the assigned backend said.
    """

    ids: tuple[bytes, bytes, bytes]
    at: float
    seconds: float
    request_id: bytes
    request: tuple[bytes, bytes, bytes, bytes]
    client: bytes
    secure: bool  # over TLS
    status: int
    place: tuple[str, str, str]
    answered_by: str
    endpoint: str
    step: int | None
    stages: list[str]
    fell_back: bool
    abandoned: bool
    resent: int
    code: int


Sample = AnswerSample | PairSample | SpanSample
_DECODER: msgspec.msgpack.Decoder[list[Sample]] = msgspec.msgpack.Decoder(list[Sample])
_ENCODER = msgspec.msgpack.Encoder()


def encode(samples: list[Any]) -> bytes:
    return _ENCODER.encode(samples)


def decode(data: bytes) -> list[Sample]:
    """Raises msgspec.MsgspecError."""
    return _DECODER.decode(data)
