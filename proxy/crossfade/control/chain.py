"""The journal's hash chain: each record holds the hash of the record before it.

Rule: `hash` is SHA-256 over the canonical JSON of the record without `hash`, with `previous_hash`. A record that is changed,
removed or inserted breaks the chain from there on. Canonical JSON: keys sorted, no spaces, UTF-8, floats in their shortest
form. Hashes are checked over the record's own text, so that they hold whatever fields the code knows today.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.control.migrations import FORMAT, record_format
from crossfade.control.views import Decision

GENESIS = "0" * 64  # the previous hash of the first decision


def hash_of(record: Mapping[str, Any]) -> str:
    """`record` as JSON has it; its own `hash` is left out."""
    return sha256(msgspec.json.encode(_hashed(record), order="sorted")).hexdigest()


def has_own_hash(record: Mapping[str, Any]) -> bool:
    """Whether `hash` is the hash of the rest: in the form of this format, or in that of formats up to 4."""
    return record.get("hash") in (hash_of(record), *_hashes_before_5(record))


def text_of(decision: Decision) -> str:
    """The decision as it is stored: in the form that is hashed, with its hash."""
    return msgspec.json.encode(decision, order="sorted").decode()


def is_hash_of_text(said: str, text: str) -> bool:
    """Whether this is the hash of a stored text. False also where the text is not in the form that is hashed."""
    member = f'"hash":"{said}",'
    return text.count(member) == 1 and sha256(text.replace(member, "").encode()).hexdigest() == said


def _hashes_before_5(record: Mapping[str, Any]) -> Iterator[str]:
    """Python's JSON, in ASCII; it takes several times as long."""
    if record_format(record) < 5:
        text = json.dumps(_hashed(record), sort_keys=True, separators=(",", ":"), allow_nan=False)
        yield sha256(text.encode()).hexdigest()


def _hashed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "hash"}


def seal(draft: Decision, number: int, previous_hash: str) -> Decision:
    """The draft as record `number` of the chain, in the current format."""
    at, served = float(draft.at), float(draft.served)
    linked = replace(draft, id=number, at=at, served=served, previous_hash=previous_hash, format=FORMAT)
    return replace(linked, hash=hash_of(msgspec.to_builtins(linked)))


class Anchor(NamedTuple):
    """Id and hash of the decision up to which the journal was pruned; the chain is proven from there."""

    id: int = 0
    hash: str = GENESIS


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
        if record.get("previous_hash") != expected or not has_own_hash(record):
            return row.id
        previous_hash = record["hash"]
    return None


def parsed(row: Row) -> dict[str, Any] | None:
    """None when the text is no JSON object."""
    try:
        record = msgspec.json.decode(row.text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
