"""A change: what one route will be, and the decision that says so. Nothing here acts.

Rule: `rises` says whether a backend on trial gets more traffic than before, so that whoever enacts
the change knows what has to be on disk first (law 3).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.control.journal import Entry
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.route_runtime import RouteRuntime
from crossfade.control.store import EvidenceBy, RouteRecord
from crossfade.control.views import Decision
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.inputs import encode_inputs
from crossfade.rollout.machine import (
    Event,
    NotAllowedError,
    RolloutState,
    action_of,
    active_step,
    advance,
    exposure,
    mirrored,
)
from crossfade.rollout.other_rollouts import held_by
from crossfade.rollout.strategy import split_for_step
from crossfade.routing.ledger import Ledger, moved, restore, reweigh
from crossfade.scale import WHOLE
from crossfade.stats.histogram import Histogram

LOOP = "loop"  # the actor of the health loop's decisions


class Cause(NamedTuple):
    """Who wants it, why, when (wall time), and under which configuration."""

    actor: str
    reason: str
    now: float
    config_hash: str


class Change(NamedTuple):
    """`challenger`: whose rollout it is of; "" if it is of the route."""

    route: RouteRuntime
    challenger: str
    record: RouteRecord
    evidence: EvidenceBy
    draft: Decision
    rises: bool

    @property
    def entry(self) -> Entry:
        return Entry(self.draft, self.record, self.evidence)


def change_by_event(
    route: RouteRuntime, challenger: str, event: Event, cause: Cause, durations: Histogram
) -> Change | None:
    """None when the event changes nothing; raises NotAllowedError when it means nothing now.

    `durations`: of the champion so far, from which thresholds are taken when an attempt begins.
    """
    old, evidence = route.record, route.evidence
    before, home = old.rollouts[challenger], old.home
    assert home is not None
    after = advance(before, event, cause.now, cause.reason)
    if after is before:
        return None
    others = old.other_phases(challenger)
    if held := held_by(before, after, others):
        raise NotAllowedError(f"{event} has to wait for {held}")
    if event is Event.RETRY:
        if is_alone(old.ledger.weights, others):
            home = home_of(old.ledger, after.champion, [challenger], route.salt)
        evidence = evidence | {challenger: Evidence(after.champion, challenger, baseline=durations)}
    ledger = ledger_after(old.ledger, home, (before, after), others, route.salt)
    record = replace(
        old,
        ledger=ledger,
        home=home,
        rollouts=old.rollouts | {challenger: after},
        latched=latched_after(old.latched, after),
    )
    if ledger.version != old.ledger.version:
        evidence = opened(evidence, record)
    seen = inputs_of(route.rollouts[challenger], event, home)
    draft = draft_of(record.name, action_of(event, before, after), cause, (old, record), seen, challenger)
    rises = ledger.weights.get(challenger, 0) > old.ledger.weights.get(challenger, 0)
    rises = rises or mirrored(after) > mirrored(before)
    return Change(route, challenger, record, evidence, draft, rises)


def latched_after(latched: dict[str, str], after: RolloutState) -> dict[str, str]:
    """An aborted challenger is latched; while it is on trial again, it is not."""
    others = {content: why for content, why in latched.items() if content != after.content}
    return others | {after.content: after.reason} if after.has_failed else others


def change_of_split(route: RouteRuntime, weights: dict[str, int], cause: Cause) -> Change:
    """An operator's split, kept until the file's own changes."""
    record = replace(route.record, ledger=reweigh(route.record.ledger, weights, route.salt))
    draft = draft_of(record.name, "split", cause, (route.record, record), {})
    return Change(route, "", record, opened(route.evidence, record), draft, True)


def home_of(ledger: Ledger, champion: str, challengers: Iterable[str], salt: bytes) -> Ledger:
    """The map that abort and rollback return to: this one, with the challengers' buckets at the champion's."""
    weights = ledger.weights
    held = sum(weights.pop(challenger, 0) for challenger in challengers)
    if not held:
        return ledger
    weights[champion] = weights.get(champion, 0) + held
    return reweigh(ledger, weights, salt)


def ledger_after(
    ledger: Ledger,
    home: Ledger,
    states: tuple[RolloutState, RolloutState],
    others: Collection[str],
    salt: bytes,
) -> Ledger:
    """A new version for each stage that is entered, moved or not, since versions tell the strata apart.

    `states`: before and after; `others`: the challengers of the route's other rollouts.
    """
    before, after = states
    weights = split_after(ledger.weights, home.weights, states, others)
    if weights is None:
        return ledger
    if active_step(after) is None and is_alone(ledger.weights, others):
        return restore(home, ledger) if moved(ledger, home) else ledger
    if active_step(after) is None and not ledger.weights.get(before.challenger):
        return ledger
    return reweigh(ledger, weights, salt)


def split_after(
    split: dict[str, int],
    home: dict[str, int],
    states: tuple[RolloutState, RolloutState],
    others: Collection[str],
) -> dict[str, int] | None:
    """The weights that a transition leads to; None where the split stays as it is.

    A challenger that is taken back leaves its buckets to the champion, who had them at home; the buckets of
    other challengers stay where they are. Alone, it leaves the map of before.
    """
    before, after = states
    entered = active_step(after)
    if entered is None and after.is_running:
        return None
    if entered is None and is_alone(split, others):
        return home
    if entered is not None and entered == active_step(before):
        return None
    return split_for_step(split, after.champion, after.challenger, exposure(after))


def is_alone(split: Mapping[str, int], others: Iterable[str]) -> bool:
    """Whether no other challenger has a bucket."""
    return not any(split.get(name) for name in others)


def opened(evidence: EvidenceBy, record: RouteRecord) -> EvidenceBy:
    """With a stratum for the ledger now in force in each rollout that has traffic; what was before is shared."""
    out = dict(evidence)
    for name, state in record.rollouts.items():
        step = active_step(state)
        if step is not None and state.is_guarded:
            weights = record.ledger.weights
            ours, theirs = weights.get(name, 0), weights.get(state.champion, 0)
            out[name] = replace(evidence[name], strata=list(evidence[name].strata))
            out[name].open(record.name, record.ledger.version, step, ours / (ours + theirs) if ours else 0.0)
    return out


def draft_of(
    route: str,
    action: str,
    cause: Cause,
    records: tuple[RouteRecord | None, RouteRecord | None],
    evidence: dict[str, Any],
    challenger: str = "",
) -> Decision:
    """A decision yet to be numbered and chained; `records` are those before and after."""
    before, after = records
    return Decision(
        id=0,
        at=cause.now,
        route=route,
        action=action,
        actor=cause.actor,
        from_=position_of(before, challenger),
        to=position_of(after, challenger),
        reason=cause.reason,
        evidence=evidence,
        ledger_version=after.ledger.version if after else 0,
        config_hash=cause.config_hash,
        previous_hash="",
        hash="",
    )


def position_of(record: RouteRecord | None, challenger: str) -> dict[str, Any]:
    """Where a route stands, and this challenger's rollout on it, as a decision says it."""
    if record is None:
        return {}
    split = {name: weight / WHOLE for name, weight in record.ledger.weights.items()}
    out: dict[str, Any] = {"split": split, "ledger_version": record.ledger.version}
    rollout = record.rollouts.get(challenger)
    if rollout is not None:
        weight = split.get(challenger, 0.0)
        out |= {
            "challenger": challenger,
            "phase": str(rollout.phase),
            "step": rollout.step,
            "weight": weight,
            "attempt": rollout.attempt,
        }
    return out


def inputs_of(live: RolloutRuntime, event: Event, home: Ledger) -> dict[str, Any]:
    """All that the decision was made on, as JSON has it, and the verdicts that came of it."""
    inputs = {
        "event": event,
        "home": home.weights,
        "verdicts": live.verdicts,
        "given": encode_inputs(live.given),
    }
    # As JSON has it at once: a decision that waits for the disk is not to differ from one read back.
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(inputs))
    return found
