"""Metrics of feedback, and of the prediction logs that it is joined to. The names are of those who send it: of each route only some have metrics of their own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from crossfade.admin.families import counter, gauge, histogram
from crossfade.control.views import MetricsView, PredictionLogsView

HOUR, DAY = 3600.0, 86_400.0
DELAYS = (1.0, 10.0, 60.0, 600.0, HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 90 * DAY)


def of_feedback(view: MetricsView) -> Iterator[Metric]:
    yield counter(
        "crossfade_feedback_total",
        "Rows of feedback by what became of them; unmatched ones that find their prediction count once more.",
        ["route", "name", "outcome"],
        view.feedback.items(),
    )
    yield histogram(
        "crossfade_feedback_delay_seconds",
        "Age of the prediction when its first feedback of a name came.",
        ["route", "name"],
        view.feedback_delays.items(),
        DELAYS,
    )


def of_prediction_logs(logs: PredictionLogsView) -> Iterator[Metric]:
    yield counter(
        "crossfade_prediction_log_rows_total",
        "Predictions written to the log of a route.",
        ["route"],
        [((route,), n) for route, n in logs.rows.items()],
    )
    yield counter(
        "crossfade_prediction_log_dropped_total",
        "Rows that the log of a route did not get, or gave up before the horizon of their feedback (reason size).",
        ["route", "reason"],
        logs.dropped.items(),
    )
    yield gauge(
        "crossfade_prediction_log_bytes",
        "Size of the log's file.",
        ["route"],
        [((route,), n) for route, n in logs.sizes.items()],
    )
    yield gauge(
        "crossfade_prediction_log_writable",
        "0 while the log of a route cannot be written; its rows wait, as many as there is room for.",
        ["route"],
        [((route,), not error) for route, error in logs.errors.items()],
    )
