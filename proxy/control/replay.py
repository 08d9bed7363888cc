"""The journal through today's code: each decision must come out again, bit for bit (law 12).

Rule: a decision is taken only from what it holds itself. Verdicts, the loop's move, the transition and the
split it leads to are computed again and compared; who said so and when is given. What came from outside
(a start, a split, another file) has nothing to compute, but it has its place in the chain, and each
decision has to begin where the one before it on its route ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from proxy.control.chain import GENESIS, hash_of
from proxy.control.change import split_after
from proxy.control.store import Store
from proxy.control.views import Decision
from proxy.rollout.inputs import read
from proxy.rollout.judgement import judge, move_of
from proxy.rollout.machine import WHOLE, Event, NotAllowedError, RolloutState, action_of, advance, stage

LOOP = "loop"
PAGE = 500  # decisions read at a time


class Difference(msgspec.Struct):
    """`journal` is what was decided, `today` what this code decides."""

    id: int
    route: str
    action: str
    what: str
    journal: Any
    today: Any

    def __str__(self) -> str:
        where = f"decision {self.id} ({self.route}, {self.action}): {self.what}"
        return f"{where}: the journal says {self.journal!r}, and it is {self.today!r}"


class Report(msgspec.Struct):
    """`given`: decisions that came from outside, which cannot be computed."""

    decisions: int = 0
    replayed: int = 0
    given: int = 0
    differences: list[Difference] = msgspec.field(default_factory=list)

    def __str__(self) -> str:
        ended = "no difference" if not self.differences else f"{len(self.differences)} differences"
        return f"{self.decisions} decisions, {self.replayed} replayed, {self.given} given: {ended}"


def journal(store: Store) -> Iterator[Decision]:
    """All of it, in order."""
    after = 0
    while page := store.decisions(None, after, PAGE):
        yield from page
        after = page[-1].id


def replayed(decisions: Iterable[Decision]) -> Report:
    report, previous_hash = Report(), GENESIS
    ends: dict[str, dict[str, Any]] = {}
    for decision in decisions:
        report.decisions += 1
        found = compared(decision, chain_of(decision, previous_hash))
        if decision.from_ or decision.route in ends:
            found += compared(
                decision, {"from": (filled(decision.from_), filled(ends.get(decision.route, {})))}
            )
        previous_hash, ends[decision.route] = decision.hash, decision.to
        if "sight" in decision.evidence:
            report.replayed += 1
            found += compared(decision, again(decision))
        else:
            report.given += 1
        report.differences += found
    return report


Pairs = dict[str, tuple[Any, Any]]  # what → (as the journal has it, as it should be)


def compared(decision: Decision, pairs: Pairs) -> list[Difference]:
    return [
        Difference(decision.id, decision.route, decision.action, what, said, now)
        for what, (said, now) in pairs.items()
        if said != now
    ]


def chain_of(decision: Decision, previous_hash: str) -> Pairs:
    return {
        "previous_hash": (decision.previous_hash, previous_hash),
        "hash": (decision.hash, hash_of(decision)),
    }


def again(decision: Decision) -> Pairs:
    """What this code makes of the decision's own inputs."""
    evidence = decision.evidence
    try:
        sight, event, home = read(evidence["sight"]), Event(evidence["event"]), evidence["home"]
        after = advance(sight.state, event, decision.at, decision.reason)
    except (msgspec.ValidationError, ValueError, KeyError, TypeError, NotAllowedError) as error:
        return {"inputs": ("", f"not to be used: {error}")}
    state, begin, verdicts = sight.state, decision.from_, judge(sight)
    out: Pairs = {
        "state": (
            [begin.get("phase"), begin.get("step"), begin.get("attempt")],
            [str(state.phase), state.step, state.attempt],
        ),
        "verdicts": (evidence["verdicts"], [as_json(v) for v in verdicts]),
        "action": (decision.action, action_of(event, state, after)),
        "to": (decision.to, standing_after(begin, home, state, after)),
    }
    if decision.actor == LOOP:
        move = move_of(sight, verdicts, decision.at)
        out["event"] = (str(event), str(move.event))
        out["reason"] = (decision.reason, move.reason)
    return out


def as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def standing_after(
    begin: dict[str, Any], home: dict[str, int], before: RolloutState, after: RolloutState
) -> dict[str, Any]:
    """Where the route stands, from where it stood."""
    split, version = begin.get("split", {}), begin.get("ledger_version", 0)
    weights = split_after(home, before, after)
    if weights is not None:
        wanted = shares(weights)
        moved = stage(after) is not None or held(wanted) != held(split)
        split, version = (wanted, version + 1) if moved else (split, version)
    return {
        "split": split,
        "ledger_version": version,
        "phase": str(after.phase),
        "step": after.step,
        "weight": split.get(after.challenger, 0.0),
        "attempt": after.attempt,
    }


def filled(standing: dict[str, Any]) -> dict[str, Any]:
    """Without the names that hold nothing: a backend that leaves the file takes its name along."""
    return standing | {"split": held(standing["split"])} if "split" in standing else standing


def shares(weights: dict[str, int]) -> dict[str, float]:
    return {name: weight / WHOLE for name, weight in weights.items()}


def held(split: dict[str, float]) -> dict[str, float]:
    return {name: share for name, share in split.items() if share}
