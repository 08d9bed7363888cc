"""A change: what one route will be, and the decision that says so. Nothing here acts.

Rule: `rises` says whether a backend on trial gets more traffic than before, so that whoever enacts
the change knows what has to be on disk first (law 3).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from proxy.control.journal import Entry
from proxy.control.live import LiveRoute
from proxy.control.store import RouteRecord
from proxy.control.views import Decision
from proxy.rollout.evidence import Evidence
from proxy.rollout.inputs import written
from proxy.rollout.machine import WHOLE, Event, RolloutState, action_of, advance, exposure, mirrored, stage
from proxy.rollout.strategy import split_for_step
from proxy.routing.ledger import Ledger, moved, restore, reweigh
from proxy.stats.histogram import Histogram


class Cause(NamedTuple):
    """Who wants it, why, when (wall time), and under which configuration."""

    actor: str
    reason: str
    now: float
    config_hash: str


class Change(NamedTuple):
    live: LiveRoute
    record: RouteRecord
    evidence: Evidence | None
    draft: Decision
    rises: bool

    @property
    def entry(self) -> Entry:
        return Entry(self.draft, self.record, self.evidence)


def change_by_event(live: LiveRoute, event: Event, cause: Cause, known: Histogram) -> Change | None:
    """None when the event changes nothing; raises NotAllowedError when it means nothing now.

    `known`: the champion's durations so far, from which thresholds are taken when an attempt begins.
    """
    old, evidence = live.record, live.evidence
    before, home = old.rollout, old.home
    assert before is not None and home is not None and evidence is not None
    after = advance(before, event, cause.now, cause.reason)
    if after is before:
        return None
    if event is Event.RETRY:
        home = home_of(old.ledger, after.champion, after.challenger, live.salt)
        evidence = Evidence(after.champion, after.challenger, baseline=known)
    ledger = ledger_after(old.ledger, home, before, after, live.salt)
    record = replace(old, ledger=ledger, home=home, rollout=after, latched=latched_after(old.latched, after))
    entered = stage(after)
    if entered is not None and entered != stage(before):
        evidence = opened(evidence, record, entered)
    seen = inputs_of(live, event, home)
    draft = draft_of(record.name, action_of(event, before, after), cause, (old, record), seen)
    trial = after.challenger
    rises = ledger.weights.get(trial, 0) > old.ledger.weights.get(trial, 0) or mirrored(after) > mirrored(
        before
    )
    return Change(live, record, evidence, draft, rises)


def latched_after(latched: dict[str, str], after: RolloutState) -> dict[str, str]:
    """An aborted challenger is latched; while it is on trial again, it is not."""
    others = {content: why for content, why in latched.items() if content != after.content}
    return others | {after.content: after.reason} if after.has_failed else others


def change_of_split(live: LiveRoute, weights: dict[str, int], cause: Cause) -> Change:
    """An operator's split, kept until the file's own changes."""
    record = replace(live.record, ledger=reweigh(live.record.ledger, weights, live.salt))
    draft = draft_of(record.name, "split", cause, (live.record, record), {})
    return Change(live, record, live.evidence, draft, True)


def home_of(ledger: Ledger, champion: str, challenger: str, salt: bytes) -> Ledger:
    """The map that abort and rollback return to: this one, with the challenger's buckets at the champion's."""
    weights = ledger.weights
    held = weights.pop(challenger, 0)
    if not held:
        return ledger
    weights[champion] = weights.get(champion, 0) + held
    return reweigh(ledger, weights, salt)


def ledger_after(
    ledger: Ledger, home: Ledger, before: RolloutState, after: RolloutState, salt: bytes
) -> Ledger:
    """A new version for each stage that is entered, moved or not, since versions tell the strata apart."""
    weights = split_after(home.weights, before, after)
    if weights is None:
        return ledger
    if stage(after) is None:
        return restore(home, ledger) if moved(ledger, home) else ledger
    return reweigh(ledger, weights, salt)


def split_after(home: dict[str, int], before: RolloutState, after: RolloutState) -> dict[str, int] | None:
    """The weights that a transition leads to; None where the split stays as it is."""
    entered = stage(after)
    if entered is None:
        return None if after.is_running else home
    if entered == stage(before):
        return None
    return split_for_step(home, after.champion, after.challenger, exposure(after))


def opened(evidence: Evidence, record: RouteRecord, step: int) -> Evidence:
    """The evidence with a stratum for the ledger now in force; what was there before is shared."""
    weights = record.ledger.weights
    challenger, champion = (weights.get(name, 0) for name in (evidence.challenger, evidence.champion))
    share = challenger / (challenger + champion) if challenger else 0.0
    new = replace(evidence, strata=list(evidence.strata))
    new.open(record.name, record.ledger.version, step, share)
    return new


def draft_of(
    route: str,
    action: str,
    cause: Cause,
    records: tuple[RouteRecord | None, RouteRecord | None],
    evidence: dict[str, Any],
) -> Decision:
    """A decision yet to be numbered and chained; `records` are those before and after."""
    before, after = records
    return Decision(
        id=0,
        at=cause.now,
        route=route,
        action=action,
        actor=cause.actor,
        from_=standing(before),
        to=standing(after),
        reason=cause.reason,
        evidence=evidence,
        ledger_version=after.ledger.version if after else 0,
        config_hash=cause.config_hash,
        previous_hash="",
        hash="",
    )


def standing(record: RouteRecord | None) -> dict[str, Any]:
    """Where a route stands, as a decision says it."""
    if record is None:
        return {}
    split = {name: weight / WHOLE for name, weight in record.ledger.weights.items()}
    out: dict[str, Any] = {"split": split, "ledger_version": record.ledger.version}
    rollout = record.rollout
    if rollout is not None:
        weight = split.get(rollout.challenger, 0.0)
        out |= {
            "phase": str(rollout.phase),
            "step": rollout.step,
            "weight": weight,
            "attempt": rollout.attempt,
        }
    return out


def inputs_of(live: LiveRoute, event: Event, home: Ledger) -> dict[str, Any]:
    """All that the decision was made on, as JSON has it, and the verdicts that came of it."""
    sight = live.sight
    assert sight is not None
    inputs = {"event": event, "home": home.weights, "verdicts": live.verdicts, "sight": written(sight)}
    # As JSON has it at once: a decision that waits for the disk is not to differ from one read back.
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(inputs))
    return found
