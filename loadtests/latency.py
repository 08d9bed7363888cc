"""Is the p99 that Locust measured within what the class of the route promises (`slo`)?

Rule: pure; no network, no clock, no Locust. The target is what the admin API of the proxy says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadtests.laws import Finding

LEAST = 100  # requests: with fewer the p99 is the slowest of all


def judge_latency(view: Mapping[str, Any], requests: int, p99: float) -> Finding:
    """`view`: of the route, by the admin API. `p99`: of all requests, failed ones too, in seconds. No class, no verdict."""
    slo, target = view.get("slo"), view.get("latency_target")
    if slo is None or target is None:
        return Finding("latency", None, "the route names no slo")
    if requests < LEAST:
        return Finding("latency", None, f"{requests} requests are too few for a p99")
    reason = f"p99 {p99 * 1000:.0f} ms of {requests} requests; {slo} allows {target * 1000:.0f} ms"
    return Finding("latency", p99 <= target, reason)
