"""Answers that make pairs, mirrors that ask twice, and what became of the pairs."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from crossfade.quality.prediction import Prediction
from crossfade.routing.ledger import BUCKETS
from crossfade.routing.snapshot import Mirror
from crossfade.stats.counts import Cell
from crossfade.stats.distances import Distances
from crossfade.stats.paired_latency import PairedLatency
from crossfade.stats.pairs import Pairs
from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.scripted import Conversation, Script, answering, each
from tests.dataplane.wire import Message, chunked, ok, post

YES, NO, DECISION = b'{"out": {"p": 0.5}}', b'{"out": {"p": 0.4}}', Prediction(("out", "p"), decision=0.5)
LABEL = Prediction(label=("class",))
FAILING = answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
CREATED = answering(b"HTTP/1.1 201 Made\r\nContent-Length: %d\r\n\r\n%b" % (len(YES), YES))
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(YES[:9], YES[9:])


def ok_bodies(*bodies: bytes) -> Script:
    """Answer 200 with these bodies in order, then always with the last one."""
    left = list(bodies)

    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(ok(left.pop(0) if len(left) > 1 else left[0]))

    return each(handler)


def noise_mirror(noise: int = BUCKETS, sample: int = BUCKETS) -> tuple[Mirror, ...]:
    return (Mirror("v3", sample, noise),)


async def ask(harness: Harness, times: int = 1) -> None:
    client = await harness.client()
    for _ in range(times):
        await client.send(post(b"{}", fields=[b"x-customer: ann"]))
        await client.answer()
    await harness.quiet()


async def compared(
    harness: Harness, champion: Script, challenger: Script, times: int = 1, **options: Any
) -> Cell:
    harness.backend("v2", champion)
    harness.backend("v3", challenger, first_byte_timeout=5.0)
    defaults: dict[str, Any] = {"mirrors": mirrored("v3"), "prediction": DECISION}
    harness.use(route("v2", **defaults | options))
    await ask(harness, times)
    return await harness.shadow("v3") or Cell("churn", "v3", "shadow", 1)


def decisions(cell: Cell) -> Pairs:
    """The pairs without what is measured beside the decisions."""
    return replace(cell.pairs, distances=Distances(), segments={}, latency=PairedLatency())


def dropped(harness: Harness) -> dict[str, int]:
    return harness.plane.recorder.table.dropped


# ── no pair ───────────────────────────────────────────────────────────────────────────────────────


async def hanging(conversation: Conversation, request: Message) -> None:
    await asyncio.Event().wait()
