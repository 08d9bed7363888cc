"""From a configuration and the state at hand to the state that follows: what start and reload decide.

Rule (design 3.1): the file is what the operator wants, the state how far it has come. A rollout whose
identity is unchanged is not disturbed; another identity starts anew from the file's split, unless its
challenger is latched: one that was aborted stays so, whatever the plan, until `retry` or other
content. A rollout taken out ends at the file's split, or where others go on, with its buckets at the
champion's. A split given over the API stays until the file's own changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from msgspec.structs import replace

from crossfade.config.model import Config, RolloutConfig, RouteConfig
from crossfade.control.change import Cause, draft_of, home_of, opened
from crossfade.control.journal import Entry
from crossfade.control.store import EvidenceBy, RouteRecord
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.machine import Phase, RolloutState
from crossfade.rollout.plan import Plan
from crossfade.rollout.strategy import expand
from crossfade.routing.ledger import Ledger, new_ledger, renamed, reweigh, salt_of
from crossfade.stats.histogram import Histogram


class Outcome(NamedTuple):
    """What becomes of one route, in one step; `challenger`: whose rollout it is about.

    `fresh`: a new attempt begins, so evidence begins anew.
    """

    record: RouteRecord
    action: str
    reason: str
    challenger: str = ""
    fresh: bool = False


class ReconciledRoute(NamedTuple):
    route: RouteConfig
    record: RouteRecord
    evidence: EvidenceBy


Held = Mapping[str, tuple[RouteRecord, EvidenceBy]]


def reconcile(
    config: Config, held: Held, cause: Cause, known: Callable[[str, str], Histogram]
) -> tuple[list[ReconciledRoute], list[Entry]]:
    """What each route becomes, and the decisions to journal; routes that are gone are let go.

    `known(route, backend)`: durations counted so far, from which a new rollout's thresholds begin.
    """
    reconciled, entries = [], []
    for route in config.routes:
        before, evidence = held.get(route.name, (None, {}))
        record, outcomes = course_of(config, route, before, cause.now)
        for outcome in outcomes:
            evidence = evidence_after(outcome, before, evidence, known)
            why = cause._replace(reason=outcome.reason)
            records = before, outcome.record
            draft = draft_of(route.name, outcome.action, why, records, {}, outcome.challenger)
            entries.append(Entry(draft, without_strangers(config, outcome.record), evidence))
            before = outcome.record
        reconciled.append(ReconciledRoute(route, without_strangers(config, record), evidence))
    names = {route.name for route in config.routes}
    gone = [record for name, (record, _) in held.items() if name not in names]
    why = cause._replace(reason="the route was taken out of the configuration")
    entries += [Entry(draft_of(r.name, "remove", why, (r, None), {}), None) for r in gone]
    return reconciled, entries


def evidence_after(
    outcome: Outcome,
    before: RouteRecord | None,
    evidence: EvidenceBy,
    known: Callable[[str, str], Histogram],
) -> EvidenceBy:
    """Of the rollouts that there are; that of a new one begins with what is known of the champion."""
    record, out = outcome.record, {}
    for name, state in record.rollouts.items():
        if name in evidence and not (outcome.fresh and name == outcome.challenger):
            out[name] = evidence[name]
        else:
            out[name] = Evidence(state.champion, name, baseline=known(record.name, state.champion))
    moved = before is not None and before.ledger.version != record.ledger.version
    return opened(out, record) if moved else out


def course_of(
    config: Config, route: RouteConfig, old: RouteRecord | None, now: float
) -> tuple[RouteRecord, list[Outcome]]:
    """From what there was to what the file wants: rollouts that end, a split that is lost, rollouts that begin.

    Where a rollout goes on, the others come and go around it and the map stays as it is but for their
    own buckets; where none does, the map is the file's.
    """
    record = old or RouteRecord(route.name, new_ledger(route.split, salt_of(route.name)), route.split)
    plans = {rollout.challenger: expand(rollout) for rollout in route.rollout}
    gone = [name for name in record.rollouts if name not in plans]
    lost = [name for name in owners_lost(config, record) if name not in gone]
    kept = {
        name: replace(state, watch=plans[name].watch, steps=plans[name].steps)
        for name, state in record.rollouts.items()
        if name in plans and state.identity == identity_of(plans[name], config)
        if not (lost and state.is_running)
    }
    record = replace(record, rollouts=record.rollouts | kept)
    goes_on = not lost and any(s.is_running or s.phase is Phase.PROMOTED for s in kept.values())
    out: list[Outcome] = []
    if old is not None and not goes_on and (gone or lost or len(kept) < len(plans)):
        record = rebased(route, record)
    for name in gone:
        record = without_rollout(record, name, goes_on)
        out.append(Outcome(record, "end", "the rollout was taken out of the configuration", name))
    for rollout in route.rollout:
        if rollout.challenger not in kept:
            out.append(started(config, route, rollout, record, now, goes_on))
            record = out[-1].record
    if lost and not out:
        out.append(
            Outcome(record, "split", f"{', '.join(lost)} is no longer there: back to the file's split")
        )
    if old is None and not out:
        out.append(Outcome(record, "create", "the route is new"))
    if route.split != record.file_split:
        out.append(split_edited(route, record))
        record = out[-1].record
    return record, out


def split_edited(route: RouteConfig, record: RouteRecord) -> Outcome:
    """No rollout begins or ends; the split follows the file where the file's own has changed."""
    if any(state.is_running for state in record.rollouts.values()):
        reason = "the file's split has changed; it is not applied while a rollout is running"
        return Outcome(replace(record, file_split=route.split), "keep", reason)
    return Outcome(at_file_split(route, record), "split", "the file's split has changed")


