"""From a configuration and the state at hand to the state that follows: what start and reload decide.

Rule (design 3.1): the file is what the operator wants, the state how far it has come. A rollout whose
identity is unchanged is not disturbed; another identity starts anew from the file's split, unless its
challenger is latched: one that was aborted stays so, whatever the plan, until `retry` or other
content. A rollout taken out ends at the file's split. A split given over the API stays until the file's own changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from msgspec.structs import replace

from proxy.config.model import Config, RolloutConfig, RouteConfig
from proxy.control.change import Cause, draft_of, home_of
from proxy.control.journal import Entry
from proxy.control.store import RouteRecord
from proxy.rollout.evidence import Evidence
from proxy.rollout.machine import Phase, RolloutState
from proxy.rollout.strategy import Plan, expand
from proxy.routing.ledger import Ledger, new_ledger, renamed, reweigh, salt_of
from proxy.stats.histogram import Histogram


class Outcome(NamedTuple):
    """What becomes of one route; without an action nothing has changed that is worth a decision.

    `fresh`: a new attempt begins, so evidence begins anew.
    """

    record: RouteRecord
    action: str
    reason: str
    fresh: bool = False


class Settled(NamedTuple):
    route: RouteConfig
    record: RouteRecord
    evidence: Evidence | None


Held = Mapping[str, tuple[RouteRecord, Evidence | None]]


def settle(
    config: Config, held: Held, cause: Cause, known: Callable[[str, str], Histogram]
) -> tuple[list[Settled], list[Entry]]:
    """What each route becomes, and the decisions to journal; routes that are gone are let go.

    `known(route, backend)`: durations counted so far, from which a new rollout's thresholds begin.
    """
    settled, entries = [], []
    for route in config.routes:
        record, evidence = held.get(route.name, (None, None))
        outcome = settle_route(config, route, record, cause.now)
        rollout = outcome.record.rollout
        if rollout is None:
            evidence = None
        elif outcome.fresh or evidence is None:
            baseline = known(route.name, rollout.champion)
            evidence = Evidence(rollout.champion, rollout.challenger, baseline=baseline)
        if outcome.action:
            why = cause._replace(reason=outcome.reason)
            draft = draft_of(route.name, outcome.action, why, (record, outcome.record), {})
            entries.append(Entry(draft, outcome.record, evidence))
        settled.append(Settled(route, outcome.record, evidence))
    names = {route.name for route in config.routes}
    gone = [record for name, (record, _) in held.items() if name not in names]
    why = cause._replace(reason="the route was taken out of the configuration")
    entries += [Entry(draft_of(r.name, "remove", why, (r, None), {}), None) for r in gone]
    return settled, entries


def settle_route(config: Config, route: RouteConfig, old: RouteRecord | None, now: float) -> Outcome:
    """The record that this route has under this configuration; it names no backend that is not there."""
    outcome = course_of(config, route, old, now)
    record = outcome.record
    home = record.home and without_strangers(config, record.home)
    ledger = without_strangers(config, record.ledger)
    return outcome._replace(record=replace(record, ledger=ledger, home=home))


def course_of(config: Config, route: RouteConfig, old: RouteRecord | None, now: float) -> Outcome:
    if old is None:
        first = RouteRecord(route.name, new_ledger(route.split, salt_of(route.name)), route.split)
        started = started_anew(config, route, first, now) if route.rollout else None
        return started or Outcome(first, "create", "the route is new")
    if route.rollout is None and old.rollout is not None:
        ended = replace(at_file_split(route, old), home=None, rollout=None)
        return Outcome(ended, "end", "the rollout was taken out of the configuration")
    lost = owners_lost(config, old)
    if route.rollout is not None:
        plan = expand(route.rollout)
        state = old.rollout
        if state is None or state.identity != identity_of(plan, config) or (lost and state.is_running):
            return started_anew(config, route, at_file_split(route, old), now)
        old = replace(old, rollout=replace(state, watch=plan.watch, steps=plan.steps))
    if lost:
        home = old.home and reweigh(old.home, route.split, salt_of(route.name))
        reason = f"{', '.join(lost)} is no longer there: back to the file's split"
        return Outcome(replace(at_file_split(route, old), home=home), "split", reason)
    return kept(route, old)


def kept(route: RouteConfig, old: RouteRecord) -> Outcome:
    """No rollout begins or ends; the split follows the file where the file's own has changed."""
    if route.split == old.file_split:
        return Outcome(old, "", "")
    if old.rollout is not None and old.rollout.is_running:
        reason = "the file's split has changed; it is not applied while a rollout is running"
        return Outcome(replace(old, file_split=route.split), "keep", reason)
    return Outcome(at_file_split(route, old), "split", "the file's split has changed")


def owners_lost(config: Config, record: RouteRecord) -> list[str]:
    """Backends that have buckets, now or at home, and are not in the configuration any more."""
    ledgers = [ledger for ledger in (record.ledger, record.home) if ledger is not None]
    owners = {name for ledger in ledgers for name, weight in ledger.weights.items() if weight}
    return sorted(owners - config.backends.keys())


def without_strangers(config: Config, ledger: Ledger) -> Ledger:
    """The same map, without the names of backends that have no bucket and are not there."""
    return renamed(ledger, [name for name in ledger.backends if name in config.backends])


def at_file_split(route: RouteConfig, old: RouteRecord) -> RouteRecord:
    ledger = reweigh(old.ledger, route.split, salt_of(route.name))
    return replace(old, ledger=ledger, file_split=route.split)


def started_anew(config: Config, route: RouteConfig, base: RouteRecord, now: float) -> Outcome:
    """A first attempt on this base; the challenger gets its first traffic only when it is up.

    A latched challenger gets none: the rollout is aborted from its beginning.
    """
    assert route.rollout is not None
    plan = expand(route.rollout)
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
    home = home_of(base.ledger, plan.champion, plan.challenger, salt_of(route.name))
    why = base.latched.get(state.content)
    if why is None:
        return Outcome(replace(base, home=home, rollout=state), "start", said(route.rollout), True)
    reason = f"{plan.challenger} was aborted and stays so until retry or another version: {why}"
    state = replace(state, phase=Phase.ABORTED, reason=why)
    return Outcome(replace(base, ledger=home, home=home, rollout=state), "keep", reason, True)


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
