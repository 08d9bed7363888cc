"""Messages of a topic → results and dead letters, by a model in this process or through the proxy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from crossfade_backends.batch_input import Chunk
from crossfade_backends.batch_parts import Scored
from crossfade_backends.registry import Metadata

SOURCE, REASON = "crossfade-source", "crossfade-reason"
Header = tuple[str, bytes]
Scores = tuple[list[Scored], list[dict[str, Any]]]
_INLINE_ROWS = 64  # fewer are scored sooner than a thread is woken
_SILENCE = 60.0  # seconds without any answer of the proxy until the portion is tried again


class Message(NamedTuple):
    """`source`: topic, partition and offset, by which readers know a result that comes twice."""

    key: bytes | None
    value: bytes | None
    source: str
    headers: tuple[Header, ...]


class Outcome(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    is_dead: bool


class Scorer:
    """`score_chunk` knows rows by their number, as a batch does."""

    def __init__(
        self,
        score_chunk: Callable[[Chunk], Awaitable[Scores]],
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.score_chunk = score_chunk
        self._close = close

    async def score(self, messages: Sequence[Message]) -> list[Outcome]:
        """One outcome for each message, in their order."""
        # A value that is absent, and a blank one, are no customer; a chunk leaves blank lines out.
        lines = [message.value if (message.value or b"").strip() else b"null" for message in messages]
        scored, bad = await self.score_chunk(Chunk(0, 1, 1.0, (), lines))
        reasons = {row["row"]: row["reason"] for row in bad}
        results = iter(scored)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return [
            _dead(message, reasons[number]) if number in reasons else _result(message, next(results), at)
            for number, message in enumerate(messages, 1)
        ]

    async def close(self) -> None:
        if self._close is not None:
            await self._close()


def by_model(registry: Path, version: Metadata) -> Scorer:
    """Loads it, which blocks."""
    from crossfade_backends.batch_model import score
    from crossfade_backends.scoring import load_served_model

    model = load_served_model(registry, version.name, version.version)

    async def score_chunk(chunk: Chunk) -> Scores:
        if len(chunk.content) <= _INLINE_ROWS:
            return score(model, chunk)
        return await asyncio.to_thread(score, model, chunk)

    return Scorer(score_chunk)


def by_proxy(url: str, at_once: int) -> Scorer:
    """Needs a running loop."""
    from crossfade_backends.batch_proxy import ThroughProxy, connect

    proxy, session = ThroughProxy(url, at_once, _SILENCE), connect()

    async def score_chunk(chunk: Chunk) -> Scores:
        proxy.begin()
        return await proxy.score(session, chunk)

    return Scorer(score_chunk, session.close)


def _result(message: Message, row: Scored, at: str) -> Outcome:
    value = {
        "customer_id": row.customer_id,
        "churn_probability": row.churn_probability,
        "risk_level": row.risk_level,
        "model_version": row.model_version,
        "prediction_timestamp": at,
    }
    headers = (*message.headers, (SOURCE, message.source.encode()))
    return Outcome(message.key, json.dumps(value).encode(), headers, False)


def _dead(message: Message, reason: str) -> Outcome:
    headers = (*message.headers, (SOURCE, message.source.encode()), (REASON, reason.encode()))
    return Outcome(message.key, message.value, headers, True)
