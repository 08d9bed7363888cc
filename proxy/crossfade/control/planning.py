"""`crossfade plan OLD NEW`: what it means for traffic when one file follows another, without a proxy.

Rule: the changes are those that a load makes. The state between them is that of a proxy which was started by OLD and has decided
nothing since; what the state of a running proxy makes of a file, `crossfade diff` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from crossfade.config.load import Loaded
from crossfade.control.change_preview import Moved, moved_between, shares
from crossfade.control.config_views import LoadedChange
from crossfade.control.explaining import state_by_file
from crossfade.control.loading import loaded_changes
from crossfade.control.refusal import Refused
from crossfade.control.route_runtime import RouteRuntime
from crossfade.scale import WHOLE

Runtimes = Mapping[str, RouteRuntime]
NOBODY = Moved(0, 0.0, {})


class PlannedStep(msgspec.Struct):
    """`weight` and `mirror` fractions of the route's requests that the challenger gets; `hold` in seconds."""

    weight: float
    mirror: float
    hold: float
    approval: bool


class PlannedRollout(msgspec.Struct):
    """What a rollout would do from its begin on, step by step, if every check passes."""

    champion: str
    challenger: str
    steps: list[PlannedStep]


class MirrorLoad(msgspec.Struct):
    """Requests that backend `to` gets besides the clients' own, as fractions of the route's: `before` and `after`.

    `most`: the largest fraction in any step of a rollout. Copies and the champion's second answers are counted together.
    """

    to: str
    before: float
    after: float
    most: float


class PlannedRoute(msgspec.Struct):
    """`is_new`, `is_gone`: the route is in one of the files only. `from` and `to`: its splits as fractions."""

    route: str
    is_new: bool
    is_gone: bool
    from_: dict[str, float] = msgspec.field(name="from")
    to: dict[str, float]
    moved: Moved
    changes: list[str]
    mirrors: list[MirrorLoad]
    rollouts: list[PlannedRollout]


class PlannedLoad(msgspec.Struct):
    """`refused`: why NEW cannot follow OLD in a running proxy; then nothing else is known. `general`: changes that are no route's."""

    refused: str
    general: list[str]
    routes: list[PlannedRoute]


def plan_load(old: Loaded, new: Loaded) -> PlannedLoad:
    """Only routes that differ are in it."""
    before = state_by_file(old)
    held = {r.record.name: (r.record, r.evidence) for r in before.reconciled.routes}
    try:
        after = state_by_file(new, held)
    except Refused as error:
        return PlannedLoad(str(error), [], [])
    changes = loaded_changes(old.config, new.config, after.reconciled)
    general = [change.reason for change in changes if change.route is None]
    came_from = after.reconciled.came_from
    routes = [
        _route(name, before.routes.get(came_from.get(name) or name), after.routes.get(name), changes)
        for name in _names(before.routes, after.routes, came_from)
    ]
    return PlannedLoad("", general, [route for route in routes if _differs(route)])


def _names(before: Runtimes, after: Runtimes, came_from: Mapping[str, str]) -> list[str]:
    """In the order of the new file, and then those that are gone; not the former name of a route that goes on."""
    former = set(came_from.values())
    return [*after, *(name for name in before if name not in after and name not in former)]


def _differs(route: PlannedRoute) -> bool:
    loads = any(load.before != load.after for load in route.mirrors)
    return bool(route.changes or route.moved.buckets or loads or route.is_new or route.is_gone)


def _route(
    name: str, before: RouteRuntime | None, after: RouteRuntime | None, changes: list[LoadedChange]
) -> PlannedRoute:
    old, new = (None if route is None else route.record.ledger for route in (before, after))
    loads = [{} if route is None else _loads(route) for route in (before, after)]
    most = {} if after is None else _most(after)
    return PlannedRoute(
        route=name,
        is_new=before is None,
        is_gone=after is None,
        from_={} if old is None else shares(old),
        to={} if new is None else shares(new),
        moved=NOBODY if old is None or new is None else moved_between(old, new),
        changes=[f"{change.action}: {change.reason}" for change in changes if change.route == name],
        mirrors=[
            MirrorLoad(to, loads[0].get(to, 0.0), loads[1].get(to, 0.0), most.get(to, 0.0))
            for to in dict.fromkeys((*loads[0], *loads[1], *most))
        ],
        rollouts=[] if after is None else list(_rollouts(after)),
    )


def _loads(route: RouteRuntime) -> dict[str, float]:
    """Copies by backend, and what the champion is asked a second time, as the route begins."""
    out: dict[str, float] = {}
    config_mirrors = [(m.to, m.sample, m.noise) for m in route.config.mirror]
    for to, sample, noise in [*config_mirrors, *((m.to, m.sample, m.noise) for m in route.trial.mirrors)]:
        out[to] = max(out.get(to, 0.0), sample / WHOLE)
        if noise and route.champion is not None:
            again = sample / WHOLE * noise / WHOLE
            out[route.champion] = max(out.get(route.champion, 0.0), again)
    return out


def _most(route: RouteRuntime) -> dict[str, float]:
    """The largest share in any step, by challenger, and what the file copies in all of them."""
    out = _loads(route)
    for state in route.record.rollouts.values():
        mirrored = max((step.mirror for step in state.steps), default=0) / WHOLE
        if mirrored:
            out[state.challenger] = max(out.get(state.challenger, 0.0), mirrored)
    return out


def _rollouts(route: RouteRuntime) -> Iterator[PlannedRollout]:
    for state in route.record.rollouts.values():
        steps = [
            PlannedStep(step.weight / WHOLE, step.mirror / WHOLE, step.hold, step.approval)
            for step in state.steps
        ]
        yield PlannedRollout(state.champion, state.challenger, steps)
