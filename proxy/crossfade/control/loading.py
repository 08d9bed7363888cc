"""What a start or a reload decides: from a configuration and the present state to the next state.

Rule (design 3.1): the file says what the operator wants; the state says how far that has come. A rollout
with the same identity goes on. Another identity starts from the file's split, unless its challenger is
latched: an aborted challenger stays aborted, whatever the plan, until `retry` or other content. A rollout
that was removed from the file ends at the file's split; if other rollouts of the route go on, the champion
gets its buckets. A split set over the API stays until the file's own split changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from msgspec.structs import replace

from crossfade.config.model import Config, RolloutConfig, RouteConfig
from crossfade.control.applied import Applied
from crossfade.control.change import Cause, draft_of, home_of, opened
from crossfade.control.journal import Entry
from crossfade.control.store import EvidenceBy, RouteRecord
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.machine import Phase, RolloutState
from crossfade.rollout.plan import Plan
from crossfade.rollout.strategy import expand
from crossfade.routing.ledger import Ledger, new_ledger, renamed, reweigh, salt_of
from crossfade.stats.counts import Cell


class PlannedDecision(NamedTuple):
    """One decision about a route, and the record that it leads to. `challenger`: "" if it is not of a rollout.

    `fresh`: a new attempt begins, with empty evidence.
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
    config: Config, held: Held, cause: Cause, so_far: Callable[[str, str], Cell]
) -> tuple[list[ReconciledRoute], list[Entry]]:
    """The next state of each route, and the decisions for the journal.

    `so_far(route, backend)`: counted so far; the thresholds of a new rollout begin with them.
    """
    reconciled, entries = [], []
    for route in config.routes:
        before, evidence = held.get(route.name, (None, {}))
        record, planned_decisions = _plan_route(config, route, before, cause)
        for planned in planned_decisions:
            evidence = _evidence_after(planned, before, evidence, so_far)
            why = cause._replace(reason=planned.reason)
            records = before, planned.record
            draft = draft_of(route.name, planned.action, why, records, {}, planned.challenger)
            entries.append(Entry(draft, _without_missing(config, planned.record), evidence))
            before = planned.record
        reconciled.append(ReconciledRoute(route, _without_missing(config, record), evidence))
    names = {route.name for route in config.routes}
    gone = [record for name, (record, _) in held.items() if name not in names]
    why = cause._replace(reason="the route was taken out of the configuration")
    entries += [Entry(draft_of(r.name, "remove", why, (r, None), {}), None) for r in gone]
    return reconciled, entries


def _evidence_after(
    planned: PlannedDecision,
    before: RouteRecord | None,
    evidence: EvidenceBy,
    so_far: Callable[[str, str], Cell],
) -> EvidenceBy:
    """Of each rollout on the route; the evidence of a new one begins with the champion's counts so far."""
    record, out = planned.record, {}
    for name, state in record.rollouts.items():
        if name in evidence and not (planned.fresh and name == planned.challenger):
            out[name] = evidence[name]
        else:
            out[name] = Evidence.begin(state.champion, name, so_far(record.name, state.champion))
    moved = before is not None and before.ledger.version != record.ledger.version
    return opened(out, record) if moved else out


def _plan_route(
    config: Config, route: RouteConfig, old: RouteRecord | None, cause: Cause
) -> tuple[RouteRecord, list[PlannedDecision]]:
    """Rollouts that end, a split whose backends are gone, rollouts that begin, in this order.

    While a rollout goes on, others that begin or end move only their own buckets. If none goes on, the map is
    the file's.
    """
    record = old or RouteRecord(
        route.name, new_ledger(route.split, salt_of(route.name)), Applied(route.split)
    )
    plans = {rollout.challenger: expand(rollout, route.predicts) for rollout in route.rollout}
    ended = [name for name in record.rollouts if name not in plans]
    lost = [name for name in _missing_backends(config, record) if name not in ended]
    kept = {
        name: replace(state, watch=plans[name].watch, steps=plans[name].steps)
        for name, state in record.rollouts.items()
        if name in plans and state.identity == _identity_of(plans[name], config)
        if not (lost and state.is_running)
    }
    record = replace(record, rollouts=record.rollouts | kept)
    goes_on = not lost and any(s.is_running or s.phase is Phase.PROMOTED for s in kept.values())
    out: list[PlannedDecision] = []
    if old is not None and not goes_on and (ended or lost or len(kept) < len(plans)):
        record = _rebased(route, record)
    for name in ended:
        record = _without_rollout(record, name, goes_on)
        out.append(PlannedDecision(record, "end", "the rollout was taken out of the configuration", name))
    for rollout in route.rollout:
        if rollout.challenger not in kept:
            out.append(_start(config, route, rollout, record, cause, goes_on))
            record = out[-1].record
    if lost and not out:
        out.append(
            PlannedDecision(
                record, "split", f"{', '.join(lost)} is no longer there: back to the file's split"
            )
        )
    if old is None and not out:
        out.append(PlannedDecision(record, "create", "the route is new"))
    if route.split != record.applied.split:
        out.append(_split_edited(route, record))
        record = out[-1].record
    return record, out


