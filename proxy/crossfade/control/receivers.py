"""The backends that get more traffic by a change, and which of them are down.

Rule (law 15): nobody is sent to a backend that is down, in either direction, unless an operator forces it. A rise needs
`min_up` of the challenger's endpoints. All other backends need one endpoint: traffic that goes back leaves something worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from crossfade.config.load import Loaded
from crossfade.config.model import Config
from crossfade.control.change import Cause, Change, split_after
from crossfade.control.config_views import LoadedChange
from crossfade.control.controller_state import ControllerState
from crossfade.control.journal_entry import Entry
from crossfade.control.loading import Reconciled, ReconciledRoute, loaded_changes, reconcile
from crossfade.control.refusal import Refused
from crossfade.control.route_record import RouteRecord
from crossfade.rollout.machine import Phase
from crossfade.rollout.verdict import percent

FORCE = "with --force (in the API: ?force=true) it is done all the same"


def growing(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Backends whose weight is larger after than before."""
    return sorted(name for name, weight in after.items() if weight > before.get(name, 0))


def home_down(state: ControllerState, record: RouteRecord, challenger: str) -> tuple[str, ...]:
    """The backends that would get traffic if this challenger's rollout ended now, and that are down."""
    rollout, home = record.rollouts[challenger], record.home
    if home is None or not rollout.is_guarded:
        return ()
    down = [name for name in {rollout.champion, *home.backends} if not state.is_up(name)]
    if not down:  # as usual; what follows takes longer
        return ()
    ended = replace(rollout, phase=Phase.ABORTED)
    split = record.ledger.weights
    after = split_after(split, home.weights, (rollout, ended), record.other_phases(challenger)) or split
    return tuple(name for name in growing(split, after) if name in down)


def allowed(state: ControllerState, change: Change, force: bool) -> Change:
    """An operator's change. Raises Refused if a backend is down for it and `force` is not given; the decision keeps what was forced."""
    down = _down_for(state, change)
    if down and not force:
        raise Refused(f"{down}; {FORCE}")
    return change._replace(draft=replace(change.draft, forced=down))


def _down_for(state: ControllerState, change: Change) -> str:
    """Which backends would get more traffic by this change and are down for it; empty if there is none."""
    challenger = change.challenger
    names = set(growing(change.route.record.ledger.weights, change.record.ledger.weights))
    if change.rises and challenger:
        names.add(challenger)  # of copies it may get more too
    faults = [
        _fault_of(state, name)
        for name in sorted(names)
        if not (state.is_ready(name) if name == challenger else state.is_up(name))
    ]
    return "; ".join(faults)


class PreparedLoad(NamedTuple):
    """What a load of a configuration does, as values: nothing has happened yet."""

    reconciled: Reconciled
    entries: list[Entry]
    changes: list[LoadedChange]


def prepared_load(
    state: ControllerState, loaded: Loaded, cause: Cause, force: bool, source: str = ""
) -> PreparedLoad:
    """`source`: as for `reconcile`. Raises Refused if it cannot be done in place, or sends traffic to a backend that is down and nobody forces it."""
    reconciled = reconcile(loaded.config, state.held, cause, state.so_far, source)
    entries = _allowed_by_file(state, loaded.config, reconciled, force)
    before = state.config.config if state.started_with else None
    return PreparedLoad(reconciled, entries, loaded_changes(before, loaded.config, reconciled))


def _allowed_by_file(
    state: ControllerState, config: Config, reconciled: Reconciled, force: bool
) -> list[Entry]:
    """The entries of a reload, with what was forced. Raises Refused if a route sends traffic to a backend that is down.

    Endpoints that are new in the file were not probed yet; they are not down.
    """
    forced = {route.record.name: _down_in(state, config, route) for route in reconciled.routes}
    down = [f"route {route}: {fault}" for route, fault in forced.items() if fault]
    if down and not force:
        raise Refused(f"the configuration is not loaded: {'; '.join(down)}; {FORCE}")
    return [
        replace(e, draft=replace(e.draft, forced=forced.get(e.draft.route, ""))) for e in reconciled.entries
    ]


def _down_in(state: ControllerState, config: Config, route: ReconciledRoute) -> str:
    before = state.routes.get(route.record.name) or state.routes.get(route.route.renamed_from or "")
    names = growing(before.record.ledger.weights, route.record.ledger.weights) if before else []
    down = [
        n
        for n in names
        if all((n, e.name) in state.down | state.drained for e in config.backends[n].endpoints if e.weight)
    ]
    return "; ".join(f"no endpoint of {name} is up" for name in down)


def _fault_of(state: ControllerState, name: str) -> str:
    if not state.is_up(name):
        return f"no endpoint of {name} is up"
    return f"only {percent(state.up_share(name))} of the endpoints of {name} are up, which is less than its min_up"
