"""A route in the state: its record and evidence, and the row that holds them.

Rule: a row that cannot be a route's raises ValueError or msgspec's DecodeError; `store` says which file it is of.
"""

from __future__ import annotations

import msgspec

from crossfade.control.applied import Applied
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.machine import Phase, RolloutState
from crossfade.routing.ledger import BUCKETS, Ledger, salt_of

EvidenceBy = dict[str, Evidence]  # by challenger


class RouteRecord(msgspec.Struct, frozen=True):
    """The durable state of a route. `home`: the map without challengers, which abort and rollback restore.

    `rollouts` by challenger, in the order of the file. `latched`: content ids of aborted challengers, with the
    reason; they stay until `retry`. `left_at`: when the route left the file.
    """

    name: str
    ledger: Ledger
    applied: Applied
    home: Ledger | None = None
    rollouts: dict[str, RolloutState] = {}
    latched: dict[str, str] = {}
    left_at: float | None = None

    @property
    def salt(self) -> bytes:
        """Of the hash of sticky keys. A route that was renamed keeps it, so that customers keep their backends."""
        return salt_of(self.applied.hashed_as or self.name)

    def other_phases(self, challenger: str) -> dict[str, Phase]:
        """By challenger."""
        return {name: state.phase for name, state in self.rollouts.items() if name != challenger}


class HomeNames(msgspec.Struct):
    """A home ledger without its slots."""

    backends: tuple[str, ...]
    version: int


def row_of(record: RouteRecord, evidence: EvidenceBy) -> tuple[object, ...]:
    home = record.home
    return (
        record.name,
        record.ledger.version,
        text(record.ledger.backends),
        record.ledger.slots,
        text(HomeNames(home.backends, home.version)) if home else None,
        home.slots if home else None,
        text(record.applied),
        text(record.rollouts),
        text(record.latched),
        record.left_at,
        msgspec.msgpack.encode(evidence),
    )


def record_of(row: tuple[object, ...]) -> RouteRecord:
    name, version, backends, slots, home, home_slots, applied, rollouts, latched, left_at, _ = row
    names = msgspec.json.decode(home, type=HomeNames) if isinstance(home, str) else None
    return RouteRecord(
        name=str(name),
        ledger=ledger_of(msgspec.json.decode(str(backends), type=tuple[str, ...]), slots, version),
        applied=msgspec.json.decode(str(applied), type=Applied),
        home=ledger_of(names.backends, home_slots, names.version) if names else None,
        rollouts=msgspec.json.decode(str(rollouts), type=dict[str, RolloutState]),
        latched=msgspec.json.decode(str(latched), type=dict[str, str]),
        left_at=left_at if isinstance(left_at, float) else None,
    )


def ledger_of(backends: tuple[str, ...], slots: object, version: object) -> Ledger:
    if not isinstance(slots, bytes) or not isinstance(version, int) or len(slots) != BUCKETS:
        raise ValueError("a ledger is damaged")
    if max(slots) >= len(backends):
        raise ValueError("a ledger names a backend that it does not list")
    return Ledger(backends, slots, version)


def evidence_of(row: tuple[object, ...]) -> EvidenceBy:
    held = row[-1]
    return msgspec.msgpack.decode(held, type=EvidenceBy) if isinstance(held, bytes) else {}


def text(value: object) -> str:
    return msgspec.json.encode(value).decode()