def _split_edited(route: RouteConfig, record: RouteRecord) -> PlannedDecision:
    """The file's own split has changed; it is applied unless a rollout is running."""
    if any(state.is_running for state in record.rollouts.values()):
        reason = "the file's split has changed; it is not applied while a rollout is running"
        return PlannedDecision(replace(record, applied=Applied(route.split)), "keep", reason)
    return PlannedDecision(_at_file_split(route, record), "split", "the file's split has changed")


def _missing_backends(config: Config, record: RouteRecord) -> list[str]:
    """Backends that have buckets, now or at home, and are no longer in the configuration."""
    ledgers = [ledger for ledger in (record.ledger, record.home) if ledger is not None]
    owners = {name for ledger in ledgers for name, weight in ledger.weights.items() if weight}
    return sorted(owners - config.backends.keys())


def _without_missing(config: Config, record: RouteRecord) -> RouteRecord:
    """The same maps, without the names of backends that have no bucket and are no longer in the configuration."""
    home = record.home and renamed(record.home, [n for n in record.home.backends if n in config.backends])
    ledger = renamed(record.ledger, [name for name in record.ledger.backends if name in config.backends])
    return replace(record, ledger=ledger, home=home)


def _at_file_split(route: RouteConfig, old: RouteRecord) -> RouteRecord:
    ledger = reweigh(old.ledger, route.split, salt_of(route.name))
    return replace(old, ledger=ledger, applied=Applied(route.split))


def _rebased(route: RouteConfig, old: RouteRecord) -> RouteRecord:
    """At the file's split; `home` follows from it."""
    record = _at_file_split(route, old)
    return replace(record, home=_home_for(route, record.ledger))


def _home_for(route: RouteConfig, ledger: Ledger) -> Ledger | None:
    """This map with the challengers' buckets at the champion; None on a route without rollouts."""
    challengers = [rollout.challenger for rollout in route.rollout]
    if not challengers:
        return None
    return home_of(ledger, route.rollout[0].champion, challengers, salt_of(route.name))


def _without_rollout(record: RouteRecord, challenger: str, has_others: bool) -> RouteRecord:
    """If other rollouts go on, the champion gets the challenger's buckets; theirs stay."""
    rollouts, ledger = dict(record.rollouts), record.ledger
    state = rollouts.pop(challenger)
    if has_others:
        ledger = home_of(ledger, state.champion, [challenger], salt_of(record.name))
    return replace(record, ledger=ledger, rollouts=rollouts)


def _start(
    config: Config,
    route: RouteConfig,
    rollout: RolloutConfig,
    base: RouteRecord,
    cause: Cause,
    has_others: bool,
) -> PlannedDecision:
    """A first attempt from `base`. The challenger gets no traffic before it is up.

    A latched challenger gets none at all: its rollout begins aborted. `has_others`: another rollout goes on, so
    the map is not the file's.
    """
    plan = expand(rollout, route.predicts)
    state = RolloutState(
        route=route.name,
        strategy=plan.strategy,
        champion=plan.champion,
        challenger=plan.challenger,
        identity=_identity_of(plan, config),
        steps=plan.steps,
        watch=plan.watch,
        started=cause.now,
        since=cause.now,
        patience_from=cause.now,
        since_at=cause.at,
        content=_content_of(plan.challenger, config),
    )
    why = base.latched.get(state.content)
    ledger = base.ledger
    if why is not None or has_others:
        ledger = home_of(ledger, plan.champion, [plan.challenger], salt_of(route.name))
    action, reason = "start", _start_reason(rollout)
    if why is not None:
        state = replace(state, phase=Phase.ABORTED, reason=why)
        action = "keep"
        reason = f"{plan.challenger} was aborted and stays so until retry or another version: {why}"
    rollouts = base.rollouts | {plan.challenger: state}
    home = _home_for(route, base.home or base.ledger)
    record = replace(base, ledger=ledger, home=home, rollouts=rollouts)
    return PlannedDecision(record, action, reason, plan.challenger, fresh=True)


def _start_reason(rollout: RolloutConfig) -> str:
    return f"{rollout.strategy}: {rollout.challenger} is to replace {rollout.champion}"


def _identity_of(plan: Plan, config: Config) -> str:
    """Of a rollout: strategy, champion, challenger with its content, steps.

    Checks, fuse, watch and numbers of requests may change while it runs. So may the champion's endpoints, as
    replicas come and go; a challenger with other endpoints is another challenger.
    """
    parts = {
        "strategy": plan.strategy,
        "champion": [plan.champion, config.backends[plan.champion].version],
        "challenger": _content_parts(plan.challenger, config),
        "steps": [[s.weight, s.mirror, s.hold, s.approval] for s in plan.steps],
    }
    return _digest(parts)


def _content_of(backend: str, config: Config) -> str:
    """Of a challenger, whatever the plan: name, version and endpoints."""
    return _digest(_content_parts(backend, config))


def _content_parts(backend: str, config: Config) -> list[Any]:
    found = config.backends[backend]
    return [backend, found.version, sorted(e.name for e in found.endpoints)]


def _digest(parts: object) -> str:
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
