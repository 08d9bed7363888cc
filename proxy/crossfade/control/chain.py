"""The journal's hash chain: each record holds the hash of the record before it.

Rule: `hash` is SHA-256 over the canonical JSON of the record without `hash`, with `previous_hash`. A record that is changed,
removed or inserted breaks the chain from there on. Canonical JSON: keys sorted, no spaces, ASCII, floats in their shortest
form, no NaN or infinity. Hashes are checked over the record's own text, so that they hold whatever fields the code knows today.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.control.migrations import FORMAT
from crossfade.control.views import Decision

GENESIS = "0" * 64  # the previous hash of the first decision


def canonical(record: Any) -> str:
    """Raises ValueError for values that JSON cannot hold."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def hash_of(record: Mapping[str, Any]) -> str:
    """`record` as JSON has it; its own `hash` is left out."""
    hashed = {key: value for key, value in record.items() if key != "hash"}
    return sha256(canonical(hashed).encode()).hexdigest()


def seal(draft: Decision, number: int, previous_hash: str) -> Decision:
    """The draft as record `number` of the chain, in the current format."""
    at, served = float(draft.at), float(draft.served)
    linked = replace(draft, id=number, at=at, served=served, previous_hash=previous_hash, format=FORMAT)
    return replace(linked, hash=hash_of(msgspec.to_builtins(linked)))


class Row(NamedTuple):
    """One record as it is stored; its hash is of this text's values."""

    id: int
    text: str


def first_broken(rows: Iterable[Row], previous_hash: str | None = GENESIS) -> int | None:
    """The id of the first record that does not continue the chain; None when all do.

    `rows` in order. With None for `previous_hash`, the previous hash in the first record is taken as given.
    """
    for row in rows:
        record = parsed(row)
        if record is None or record.get("id") != row.id:
            return row.id
        expected = record.get("previous_hash") if previous_hash is None else previous_hash
        if record.get("previous_hash") != expected or record.get("hash") != hash_of(record):
            return row.id
        previous_hash = record["hash"]
    return None


def parsed(row: Row) -> dict[str, Any] | None:
    """None when the text is no JSON object."""
    try:
        record = json.loads(row.text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