def owners_lost(config: Config, record: RouteRecord) -> list[str]:
    """Backends that have buckets, now or at home, and are not in the configuration any more."""
    ledgers = [ledger for ledger in (record.ledger, record.home) if ledger is not None]
    owners = {name for ledger in ledgers for name, weight in ledger.weights.items() if weight}
    return sorted(owners - config.backends.keys())


def without_strangers(config: Config, record: RouteRecord) -> RouteRecord:
    """The same maps, without the names of backends that have no bucket and are not there."""
    home = record.home and renamed(record.home, [n for n in record.home.backends if n in config.backends])
    ledger = renamed(record.ledger, [name for name in record.ledger.backends if name in config.backends])
    return replace(record, ledger=ledger, home=home)


def at_file_split(route: RouteConfig, old: RouteRecord) -> RouteRecord:
    ledger = reweigh(old.ledger, route.split, salt_of(route.name))
    return replace(old, ledger=ledger, file_split=route.split)


def rebased(route: RouteConfig, old: RouteRecord) -> RouteRecord:
    """At the file's split, and at home there too."""
    record = at_file_split(route, old)
    return replace(record, home=home_for(route, record.ledger))


def home_for(route: RouteConfig, ledger: Ledger) -> Ledger | None:
    """This map without the challengers; None on a route without rollouts."""
    challengers = [rollout.challenger for rollout in route.rollout]
    if not challengers:
        return None
    return home_of(ledger, route.rollout[0].champion, challengers, salt_of(route.name))


def without_rollout(record: RouteRecord, challenger: str, has_others: bool) -> RouteRecord:
    """Where others go on (`beside`) the challenger's buckets become the champion's, and theirs stay."""
    rollouts, ledger = dict(record.rollouts), record.ledger
    state = rollouts.pop(challenger)
    if has_others:
        ledger = home_of(ledger, state.champion, [challenger], salt_of(record.name))
    return replace(record, ledger=ledger, rollouts=rollouts)


def started(
    config: Config,
    route: RouteConfig,
    rollout: RolloutConfig,
    base: RouteRecord,
    now: float,
    has_others: bool,
) -> Outcome:
    """A first attempt on this base; the challenger gets its first traffic only when it is up.

    A latched challenger gets none: the rollout is aborted from its beginning. `beside`: another rollout
    goes on, so that the map is not the file's.
    """
    plan = expand(rollout)
    state = RolloutState(
        route=route.name,
        strategy=plan.strategy,
        champion=plan.champion,
        challenger=plan.challenger,
        identity=identity_of(plan, config),
        steps=plan.steps,
        watch=plan.watch,
        started=now,
        since=now,
        patience_from=now,
        content=content_of(plan.challenger, config),
    )
    why = base.latched.get(state.content)
    ledger = base.ledger
    if why is not None or has_others:
        ledger = home_of(ledger, plan.champion, [plan.challenger], salt_of(route.name))
    action, reason = "start", said(rollout)
    if why is not None:
        state = replace(state, phase=Phase.ABORTED, reason=why)
        action = "keep"
        reason = f"{plan.challenger} was aborted and stays so until retry or another version: {why}"
    rollouts = base.rollouts | {plan.challenger: state}
    home = home_for(route, base.home or base.ledger)
    record = replace(base, ledger=ledger, home=home, rollouts=rollouts)
    return Outcome(record, action, reason, plan.challenger, fresh=True)


def said(rollout: RolloutConfig) -> str:
    return f"{rollout.strategy}: {rollout.challenger} is to replace {rollout.champion}"


def identity_of(plan: Plan, config: Config) -> str:
    """What makes it this rollout and no other: who, with which content, in which steps.

    Checks, fuse, watch and the numbers of requests may change on the way; so may the champion's
    endpoints, as replicas come and go, while other endpoints of a challenger are another challenger.
    """
    parts = {
        "strategy": plan.strategy,
        "champion": [plan.champion, config.backends[plan.champion].version],
        "challenger": parts_of(plan.challenger, config),
        "steps": [[s.weight, s.mirror, s.hold, s.approval] for s in plan.steps],
    }
    return digest(parts)


def content_of(backend: str, config: Config) -> str:
    """What makes it this challenger and no other, whatever the plan: its name, version and endpoints."""
    return digest(parts_of(backend, config))


def parts_of(backend: str, config: Config) -> list[Any]:
    found = config.backends[backend]
    return [backend, found.version, sorted(e.name for e in found.endpoints)]


def digest(parts: object) -> str:
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
