"""What a start or a reload decides: from a configuration and the present state to the next state.

Rule (law 13): a reload does what the edit changed, and nothing else. Three sides are compared, route by route: what the file said
last (`Applied`), what it says now, and the state. The difference of the first two is applied to the third (`route_edit`). A route
that leaves the file keeps its record for a month; one that comes back, or has another name (`renamed_from`), goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from crossfade.config.model import Config, RouteConfig
from crossfade.control.change import Cause, draft_of, opened
from crossfade.control.config_views import LoadedChange
from crossfade.control.edits import backend_edits
from crossfade.control.journal_entry import Entry
from crossfade.control.proxy_edits import proxy_edits
from crossfade.control.refusal import Refused
from crossfade.control.route_edit import RETURN, PlannedDecision, RouteEdit
from crossfade.control.route_record import EvidenceBy, RouteRecord
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.plan_change import evidence_under
from crossfade.routing.ledger import renamed
from crossfade.stats.counts import Cell

KEPT = 30 * 86_400.0  # seconds that the record of a route outlives the route


class ReconciledRoute(NamedTuple):
    route: RouteConfig
    record: RouteRecord
    evidence: EvidenceBy


Held = Mapping[str, tuple[RouteRecord, EvidenceBy]]
SoFar = Callable[[str, str], Cell]


class Reconciled(NamedTuple):
    """`left`: the records of routes that are not in the file. `came_from`: by route, the name under which its record was held;
    empty if the record is new.
    """

    routes: list[ReconciledRoute]
    left: dict[str, tuple[RouteRecord, EvidenceBy]]
    entries: list[Entry]
    came_from: Mapping[str, str] = {}


def reconcile(config: Config, held: Held, cause: Cause, so_far: SoFar, source: str = "") -> Reconciled:
    """The next state of each route, and the decisions for the journal.

    `source`: the name of the file, if messages shall begin with it. `so_far(route, backend)`: counted so far; the thresholds of a new rollout
    begin with them. Raises Refused with all that cannot be done in place.
    """
    left = dict(held)
    routes, entries, refused = [], list[Entry](), list[str]()
    came_from = dict[str, str]()
    for route in config.split_routes:
        present = set(left)
        before = _record_for(route, left, cause, entries)
        edit = RouteEdit(config, route, before[0] if before else None, cause)
        try:
            edit.run()
        except Refused as error:
            refused.append(str(error))
            continue
        reconciled = _reconciled(config, route, edit, before[1] if before else {}, (cause, so_far), entries)
        taken = present - set(left)
        names = [name for name in (route.renamed_from, route.name) if name and name in taken]
        routes.append(reconciled)
        came_from[route.name] = names[0] if names else ""
    if refused:
        raise Refused((f"{source}: " if source else "") + "; ".join(refused))
    entries += _leaving(left, cause)
    return Reconciled(routes, left, entries, came_from)


def loaded_changes(before: Config | None, after: Config, reconciled: Reconciled) -> list[LoadedChange]:
    """What a load does, for the operator. `before`: the configuration in use, None at a start."""
    changes = []
    if before is not None:
        changes += [LoadedChange(None, "proxy", word) for word in proxy_edits(before, after)]
        changes += [LoadedChange(None, "backend", word) for word in backend_edits(before, after)]
    drafts = [entry.draft for entry in reconciled.entries]
    return changes + [LoadedChange(draft.route, draft.action, draft.reason) for draft in drafts]


def _record_for(
    route: RouteConfig, left: dict[str, tuple[RouteRecord, EvidenceBy]], cause: Cause, entries: list[Entry]
) -> tuple[RouteRecord, EvidenceBy] | None:
    """The record of this route, also under the name that it had before; it is taken out of `left`.

    A route that serves under its former name goes on, whatever the new name once was.
    """
    own, former = left.pop(route.name, None), left.get(route.renamed_from or "")
    if former is None or (own is not None and (own[0].left_at is None or former[0].left_at is not None)):
        return own
    del left[former[0].name]
    record, evidence = former
    why = cause._replace(reason=f"the route is called {route.name} now, and goes on there")
    action, begin = ("remove", record) if record.left_at is None else ("forget", None)
    entries.append(Entry(draft_of(record.name, action, why, (begin, None), {}), None))
    applied = replace(record.applied, hashed_as=record.applied.hashed_as or record.name)
    rollouts = {name: replace(state, route=route.name) for name, state in record.rollouts.items()}
    left_at = cause.now if record.left_at is None else record.left_at
    return replace(record, name=route.name, applied=applied, rollouts=rollouts, left_at=left_at), evidence


def _reconciled(
    config: Config,
    route: RouteConfig,
    edit: RouteEdit,
    evidence: EvidenceBy,
    given: tuple[Cause, SoFar],
    entries: list[Entry],
) -> ReconciledRoute:
    cause, so_far = given
    before = edit.old
    for planned in edit.decisions:
        evidence = _evidence_after(planned, before, evidence, so_far)
        why = cause._replace(reason=planned.reason)
        records = None if planned.is_new else before, planned.record
        draft = draft_of(route.name, planned.action, why, records, {}, planned.challenger)
        entries.append(Entry(draft, _without_missing(config, planned.record), evidence))
        before = planned.record
    return ReconciledRoute(route, _without_missing(config, edit.record), evidence)


def _evidence_after(
    planned: PlannedDecision, before: RouteRecord | None, evidence: EvidenceBy, so_far: SoFar
) -> EvidenceBy:
    """Of each rollout on the route; the evidence of a new one begins with the champion's counts so far."""
    if planned.action == RETURN:
        return evidence
    record, out = planned.record, dict[str, Evidence]()
    for name, state in record.rollouts.items():
        if name in evidence and not (planned.fresh and name == planned.challenger):
            out[name] = evidence[name]
        else:
            out[name] = Evidence.begin(state.champion, name, so_far(record.name, state.champion))
    if planned.edit is not None:
        plan, former, states = planned.edit
        name = planned.challenger
        out[name] = evidence_under(plan, former, states, out[name], record.ledger.version)
    return opened(out, before, record)


def _leaving(left: dict[str, tuple[RouteRecord, EvidenceBy]], cause: Cause) -> Iterable[Entry]:
    """Routes that are no longer in the file; `left` keeps those that are kept."""
    days = f"{KEPT / 86_400:g} days"
    for name, (record, evidence) in list(left.items()):
        if record.left_at is None:
            why = cause._replace(
                reason=f"the route left the file; its record and latches are kept for {days}"
            )
            left[name] = replace(record, left_at=cause.now), evidence
            yield Entry(draft_of(name, "remove", why, (record, None), {}), *left[name])
        elif cause.now - record.left_at > KEPT:
            why = cause._replace(reason=f"the route left the file {days} ago")
            del left[name]
            yield Entry(draft_of(name, "forget", why, (None, None), {}), None)


def _without_missing(config: Config, record: RouteRecord) -> RouteRecord:
    """The same maps, without the names of backends that have no bucket and are no longer in the configuration."""
    home = record.home and renamed(record.home, [n for n in record.home.backends if n in config.backends])
    ledger = renamed(record.ledger, [name for name in record.ledger.backends if name in config.backends])
    return replace(record, ledger=ledger, home=home)
