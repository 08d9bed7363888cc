"""Checks: one question asked of the evidence → a verdict.

FAIL is statistically proven: a log e-value reaches its bound, which is valid at every look. The rollout's alpha is
split evenly over its tests and over its steps (the watch counts as one step). Each step begins with new evidence,
except that a KPI has one test for all steps. So the probability of any false FAIL in a whole rollout is at most alpha.
PASS needs no proof: enough requests (`min_requests`, of the champion too in a comparison), no FAIL, and an
estimate within the limit. Too few requests are UNDECIDED whatever the estimate (law 4). An absolute limit that the
champion exceeds as well is VOID, because the cause is common (law 6).
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.increases import error_rate_increase, rejected_increase, unreadable_increase
from crossfade.rollout.kpis import kpi_increase, kpi_limit
from crossfade.rollout.labels import label_increase, label_limit
from crossfade.rollout.outcomes import (
    error_rate_max,
    latency_max,
    latency_ratio,
    requests_min,
)
from crossfade.rollout.paired import distance_max, segment_divergence_max
from crossfade.rollout.plan import Check, Plan
from crossfade.rollout.predictions import (
    disagreement_max,
    score_divergence_max,
    score_divergence_ratio,
)
from crossfade.rollout.shadows import shadow_errors_max, shadow_latency_ratio
from crossfade.rollout.streams import (
    stream_broken_increase,
    stream_broken_max,
    stream_limit,
    stream_ratio,
)
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.rollout.verdict_rule import CheckContext
from crossfade.scale import OF_LABELS
from crossfade.stats.streams import MEASURES

CheckFunction = Callable[[Check, Evidence, CheckContext], Finding]
_TESTS: dict[tuple[str, str], CheckFunction] = {
    ("error_rate", "max"): error_rate_max,
    ("error_rate", "max_increase"): error_rate_increase,
    ("rejected", "max_increase"): rejected_increase,
    ("unreadable", "max_increase"): unreadable_increase,
    ("latency", "max"): latency_max,
    ("latency", "max_ratio"): latency_ratio,
    ("score_divergence", "max"): score_divergence_max,
    ("score_divergence", "max_ratio"): score_divergence_ratio,
    ("disagreement", "max"): disagreement_max,
    ("distance", "max"): distance_max,
    ("segment_divergence", "max"): segment_divergence_max,
    ("shadow_latency", "max_ratio"): shadow_latency_ratio,
    ("shadow_errors", "max"): shadow_errors_max,
    **{(measure, bound): stream_limit for measure in MEASURES for bound in ("max", "min")},
    **{(measure, bound): stream_ratio for measure in MEASURES for bound in ("max_ratio", "min_ratio")},
    ("stream_broken", "max"): stream_broken_max,
    ("stream_broken", "max_increase"): stream_broken_increase,
    ("kpi", "max_increase"): kpi_increase,
    ("kpi", "min_increase"): kpi_increase,
    ("kpi", "max"): kpi_limit,
    ("kpi", "min"): kpi_limit,
    **{(metric, bound): label_increase for metric in OF_LABELS for bound in ("max_increase", "min_increase")},
    **{(metric, bound): label_limit for metric in OF_LABELS for bound in ("max", "min")},
}
# Checks without a statistical test get no part of alpha.
_WITHOUT_TEST: dict[tuple[str, str], CheckFunction] = {("requests", "min"): requests_min}


def evaluate_checks(plan: Plan, evidence: Evidence, step: int) -> tuple[Finding, ...]:
    """A finding for each check of the plan; `step` is len(plan.steps) during the watch."""
    tests = sum((c.metric, c.bound) in _TESTS for c in plan.checks)
    context = context_of(replace(plan, alpha=plan.alpha / max(tests, 1)), step)
    return tuple(evaluate_check(check, evidence, context) for check in plan.checks)


def context_of(plan: Plan, step: int) -> CheckContext:
    """Of one check with the plan's alpha for itself."""
    steps, early = len(plan.steps), plan.advance_early is not None
    needed = plan.steps[min(step, steps - 1)].min_requests
    return CheckContext(step, needed, plan.alpha / (steps + 1), plan.alpha, early, steps)


def evaluate_check(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    evaluate = _TESTS.get((check.metric, check.bound)) or _WITHOUT_TEST.get((check.metric, check.bound))
    if evaluate is None:
        return Finding(check.title, Verdict.VOID, f"{check.subject} is not measured by this version")
    return evaluate(check, evidence.seen_by(check), context)
