"""Routes with a guarded rollout, and what their workers have counted."""

from __future__ import annotations

from typing import Any

from crossfade.routing.ledger import hash_of, salt_of
from crossfade.stats.counts import Cell
from tests.dataplane.plane import Harness, sticky
from tests.dataplane.scripted import answering
from tests.dataplane.wire import Wire, get

SALT = salt_of("churn")
KEYED = sticky("header", "x-customer")
FAILING = answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
GUARDED: dict[str, Any] = {"sticky": KEYED, "guarded": True}


async def ask(client: Wire, *customers: bytes) -> None:
    for customer in customers:
        await client.send(get(fields=[b"x-customer: " + customer] if customer else []))
        await client.answer()


def hashes(*customers: bytes) -> list[int]:
    return [hash_of(customer, SALT) for customer in customers]


def take(harness: Harness) -> list[Cell]:
    return harness.plane.take().cells
