"""A change: the next state of one route, and the decision that records it. Nothing here is applied.

Rule: `rises` says whether a challenger gets more traffic than before. Such a change is on disk before it is
applied (law 3).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.config.model import BackendConfig
from crossfade.control.journal_entry import Entry
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.route_record import EvidenceBy, RouteRecord
from crossfade.control.route_runtime import RouteRuntime
from crossfade.control.views import Decision, Model
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
from crossfade.rollout.strategy import split_for_step, state_with_split
from crossfade.routing.ledger import Ledger, moved, restore, reweigh
from crossfade.scale import WHOLE
from crossfade.stats.counts import Cell

LISTED = 16  # endpoints of a backend that a decision names
LOOP = "loop"  # the actor of the health loop's decisions


class Cause(NamedTuple):
    """Actor, reason, times and configuration of a decision. `now`: served time; `at`: wall time, only written down."""

    actor: str
    reason: str
    now: float
    config_hash: str
    at: float
    backends: Mapping[str, BackendConfig] = {}


class Change(NamedTuple):
    """`challenger`: of the rollout that changes; "" if only the route does."""

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
    route: RouteRuntime, challenger: str, event: Event, cause: Cause, so_far: Cell
) -> Change | None:
    """None when the event changes nothing. Raises NotAllowedError when it is not allowed in this phase.

    `so_far`: of the champion; the thresholds of a new attempt begin with its durations.
    """
    old, evidence = route.record, route.evidence
    before, home = old.rollouts[challenger], old.home
    assert home is not None
    after = advance(before, event, cause.now, cause.reason)
    if after is before and not old.ledger.weights.get(challenger):
        return None  # a second abort; one that finds traffic, as a split gave it some since, takes it away
    if after.since != before.since:
        after = replace(after, since_at=cause.at)
    others = old.other_phases(challenger)
    if held := held_by(before, after, others):
        raise NotAllowedError(f"{event} has to wait for {held}")
    if event in (Event.RETRY, Event.RESTART):
        if _has_no_others(old.ledger.weights, others):
            home = home_of(old.ledger, after.champion, [challenger], route.record.salt)
        evidence = evidence | {challenger: Evidence.begin(after.champion, challenger, so_far)}
    ledger = ledger_after(old.ledger, home, (before, after), others, route.record.salt)
    record = replace(
        old,
        ledger=ledger,
        home=home,
        rollouts=old.rollouts | {challenger: after},
        latched=_latched_after(old.latched, after),
    )
    evidence = opened(evidence, old, record)
    seen = _inputs_of(route.rollouts[challenger], event, home)
    draft = draft_of(record.name, action_of(event, before, after), cause, (old, record), seen, challenger)
    rises = ledger.weights.get(challenger, 0) > old.ledger.weights.get(challenger, 0)
    rises = rises or mirrored(after) > mirrored(before)
    return Change(route, challenger, record, evidence, draft, rises)


def _latched_after(latched: dict[str, str], after: RolloutState) -> dict[str, str]:
    """An aborted challenger is latched until another attempt begins."""
    others = {content: why for content, why in latched.items() if content != after.content}
    return others | {after.content: after.reason} if after.has_failed else others


def change_of_split(route: RouteRuntime, weights: dict[str, int], cause: Cause) -> Change:
    """An operator's split; it stays until the file's own split changes."""
    old = route.record
    states = {name: state_with_split(state, weights) for name, state in old.rollouts.items()}
    record = replace(old, ledger=reweigh(old.ledger, weights, old.salt), rollouts=states)
    draft = draft_of(record.name, "split", cause, (route.record, record), {})
    return Change(route, "", record, opened(route.evidence, route.record, record), draft, True)


def home_of(ledger: Ledger, champion: str, challengers: Iterable[str], salt: bytes) -> Ledger:
    """The map that abort and rollback restore: this one, with the challengers' buckets at the champion."""
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
    """Each step that is entered gets a new version, also if no bucket moves: strata are told apart by version.

    `states`: before and after; `others`: the challengers of the route's other rollouts.
    """
    before, after = states
    weights = split_after(ledger.weights, home.weights, states, others)
    if weights is None:
        return ledger
    if active_step(after) is None and _has_no_others(ledger.weights, others):
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
    """The weights after a transition; None where the split stays as it is.

    When a challenger ends, the champion gets its buckets back; other challengers keep theirs. If there is no
    other challenger, the map of before is restored.
    """
    before, after = states
    entered = active_step(after)
    if entered is None and after.is_running and active_step(before) is None:
        return None
    if entered is None and _has_no_others(split, others):
        return home
    if entered is not None and entered == active_step(before) and exposure(after) == exposure(before):
        return None
    return split_for_step(split, after.champion, after.challenger, exposure(after), after.held_back)


