"""The journal's chain: each decision carries the hash of the one before it.

Rule: `hash` is sha256 over the canonical JSON of the record without it, `previous_hash` included, so
a record that is changed, taken out or put in breaks the chain from there on. Canonical: keys
sorted, no spaces, ASCII, floats in their shortest form, no NaN or infinity.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec
from msgspec.structs import replace

from crossfade.control.views import Decision

GENESIS = "0" * 64  # stands before the first decision


def canonical(record: Any) -> str:
    """Raises ValueError for what JSON cannot hold."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def hash_of(decision: Decision) -> str:
    record = msgspec.to_builtins(decision)
    del record["hash"]
    return sha256(canonical(record).encode()).hexdigest()


def seal(draft: Decision, number: int, previous_hash: str) -> Decision:
    """The draft as link `number` of the chain."""
    linked = replace(draft, id=number, at=float(draft.at), previous_hash=previous_hash)
    return replace(linked, hash=hash_of(linked))


def first_broken(decisions: Iterable[Decision], previous_hash: str = GENESIS) -> int | None:
    """The id of the first decision that does not continue the chain; None when all do."""
    for decision in decisions:
        if decision.previous_hash != previous_hash or decision.hash != hash_of(decision):
            return decision.id
        previous_hash = decision.hash
    return None
