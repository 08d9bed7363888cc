"""Metrics of feedback. The names are of those who send it: of each route only some have metrics of their own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from crossfade.admin.families import counter, histogram
from crossfade.control.views import MetricsView

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
