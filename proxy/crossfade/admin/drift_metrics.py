"""Metrics of drift. Names of fields are those of profiles, so no client makes a label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric

from crossfade.admin.families import counter, gauge
from crossfade.control.views import DriftNumbers


def of_drift(routes: Sequence[DriftNumbers]) -> Iterator[Metric]:
    yield gauge(
        "crossfade_drift",
        "The largest difference of shares from the profile in the latest full window.",
        ["route", "field"],
        (((each.route, field), value) for each in routes for field, value in each.distances.items()),
    )
    yield gauge(
        "crossfade_drift_alarm",
        "1 while there is an alarm.",
        ["route", "subject"],
        (((each.route, subject), 1.0) for each in routes for subject in each.active),
    )
    yield counter(
        "crossfade_drift_alarms",
        "Alarms of drift. False ones: at most one a month and route, on average.",
        ["route", "kind"],
        (((each.route, kind), n) for each in routes for kind, n in each.alarms.items()),
    )
