"""Replay: the journal's decisions are computed again by the code of this version and compared (law 12).

Rule: a decision is computed from its own record only: the verdicts, the loop's move, the transition and the split. The actor and the
time are taken as given. A decision from outside (a start, a split, another file) has no inputs to compute from; checked are its
place in the hash chain, and that each decision begins where the one before it on its route ended.
Words and whole numbers are compared bit for bit; other numbers to nine digits, as C libraries round logarithms differently.
A record of an earlier format than RULES was decided by other rules, so only its place in the chain and its beginning are checked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from math import isclose
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.control.chain import Anchor, Row, has_own_hash, hash_of, is_hash_of_text, parsed
from crossfade.control.change import LOOP, split_after
from crossfade.control.migrations import FORMAT, OLDEST, current_record
from crossfade.control.pruning import is_apart
from crossfade.control.recovery import RESTORE
from crossfade.control.store import Store
from crossfade.control.views import Decision
from crossfade.rollout.evaluation import EvaluationInput, choose_move, evaluate
from crossfade.rollout.machine import (
    Event,
    NotAllowedError,
    RolloutState,
    action_of,
    active_step,
    advance,
)
from crossfade.scale import WHOLE

RULES = 6  # the format since which verdicts are made by the present rules
_DIGITS = 1e-9
_START = Anchor()
PAGE = 500  # records read at a time
UNUSABLE = (msgspec.ValidationError, ValueError, KeyError, TypeError, AttributeError, NotAllowedError)


class Difference(msgspec.Struct):
    """`journal`: what was decided; `today`: what this version decides."""

    id: int
    route: str
    action: str
    what: str
    journal: Any
    today: Any

    def __str__(self) -> str:
        where = f"decision {self.id} ({self.route}, {self.action}): {self.what}"
        return f"{where}: the journal says {self.journal!r}, this version says {self.today!r}"


class Report(msgspec.Struct):
    """`given`: decisions from outside, which cannot be computed. `earlier`: of all, those of earlier formats.

    `pruned`: the decision up to which older ones were deleted; 0 if none were.
    """

    decisions: int = 0
    replayed: int = 0
    given: int = 0
    differences: list[Difference] = msgspec.field(default_factory=list)
    earlier: int = 0
    pruned: int = 0

    def __str__(self) -> str:
        ended = "no difference" if not self.differences else f"{len(self.differences)} differences"
        earlier = f" ({self.earlier} of an earlier format)" if self.earlier else ""
        pruned = f", those up to {self.pruned} were pruned" if self.pruned else ""
        return f"{self.decisions} decisions{earlier}{pruned}, {self.replayed} replayed, {self.given} given: {ended}"


def pages(store: Store) -> Iterator[list[Row]]:
    """All records, in order."""
    after = 0
    while page := store.rows(after, PAGE):
        yield page
        after = page[-1].id


def journal(store: Store) -> Iterator[Row]:
    for page in pages(store):
        yield from page


def replayed(rows: Iterable[Row], anchor: Anchor = _START) -> Report:
    """`anchor`: up to where the journal was pruned. What is left from before has no place in the chain any more."""
    return joined(map(examined, rows), anchor)


class _Record(msgspec.Struct):
    """What a replay reads of a decision. The parts of the evidence are decoded one by one, each as its own type."""

    id: int
    at: float
    route: str
    action: str
    actor: str
    from_: dict[str, Any] = msgspec.field(name="from")
    to: dict[str, Any]
    reason: str
    evidence: dict[str, msgspec.Raw]
    previous_hash: str
    hash: str
    format: int = OLDEST
    served: float = 0.0


_READ = msgspec.json.Decoder(_Record)
_INPUTS = msgspec.json.Decoder(EvaluationInput)


def _decoded(row: Row) -> _Record:
    """In the current format. Raises one of UNUSABLE."""
    found = _READ.decode(row.text)
    if found.format == FORMAT:
        return found
    record = current_record(msgspec.json.decode(row.text))
    decision = msgspec.convert(record, Decision)
    evidence = {name: msgspec.Raw(msgspec.json.encode(part)) for name, part in decision.evidence.items()}
    return replace(found, evidence=evidence, served=decision.served)


class Examined(NamedTuple):
    """What a record alone says, whatever was decided before it."""

    id: int
    decision: _Record | None  # without its evidence; None if the record cannot be read
    computed: bool
    given: bool
    differences: list[Difference]


def examined(row: Row) -> Examined:
    try:
        decision = _decoded(row)
    except UNUSABLE as error:
        unusable = Difference(row.id, "", "", "record", row.text, f"not usable: {error}")
        return Examined(row.id, None, False, False, [unusable])
    given = "given" not in decision.evidence
    computed = not given and decision.format >= RULES
    pairs = _record_pairs(row, decision)
    if computed:
        pairs |= _computed_pairs(decision)
    return Examined(row.id, replace(decision, evidence={}), computed, given, _differences(decision, pairs))


def joined(examinations: Iterable[Examined], anchor: Anchor = _START) -> Report:
    """Of all records in order: adds what each of them must have from the one before it."""
    report, previous_hash, ends = Report(pruned=anchor.id), anchor.hash, _Ends({}, {}, set(), anchor.id > 0)
    for id_, decision, computed, given, differences in examinations:
        report.decisions += 1
        report.replayed += computed
        report.given += given
        if decision is not None:
            report.earlier += decision.format < FORMAT
            if id_ > anchor.id:
                pairs: _Pairs = {"previous_hash": (decision.previous_hash, previous_hash)}
                report.differences += _differences(decision, pairs | ends.pairs(decision))
                ends.move(decision)
                previous_hash = decision.hash
        report.differences += differences
    return report


def _differences(decision: _Record, pairs: _Pairs) -> list[Difference]:
    return [
        Difference(decision.id, decision.route, decision.action, what, said, now)
        for what, (said, now) in pairs.items()
        if not _agree(said, now)
    ]


def _agree(said: Any, now: Any) -> bool:
    if said == now:
        return True
    if isinstance(said, float) and isinstance(now, float):
        return isclose(said, now, rel_tol=_DIGITS, abs_tol=_DIGITS)
    if isinstance(said, dict) and isinstance(now, dict):
        return said.keys() == now.keys() and all(_agree(value, now[key]) for key, value in said.items())
    if isinstance(said, (list, tuple)) and isinstance(now, (list, tuple)):
        return len(said) == len(now) and all(map(_agree, said, now))
    return False


_Pairs = dict[str, tuple[Any, Any]]  # what → (in the journal, computed)
_Part = dict[str, Any]


class _Ends(NamedTuple):
    """Where the decisions so far have left each route, and each challenger's rollout on it.

    `restored`: the routes that the latest decisions have restored, where those are the last so far.
    """

    routes: dict[str, _Part]
    rollouts: dict[tuple[str, str], _Part]
    restored: set[str]
    pruned: bool  # then the first decision of each route and rollout may begin anywhere

    def pairs(self, decision: _Record) -> _Pairs:
        """Each decision begins where the one before it ended: the split by route, the phase by rollout.

        The journal before one that restores was lost. Some say nothing of the route (`is_apart`).
        """
        if is_apart(decision.to):
            return {}
        begin = decision.from_
        key = decision.route, begin.get("challenger", decision.to.get("challenger", ""))
        said = _part(begin, _OF_ROUTE), _part(begin, _OF_ROLLOUT)
        unknown = said if self.pruned else ({}, {})
        was = self.routes.get(decision.route, unknown[0]), self.rollouts.get(key, unknown[1])
        return {"from": (said, was)} if said != was and decision.action != RESTORE else {}

    def move(self, decision: _Record) -> None:
        end, route = decision.to, decision.route
        if is_apart(end):
            return
        self.routes[route] = _part(end, _OF_ROUTE)
        if not end or self._is_first_restored(decision):
            self._forget_rollouts(route)
        if "challenger" in end:
            self.rollouts[route, end["challenger"]] = _part(end, _OF_ROLLOUT)
        else:
            self.rollouts.pop((route, decision.from_.get("challenger", "")), None)

    def _is_first_restored(self, decision: _Record) -> bool:
        """Of the route. A route is restored by a decision for each of its rollouts; it has no other ones."""
        if decision.action != RESTORE:
            self.restored.clear()
            return False
        is_first = decision.route not in self.restored
        self.restored.add(decision.route)
        return is_first

    def _forget_rollouts(self, route: str) -> None:
        for key in [key for key in self.rollouts if key[0] == route]:
            del self.rollouts[key]


_OF_ROUTE, _OF_ROLLOUT = ("split", "ledger_version"), ("phase", "step", "attempt")


def _part(standing: _Part, keys: Iterable[str]) -> _Part:
    """Without backends of weight 0: one that leaves the file takes its name along."""
    return {
        key: _with_weight(standing[key]) if key == "split" else standing[key]
        for key in keys
        if key in standing
    }


def _record_pairs(row: Row, found: _Record) -> _Pairs:
    pairs: _Pairs = {"id": (row.id, found.id)}
    if not is_hash_of_text(found.hash, row.text):
        record = parsed(row) or {}
        pairs["hash"] = ("", "") if has_own_hash(record) else (found.hash, hash_of(record))
    return pairs


def _computed_pairs(decision: _Record) -> _Pairs:
    """What this version makes of the decision's own inputs."""
    evidence = decision.evidence
    try:
        given = _INPUTS.decode(evidence["given"])
        event, home, said = (msgspec.json.decode(evidence[name]) for name in ("event", "home", "verdicts"))
        event = Event(event)
        after = advance(given.state, event, decision.served, decision.reason)
    except UNUSABLE as error:
        return {"inputs": ("", f"not usable: {error}")}
    state, begin, verdicts = given.state, decision.from_, evaluate(given)
    out: _Pairs = {
        "state": (
            [begin.get("phase"), begin.get("step"), begin.get("attempt")],
            [str(state.phase), state.step, state.attempt],
        ),
        "verdicts": (said, _as_json(verdicts)),
        "action": (decision.action, action_of(event, state, after)),
        "to": (decision.to, _position_after(begin, home, (state, after), given.other_phases)),
    }
    if decision.actor == LOOP:
        move = choose_move(given, verdicts, decision.served)
        out["event"] = (str(event), str(move.event))
        out["reason"] = (decision.reason, move.reason)
    return out


def _as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _position_after(
    begin: dict[str, Any],
    home: dict[str, int],
    states: tuple[RolloutState, RolloutState],
    others: Collection[str],
) -> dict[str, Any]:
    """Where route and rollout stand after the transition between these states."""
    split, version = begin.get("split", {}), begin.get("ledger_version", 0)
    weights = split_after({name: round(share * WHOLE) for name, share in split.items()}, home, states, others)
    _, after = states
    if weights is not None:
        wanted = _shares(weights)
        moved = active_step(after) is not None or _with_weight(wanted) != _with_weight(split)
        split, version = (wanted, version + 1) if moved else (split, version)
    return {
        "split": split,
        "ledger_version": version,
        "challenger": after.challenger,
        "phase": str(after.phase),
        "step": after.step,
        "weight": split.get(after.challenger, 0.0),
        "attempt": after.attempt,
    }


def _shares(weights: dict[str, int]) -> dict[str, float]:
    return {name: weight / WHOLE for name, weight in weights.items()}


def _with_weight(split: dict[str, float]) -> dict[str, float]:
    return {name: share for name, share in split.items() if share}
