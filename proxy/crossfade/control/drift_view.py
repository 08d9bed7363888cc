"""What the admin API shows of the drift of a route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import msgspec

from crossfade.control.route_drift import RouteDrift
from crossfade.control.views import DriftNumbers
from crossfade.quality.field_drift import FieldDrift
from crossfade.quality.loss_watch import LossWatch
from crossfade.quality.monitor import LOSS, RUN, SCORE, Alarm, Kind
from crossfade.quality.profile import Field
from crossfade.stats.drift import e_bh

LISTED = 0.05  # of the fields that are listed as drifted, the share that is so wrongly, at one look


class FieldView(msgspec.Struct):
    """`drift`: of the latest full window. `alarm_at`: since when there is an alarm. `listed`: e-BH over all fields finds it."""

    name: str
    type: str
    drift: FieldDrift | None
    alarm_at: float | None = None
    listed: bool = False


class ProfileView(msgspec.Struct):
    name: str
    created: str
    rows: int


class LossView(msgspec.Struct):
    """The champion's loss by ripe labels, in the latest full window and before. `limit`: a mean above it is evidence."""

    backend: str
    reference: float
    reference_n: int
    is_given: bool
    loss: float | None
    n: int
    limit: float
    windows: int
    alarm_at: float | None


class DriftView(msgspec.Struct):
    """`state`: watching, learning, reading, or no_profile with the `trouble`. `expected_run`: seconds until a false alarm, at
    least, on average. `rows`: of the latest full window, which ended at `window_end`; `rows_now`: of the present one.
    """

    route: str
    state: str
    trouble: str
    champion: str
    profile: ProfileView | None
    window: float
    tolerance: float
    expected_run: float
    windows: int
    rows: int
    rows_now: int
    window_end: float | None
    fields: list[FieldView]
    scores: list[FieldView]
    new_fields: dict[str, int]
    loss: LossView | None
    alarms: list[Alarm]
    raised: dict[str, int]


def drift_view(name: str, route: RouteDrift, watch: LossWatch | None = None) -> DriftView:
    monitor, config, profile = route.monitor, route.config, route.profile
    latest = monitor.latest
    return DriftView(
        name,
        _state_of(route),
        route.trouble,
        route.champion,
        None if profile is None else ProfileView(profile.name, profile.created, profile.rows),
        config.window,
        config.tolerance,
        RUN,
        monitor.windows,
        latest.rows,
        monitor.window.rows,
        None if monitor.latest_slot < 0 else (monitor.latest_slot + 1) * config.window,
        _fields(route),
        _scores(route),
        latest.new,
        _loss(route, watch),
        monitor.alarms,
        monitor.raised,
    )


def drift_numbers(routes: Mapping[str, RouteDrift]) -> list[DriftNumbers]:
    out = []
    for name, route in routes.items():
        fields = {view.name: view.drift.farthest for view in _fields(route) if view.drift is not None}
        scores = {
            f"score of {view.name}": view.drift.farthest for view in _scores(route) if view.drift is not None
        }
        raised = {kind: route.monitor.raised.get(kind, 0) for kind in get_args(Kind)}
        out.append(DriftNumbers(name, fields | scores, raised, route.drifting))
    return out


def _loss(route: RouteDrift, watch: LossWatch | None) -> LossView | None:
    if watch is None or not watch.reference.n:
        return None
    latest = watch.latest
    return LossView(
        watch.backend,
        watch.reference.value,
        watch.reference.n,
        watch.is_given,
        latest.value if latest.n else None,
        latest.n,
        watch.limit(route.config.loss_tolerance),
        watch.windows,
        route.monitor_alarm(LOSS),
    )


def _state_of(route: RouteDrift) -> str:
    if route.profile is not None:
        return "watching"
    if not route.is_read:
        return "reading"
    return "learning" if route.attempt else "no_profile"


def _fields(route: RouteDrift) -> list[FieldView]:
    if route.profile is None:
        return []
    latest, views = route.monitor.latest.fields, []
    for name, field in route.profile.fields.items():
        drift = route.shown("field", name, field, latest[name]) if name in latest else None
        views.append(FieldView(name, _type_of(field), drift, route.monitor_alarm(f"field {name}")))
    for index in e_bh([view.drift.log_e if view.drift else 0.0 for view in views], LISTED):
        views[index].listed = True
    return views


def _scores(route: RouteDrift) -> list[FieldView]:
    out = []
    for backend, counts in sorted(route.monitor.latest.scores.items()):
        field = route.score_field(backend)
        if field is not None and len(field.counts) == len(counts.counts):
            alarm_at = route.monitor_alarm(SCORE) if backend == route.champion else None
            drift = route.shown("score", backend, field, counts)
            out.append(FieldView(backend, _type_of(field), drift, alarm_at))
    return out


def _type_of(field: Field) -> str:
    return type(field).__name__.removesuffix("Field").lower()