def _has_no_others(split: Mapping[str, int], others: Iterable[str]) -> bool:
    """Whether no other challenger has a bucket."""
    return not any(split.get(name) for name in others)


def opened(evidence: EvidenceBy, before: RouteRecord | None, record: RouteRecord) -> EvidenceBy:
    """With a new stratum in each rollout that has traffic, if the ledger is another than before. Older strata are shared, not copied.

    What a rise adds to a challenger's traffic is cold, so its warm-up begins again.
    """
    if before is not None and before.ledger.version == record.ledger.version:
        return evidence
    out = dict(evidence)
    for name, state in record.rollouts.items():
        step = active_step(state)
        if step is not None and state.is_guarded:
            weights = record.ledger.weights
            ours, theirs = weights.get(name, 0), weights.get(state.champion, 0)
            out[name] = replace(evidence[name], strata=list(evidence[name].strata))
            out[name].open(record.name, record.ledger.version, step, ours / (ours + theirs) if ours else 0.0)
            if before is None or _load(record, name) > _load(before, name):
                out[name].warm_until = None
    return out


def _load(record: RouteRecord, challenger: str) -> int:
    """The part of the route's requests that the challenger gets, out of 10 000. Copies warm it as live requests do."""
    state = record.rollouts.get(challenger)
    return max(record.ledger.weights.get(challenger, 0), mirrored(state) if state else 0)


def draft_of(
    route: str,
    action: str,
    cause: Cause,
    records: tuple[RouteRecord | None, RouteRecord | None],
    evidence: dict[str, Any],
    challenger: str = "",
) -> Decision:
    """A decision without number and hash; `records`: before and after."""
    before, after = records
    return Decision(
        id=0,
        at=cause.at,
        route=route,
        action=action,
        actor=cause.actor,
        from_=_position(before, challenger),
        to=_position(after, challenger),
        reason=cause.reason,
        evidence=evidence,
        ledger_version=after.ledger.version if after else 0,
        config_hash=cause.config_hash,
        previous_hash="",
        hash="",
        served=cause.now,
        backends=_models(cause.backends, records, challenger),
    )


def _models(
    backends: Mapping[str, BackendConfig],
    records: tuple[RouteRecord | None, RouteRecord | None],
    challenger: str,
) -> dict[str, Model]:
    """Of the backends on trial or with traffic, before or after."""
    names = set[str]()
    for record in filter(None, records):
        names.update(name for name, weight in record.ledger.weights.items() if weight)
        if challenger in record.rollouts:
            names |= {challenger, record.rollouts[challenger].champion}
    out = {}
    for name in sorted(names & backends.keys()):
        endpoints = [endpoint.name for endpoint in backends[name].endpoints]
        more = max(len(endpoints) - LISTED, 0)
        out[name] = Model(endpoints[:LISTED], backends[name].version, more)
    return out


def _position(record: RouteRecord | None, challenger: str) -> dict[str, Any]:
    """The `from` or `to` of a decision: of the route, and of this challenger's rollout."""
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


def _inputs_of(rollout: RolloutRuntime, event: Event, home: Ledger) -> dict[str, Any]:
    """The inputs of the decision and the verdicts, as JSON values."""
    inputs = {
        "event": event,
        "home": home.weights,
        "verdicts": rollout.verdicts,
        "given": encode_inputs(rollout.evaluation_input),
    }
    # Converted at once: a decision that is not on disk yet must equal the one that is read back.
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(inputs))
    return found
