"""Metrics of who did not get into the admin API."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import Metric

from crossfade.admin.failures import Failure
from crossfade.admin.families import counter


def of_failures(counts: Mapping[Failure, int]) -> Metric:
    return counter(
        "crossfade_admin_auth_failures_total",
        "Requests to the admin API that were refused, by reason; since the start.",
        ["reason"],
        [((reason.value,), counts.get(reason, 0)) for reason in Failure],
    )
