"""The laws over a record and the journal: who may answer, stickiness, commands that were acknowledged, edits. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossfade.control.views import Decision
from tests.soak.record import FOR_EVER, Fault, Record, Request, Violation

LATE = 15.0  # seconds until each worker serves from a decision; orphans wait for the next control process
TICK = 0.5  # a decision bears the time at which the clock was last read
RELOADERS = frozenset({"file", "signal", "api:editor"})
CONTROL = frozenset(
    {"control killed", "control stopped", "takeover", "start fails", "few descriptors", "starved"}
)


@dataclass(frozen=True, slots=True)
class Split:
    """The split of a path from one decision to the next."""

    decision: int
    begun: float
    ended: float
    version: int
    weights: Mapping[str, float]

    @property
    def serving(self) -> frozenset[str]:
        return frozenset(name for name, share in self.weights.items() if share)


def splits_of(decisions: Sequence[Decision], routes: frozenset[str]) -> list[Split]:
    """Of a path, whatever its route is called. It has an empty split while no route of the file has it."""
    mine, owner = list[Decision](), ""
    for d in decisions:
        if d.route in routes and "split" in d.to:
            owner = d.route
            mine.append(d)
        elif d.route == owner and not d.to:
            mine.append(d)
    out = list[Split]()
    for number, d in enumerate(mine):
        ended = mine[number + 1].at if number + 1 < len(mine) else FOR_EVER
        out.append(Split(d.id, d.at, ended, d.ledger_version, d.to.get("split", {})))
    return out


def in_force_until(split: Split, faults: Sequence[Fault]) -> float:
    """When the last worker has surely left this split: a control process that dies may not have told them."""
    until = split.ended + LATE
    for fault in faults:
        if fault.kind in CONTROL and fault.begun <= until and fault.ended >= split.ended - TICK:
            until = max(until, fault.ended + LATE)
    return until


def backend_violations(
    requests: Sequence[Request], splits: Sequence[Split], faults: Sequence[Fault]
) -> Iterator[Violation]:
    """Laws 2 and 3: each answer is of a backend that a split of the journal has, in force during the request."""
    ends = [in_force_until(split, faults) for split in splits]
    begins = [split.begun for split in splits]
    for request in requests:
        if not request.assigned:
            continue
        known = bisect_right(begins, request.ended + TICK)
        near = [s for s, until in zip(splits[:known], ends[:known], strict=True) if until >= request.begun]
        if not any(request.assigned in split.serving for split in near):
            said = "; ".join(f"decision {s.decision}: {dict(s.weights)}" for s in near[-3:])
            yield Violation("3", request.ended, f"{request}: the journal has {said or 'no split'}")


def sticky_violations(
    requests: Sequence[Request], splits: Sequence[Split], faults: Sequence[Fault]
) -> Iterator[Violation]:
    """Law 2: while one map was surely in force everywhere, each key had one backend."""
    settled = _settled(splits, faults)
    begins = [begun for _, begun, _ in settled]
    backends = dict[tuple[int, str], str]()
    for request in requests:
        at = bisect_right(begins, request.begun) - 1
        if at < 0 or not request.assigned or request.ended > settled[at][2]:
            continue
        version = settled[at][0]
        first = backends.setdefault((version, request.key), request.assigned)
        if first != request.assigned:
            yield Violation("2", request.ended, f"{request}: under ledger {version} it had {first}")


def _settled(splits: Sequence[Split], faults: Sequence[Fault]) -> list[tuple[int, float, float]]:
    """(version, begin, end) of times in which each worker had the same map. Decisions that keep the map do not end them."""
    out = list[tuple[int, float, float]]()
    begun = 0.0
    for split, before in zip(splits, [None, *splits], strict=False):
        if before is None:
            begun = split.begun + LATE
        elif before.version != split.version or before.weights != split.weights:
            begun = max(split.begun, in_force_until(before, faults))
        if split.ended - TICK > begun:
            out.append((split.version, max(begun, split.begun), split.ended - TICK))
    return out


def acknowledged_violations(record: Record, path: str, splits: Sequence[Split]) -> Iterator[Violation]:
    """Law 3: from the answer to an abort or a split on, no request that begins goes elsewhere, until the next decision."""
    requests = sorted((r for r in record.requests.values() if r.path == path), key=lambda r: r.begun)
    begins = [request.begun for request in requests]
    for said in record.acknowledged:
        if said.path != path:
            continue
        before = [split for split in splits if split.begun <= said.at]
        own = before[-1] if before else None
        if own is None or not own.serving <= said.allowed:
            got = dict(own.weights) if own else "nothing"
            yield Violation("3", said.at, f"{said.what} was acknowledged, but the journal has {got}")
            continue
        until = own.ended - TICK
        for request in requests[bisect_right(begins, said.at) :]:
            if request.begun > until:
                break
            if request.ended < until and request.assigned and request.assigned not in said.allowed:
                yield Violation("3", request.ended, f"{request}: begun after {said.what} was acknowledged")


def edit_violations(record: Record, decisions: Sequence[Decision]) -> Iterator[Violation]:
    """Law 13: an edit that changes no split and no rollout's standing moves nobody."""
    by_reload = [d for d in decisions if d.actor in RELOADERS]
    for edit in record.edits:
        for d in by_reload if not edit.moves else ():
            if edit.begun <= d.at <= edit.ended and _moves(d):
                yield Violation(
                    "13", d.at, f"{edit.what}: decision {d.id} ({d.route}, {d.action}): {d.reason}"
                )


def _moves(d: Decision) -> bool:
    return bool(d.from_) and _standing(d.from_) != _standing(d.to)


def _standing(end: Mapping[str, Any]) -> tuple[object, ...]:
    split = {name: share for name, share in end.get("split", {}).items() if share}
    return split, end.get("phase"), end.get("weight")
