"""The journal through today's code: each decision must come out again, bit for bit (law 12).

Rule: a decision is taken only from what it holds itself. Verdicts, the loop's move, the transition and the
split it leads to are computed again and compared; who said so and when is given. What came from outside
(a start, a split, another file) has nothing to compute, but it has its place in the chain, and each
decision has to begin where the one before it on its route ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from crossfade.control.chain import GENESIS, hash_of
from crossfade.control.change import split_after
from crossfade.control.store import Store
from crossfade.control.views import Decision
from crossfade.rollout.evaluation import choose_move, evaluate
from crossfade.rollout.inputs import decode_inputs
from crossfade.rollout.machine import (
    WHOLE,
    Event,
    NotAllowedError,
    RolloutState,
    action_of,
    active_step,
    advance,
)

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
    report, previous_hash, ends = Report(), GENESIS, Ends({}, {})
    for decision in decisions:
        report.decisions += 1
        found = compared(decision, chain_of(decision, previous_hash))
        found += compared(decision, ends.pairs(decision))
        ends.move(decision)
        previous_hash = decision.hash
        if "given" in decision.evidence:
            report.replayed += 1
            found += compared(decision, again(decision))
        else:
            report.given += 1
        report.differences += found
    return report


Pairs = dict[str, tuple[Any, Any]]  # what → (as the journal has it, as it should be)
Part = dict[str, Any]


class Ends(NamedTuple):
    """Where the decisions so far have left each route, and each challenger's rollout on it."""

    routes: dict[str, Part]
    rollouts: dict[tuple[str, str], Part]

    def pairs(self, decision: Decision) -> Pairs:
        """Each decision begins where the one before it ended: the split by route, the phase by rollout."""
        begin = decision.from_
        place = decision.route, begin.get("challenger", decision.to.get("challenger", ""))
        said = part(begin, OF_ROUTE), part(begin, OF_ROLLOUT)
        was = self.routes.get(decision.route, {}), self.rollouts.get(place, {})
        return {"from": (said, was)} if said != was else {}

    def move(self, decision: Decision) -> None:
        end, route = decision.to, decision.route
        self.routes[route] = part(end, OF_ROUTE)
        if "challenger" in end:
            self.rollouts[route, end["challenger"]] = part(end, OF_ROLLOUT)
        elif not end:
            for place in [place for place in self.rollouts if place[0] == route]:
                del self.rollouts[place]
        else:
            self.rollouts.pop((route, decision.from_.get("challenger", "")), None)


OF_ROUTE, OF_ROLLOUT = ("split", "ledger_version"), ("phase", "step", "attempt")


def part(standing: Part, keys: Iterable[str]) -> Part:
    """Without the names that hold nothing: a backend that leaves the file takes its name along."""
    return {key: held(standing[key]) if key == "split" else standing[key] for key in keys if key in standing}


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
        given, event, home = decode_inputs(evidence["given"]), Event(evidence["event"]), evidence["home"]
        after = advance(given.state, event, decision.at, decision.reason)
    except (msgspec.ValidationError, ValueError, KeyError, TypeError, NotAllowedError) as error:
        return {"inputs": ("", f"not to be used: {error}")}
    state, begin, verdicts = given.state, decision.from_, evaluate(given)
    out: Pairs = {
        "state": (
            [begin.get("phase"), begin.get("step"), begin.get("attempt")],
            [str(state.phase), state.step, state.attempt],
        ),
        "verdicts": (evidence["verdicts"], [as_json(v) for v in verdicts]),
        "action": (decision.action, action_of(event, state, after)),
        "to": (decision.to, standing_after(begin, home, (state, after), given.other_phases)),
    }
    if decision.actor == LOOP:
        move = choose_move(given, verdicts, decision.at)
        out["event"] = (str(event), str(move.event))
        out["reason"] = (decision.reason, move.reason)
    return out


def as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def standing_after(
    begin: dict[str, Any],
    home: dict[str, int],
    states: tuple[RolloutState, RolloutState],
    others: Collection[str],
) -> dict[str, Any]:
    """Where route and rollout stand, from where they stood."""
    split, version = begin.get("split", {}), begin.get("ledger_version", 0)
    weights = split_after({name: round(share * WHOLE) for name, share in split.items()}, home, states, others)
    _, after = states
    if weights is not None:
        wanted = shares(weights)
        moved = active_step(after) is not None or held(wanted) != held(split)
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


def shares(weights: dict[str, int]) -> dict[str, float]:
    return {name: weight / WHOLE for name, weight in weights.items()}


def held(split: dict[str, float]) -> dict[str, float]:
    return {name: share for name, share in split.items() if share}
